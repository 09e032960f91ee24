"""What scripts for the Trainer of Hugging Face need: how they are told to train and to report, and what is searched.

TrainingArguments has 130 options, most of which say how to train. Those that matter are listed here, with usual ranges;
of all others only the script's own are proposed. Pure.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import replace
from typing import Final

from hpo_batch.init.declared import called
from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.init.ranges import Searched, said_default, searched
from hpo_batch.init.typed import Typed
from hpo_batch.text.metric_names import words

_OF_EVERY_TRAINER: Final = words("output_dir learning_rate per_device_train_batch_size weight_decay")
_LORA: Final = words("lora_r lora_alpha lora_dropout")
_MODELS: Final = ("model_name_or_path",)
_DATA: Final = ("dataset_name", "train_file", "data_path", "train_data", "train_dir", "dataset")
"""options without which there is no model and no data, although no parser requires them"""
# an evaluation and a checkpoint after each epoch, the newest of which is kept; load_best_model_at_end wants both at one
# time. Transformers 4 reports to every tracker that is installed, and some of these ask for a login
_TOLD: Final = (
    *(("eval_strategy", "epoch"), ("evaluation_strategy", "epoch"), ("save_strategy", "epoch")),
    *(("save_total_limit", "1"), ("report_to", "none"), ("disable_tqdm", "True")),
)


def is_of_trainer(options: Collection[Option]) -> bool:
    """Whether options are those of TrainingArguments, as HfArgumentParser and those derived from it name them."""
    names = {option.name for option in options}
    return names >= _OF_EVERY_TRAINER and bool(names & {"eval_strategy", "evaluation_strategy"})


def for_trainer(script: Script, typed: Typed) -> Script:
    """A script of the Trainer, told to evaluate, save and report as a sweep needs it; any other as it is.

    Args:
        script: with its options.
        typed: what the user types; it holds.
    """
    if not is_of_trainer(script.options):
        return script
    given = {word.partition("=")[0].lstrip("-").replace("-", "_") for word in typed.words if word.startswith("--")}
    names = {option.name for option in script.options}
    # where both names are known, one is deprecated; a save_strategy of ours would not go with an evaluation of theirs
    not_told = {"evaluation_strategy"} if "eval_strategy" in names else set[str]()
    if given & {"eval_strategy", "evaluation_strategy"}:
        not_told |= {"eval_strategy", "evaluation_strategy", "save_strategy"}
    told = [(name, value) for name, value in _TOLD if name in names - given - not_told]
    missing = set() if typed.words or typed.subcommand else set(_missing(script.options))
    options = tuple(
        replace(
            option,
            is_of_trainer=option.name not in script.fields,
            is_required=option.is_required or option.name in missing,
            why_left=_why_left(option, given),
        )
        for option in script.options
        if not (option.name.startswith("no_") and option.name[3:] in names) and option.name not in dict(told)
    )
    words_told = tuple(word for name, value in told for word in (f"--{name}", value))
    return replace(script, options=options, given=(*script.given, *words_told), is_of_trainer=True)


def of_trainer(option: Option) -> Searched | None:
    """How to search an option of TrainingArguments; None if it says how to train."""
    name = option.name
    if name in ("learning_rate", "per_device_train_batch_size"):
        return searched(option)
    if name == "weight_decay":  # of AdamW
        return Searched(value={"low": 1e-4, "high": 0.3, "log": True}, comment=said_default(option), rank=2)
    if name == "warmup_ratio" or (name == "warmup_steps" and option.high == 1):
        return Searched(value={"low": 0.0, "high": 0.2}, comment=f"share of all steps; {said_default(option)}", rank=3)
    return searched(option) if name == "lr_scheduler_type" or name in _LORA else None


def edits(tree: ast.Module, name: str, metric: str) -> Iterator[str]:
    """What to write into a script of the Trainer so that it reports and goes on after an interruption.

    Args:
        tree: of the script.
        name: of its file.
        metric: that is to be reported.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    trainers = [call.lineno for call in calls if called(call).endswith("Trainer")]
    starts = [call for call in calls if called(call) == "train" and "trainer" in ast.unparse(call.func).lower()]
    if not trainers:
        return
    callback = "HuggingFaceCallback()"
    is_to_resume = bool(starts) and not _resumes(calls)
    if is_to_resume:  # from below: what is written above moves the lines
        yield (
            f"go on after an interruption: in {name}, line {starts[-1].lineno}, write "
            "'train(resume_from_checkpoint=callback.resume_from)'"
        )
    given = f"callbacks=[callback := {callback}]" if is_to_resume else f"callbacks=[{callback}]"
    yield (
        f"report {metric}: in {name}, line {trainers[-1]}, give the trainer '{given}', and write "
        "'from hpo_batch.integrations import HuggingFaceCallback' at the top"
    )


def _resumes(calls: Collection[ast.Call]) -> bool:
    """Whether a script looks for the newest checkpoint in its output_dir."""
    given = [
        k.value for one in calls if called(one) == "train" for k in one.keywords if k.arg == "resume_from_checkpoint"
    ]
    return any(map(_is_true, given)) or any(called(one) == "get_last_checkpoint" for one in calls)


def _is_true(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _why_left(option: Option, given: Collection[str]) -> str:
    if option.name in _LORA and "use_peft" not in given:
        return "without --use_peft it does nothing"
    if option.name == "label_smoothing_factor":
        return "changes eval_loss itself"
    return option.why_left


def _missing(options: Collection[Option]) -> Iterator[str]:
    """Options for the model and the data that scripts demand once they run."""
    without = {one.name for one in options if one.default is None and one.kind in (Kind.TEXT, Kind.UNKNOWN, Kind.PATH)}
    for names in (_MODELS, _DATA):
        yield from [name for name in names if name in without][:1]
