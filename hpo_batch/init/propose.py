"""Proposes a space for the options of a script: what to search and how, and how the command passes it on. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from hpo_batch.init.hugging_face import of_trainer
from hpo_batch.init.option import HOW, Kind, Option, Script
from hpo_batch.init.ranges import Searched, is_log_rate, searched
from hpo_batch.init.typed import is_number
from hpo_batch.objective.placeholders import FACTS
from hpo_batch.space.build import RESERVED, why_bad_name
from hpo_batch.sweep.rules.fill_in import FILL_IN
from hpo_batch.text.metric_names import words

MOST_SEARCHED: Final = 8
"""parameters: more than twenty trials tell apart, if a script has many options"""
MOST_CHOICES: Final = 10
_SEEDS: Final = words("seed random_seed random_state rng_seed manual_seed")
_OUTPUTS: Final = words(
    "out output out_dir outdir output_dir output_path save_dir savedir save_path log_dir logdir results_dir result_dir "
    "run_dir work_dir workdir exp_dir default_root_dir"
)
_CHECKPOINTS: Final = words("checkpoint_dir checkpoints_dir checkpoints ckpt_dir ckpts dirpath")
_PATHS: Final = words(
    "path dir file folder root checkpoint ckpt resume config cfg data dataset url csv json yaml pretrained"
)
# words in names of options that say how a training runs, and not what it trains
_SETTINGS: Final = words(
    "epochs epoch steps step iterations iters iter max every interval freq frequency limit timeout workers worker "
    "threads gpus gpu tpu tpus devices device nodes rank port host local world backend accelerator strategy precision "
    "amp fp16 bf16 cuda cpu mps verbose debug quiet log logs logger logging print progress eval evaluate test predict "
    "dry profile compile deterministic benchmark pin prefetch download push cache save load overwrite force wandb "
    "tensorboard mlflow project name tag tags run id version classes task mode split samples fold folds no plot show "
    "export tqdm dataloader hub multiprocessing only early round rounds track video capture render reset restart "
    "yes checkpointing remote sync protocol jobs trials sampler pruner storage uuid env hyperparameters tune trial "
    "dtype tf32 xformers offload foreach streaming tracking revision tokenizer trust telemetry attn quant 4bit 8bit "
    "mismatched linebreaks buffer"
)
# words of sizes that the data decide: another one is another model, or none
_OF_DATA: Final = words("input output image img vocab vocabulary height resolution crop rows columns")
# options that say what is trained, although a word of theirs is one of settings
_TRAINED: Final = words("max_depth max_features max_leaves max_leaf_nodes max_bin")
_NOT_TRAINED: Final = words("eval test val valid validation predict")
_SWITCHES: Final = words("train do_train training fit do_fit do_eval scale_lr")
_RESUMES: Final = "resume_from_checkpoint"
_SHORT_FLAG = re.compile(r"-[^-]")
_BRACES = re.compile(r"\{\w+\}|[{}]")
_DOUBLED: Final = str.maketrans({"{": "{{", "}": "}}"})


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """What goes into the sweep."""

    command: str
    parameters: Mapping[str, Searched]
    """by name, in the order of the script's options"""
    constraints: Mapping[str, str]
    left: tuple[tuple[str, str], ...]
    """options that are not passed, each with the reason, or with its default if there is nothing to say"""
    marks: tuple[str, ...]
    """what the user has to fill in"""
    reasons: Mapping[str, str]
    """why, for marks of which the name does not tell"""
    comments: tuple[str, ...]
    """on the command"""


def propose(script: Script, *, python: str) -> Proposal:
    """A command and a space for a script.

    Args:
        script: with its options.
        python: the command that runs it.
    """
    ours, marks, comments = list[str](), dict[str, str](), list[str]()
    left: list[tuple[str, str]] = []
    found: dict[Option, Searched] = {}
    trials = set[str]()  # flags whose value is the trial's own
    has_space = any(option.is_searched for option in script.options)
    for option in script.options:
        if option.flag in script.given:
            continue
        words_of = _given(option, script)
        if words_of:
            ours += words_of
            trials.add(option.flag)
            continue
        is_left = (has_space and not option.is_searched) or (option.is_typed and not is_number(option))
        one = "" if is_left else _searched(option, script)
        if isinstance(one, Searched):
            found[option] = one
        elif option.is_typed:
            continue
        elif option.is_required and option.default is not None and option.why_left == "":
            ours += _as_words(option, str(option.default), script)
        elif option.is_required:
            mark = f"{FILL_IN}_{re.sub(r'[^A-Za-z0-9]+', '_', option.name)}"
            ours += _as_words(option, mark, script)
            marks[mark] = option.why_left
        elif one or not option.is_of_trainer:
            left.append((option.flag, one))
    kept = _most_important(found)
    left += [(option.flag, "") for option in found if option not in kept and not option.is_typed]
    names, placeholder, dropped = _names(kept, script)
    left += dropped
    parameters = {names[option]: kept[option] for option in names}
    ours_too = {*(option.flag for option in names), *trials, *script.given}
    typed_words = [word for flag, words in script.typed if flag not in ours_too for word in words]
    start = [
        *map(_quoted, script.launcher or (python,)),
        *(("-m", script.module) if script.module else (_quoted(str(script.path)),)),
        *map(_quoted, script.subcommand.split()),
    ]
    words_all = [*start, *map(_quoted, (*typed_words, *script.given)), *ours]
    words_all += [placeholder] if parameters else []
    words_all += ["hydra.run.dir={trial_dir}"] if script.is_hydra else []
    if "{trial_seed}" in " ".join(ours):
        comments.append("each trial has its own seed, the same in every attempt")
    if script.is_of_trainer:
        comments.append("the Trainer evaluates and saves after each epoch, and keeps the newest checkpoint")
        comments.append('all are removed when the trial has ended; [study] keep_checkpoints = "all" keeps them')
        left.append(("all others of the Trainer (--help)", ""))
    return Proposal(
        command=" ".join(words_all),
        parameters=parameters,
        constraints=_constraints(parameters),
        left=tuple(left),
        marks=tuple(marks),
        reasons={mark: why for mark, why in marks.items() if why},
        comments=tuple(comments),
    )


def _given(option: Option, script: Script) -> list[str]:
    """The words of the command for an option that hpo-batch knows: seeds and folders of the trial."""
    if option.is_flag or option.kind in (Kind.LIST, Kind.BOOLEAN, Kind.REAL):
        return []
    if option.words in _SEEDS and option.kind in (Kind.INTEGER, Kind.UNKNOWN):
        return _as_words(option, "{trial_seed}", script)
    is_file = isinstance(option.default, str) and re.search(r"\.\w{1,5}$", option.default) is not None
    # Hydra's own folder is set, but since version_base 1.2 the script does not run in it
    is_unset = script.is_hydra and option.default is None and option.words not in ("dirpath", "default_root_dir")
    if is_unset or is_file or option.kind is Kind.INTEGER:
        return []
    if option.name == _RESUMES and _resumes_latest(script):
        return _as_words(option, "latest", script)
    # the Trainer saves to its output_dir, and goes on from what it finds there; some of its scripts want it to be empty
    is_searched_for = option.name == "output_dir" and (script.is_of_trainer or _resumes_latest(script))
    if option.words in _CHECKPOINTS or is_searched_for:
        return _as_words(option, "{checkpoint_dir}", script)
    return _as_words(option, "{trial_dir}", script) if option.words in _OUTPUTS else []


def _resumes_latest(script: Script) -> bool:
    """Whether it begins with the newest checkpoint in its output_dir, if there is one, as scripts of Diffusers do."""
    is_told = re.search(r"""resume_from_checkpoint [!=]= ["']latest["']""", script.text) is not None
    return is_told and any(option.name == _RESUMES for option in script.options)


def _as_words(option: Option, value: str, script: Script) -> list[str]:
    if option.is_positional:
        return [value]
    return [f"{option.flag}={value}"] if script.is_hydra or script.has_equals else [option.flag, value]


def _searched(option: Option, script: Script) -> Searched | str:
    """How to search an option, or why not; empty if its name says it."""
    if option.domain is not None:
        return Searched(value=option.domain, comment="as its hydra.sweeper searches it", rank=0)
    if option.is_positional:
        return "" if not option.choices else f"one of {', '.join(map(str, option.choices))}"
    if option.why_left:
        return option.why_left
    if option.is_of_trainer:
        return of_trainer(option) or ""
    if script.is_of_trainer and option.kind is Kind.BOOLEAN:
        return ""  # of how data and model are loaded, as a rule
    if option.kind is Kind.LIST:
        return "a list, or a form of its own; write it into the command if you need it"
    parts = set(option.words.split("_"))
    if is_log_rate(option):
        return searched(option) or ""
    # per_device_train_batch_size is no setting of devices; --trainer.* of LightningCLI says how to train
    is_setting = parts & _SETTINGS and not ({"batch", "size"} <= parts and not parts & _NOT_TRAINED)
    is_of_data = parts & _OF_DATA or option.words.startswith(("in_", "out_"))
    is_setting = (is_setting or is_of_data) and option.words not in _TRAINED
    if option.words in _SEEDS | _SWITCHES or is_setting or option.kind is Kind.PATH or parts & _PATHS:
        return ""
    if parts & _NOT_TRAINED or option.name.rpartition(".")[0].partition(".")[0] in HOW:
        return ""
    if isinstance(option.default, int | float) and option.kind is Kind.TEXT and not option.choices:
        return "reaches the script as text, since it has no type: add type=float or type=int"
    if len(option.choices) > MOST_CHOICES:
        return f"{len(option.choices)} choices"
    if why_bad_name(_plain(option.name)) or _plain(option.name) in RESERVED:
        return "a name that sweeps reserve"
    one = searched(option)
    if script.is_hydra and one is not None and option.kind is Kind.BOOLEAN:
        return replace(one, value=[True, False])  # {overrides} writes name=true and name=false
    return one or ""


def _plain(name: str) -> str:
    return name.replace("-", "_")


def _most_important(found: Mapping[Option, Searched]) -> dict[Option, Searched]:
    """The parameters that matter most as a rule, in the order of the script."""
    ranked = sorted(found, key=lambda option: found[option].rank)[:MOST_SEARCHED]
    return {option: one for option, one in found.items() if option in ranked}


def _names(kept: Mapping[Option, Searched], script: Script) -> tuple[dict[Option, str], str, list[tuple[str, str]]]:
    """The names of parameters, what passes them on in the command, and what cannot be passed beside the others."""
    if script.is_hydra:
        return {option: option.name for option in kept}, "{overrides}", []
    if script.has_equals:
        # a flag of absl has no value
        valued = {option: option.name for option in kept if not option.is_flag}
        dropped = [(option.flag, "a flag beside options with =") for option in kept if option.is_flag]
        return valued, " ".join(f"--{name}={{{name}}}" for name in valued.values()), dropped
    flags = {option: (option.off if kept[option].is_off else option.flag) for option in kept}
    if any(_SHORT_FLAG.match(flag) for flag in flags.values()):
        # {args} writes two dashes; a flag without a value cannot be written with a placeholder
        valued = {option: flag.lstrip("-") for option, flag in flags.items() if not option.is_flag}
        dropped = [(option.flag, "a flag beside options with one dash") for option in kept if option.is_flag]
        return valued, " ".join(f"{flags[option]} {{{name}}}" for option, name in valued.items()), dropped
    names = {option: flag.removeprefix("--") for option, flag in flags.items()}
    if any("-" in name for name in names.values()) and not any("_" in name for name in names.values()):
        return {option: _plain(name) for option, name in names.items()}, "{hyphen_args}", []
    return names, "{args}", []


def _constraints(parameters: Mapping[str, Searched]) -> dict[str, str]:
    """What almost every model with attention heads demands of them."""
    heads = [name for name in parameters if re.fullmatch(r"(?:n|num)_?heads?", _plain(name).rpartition(".")[2])]
    widths = [
        name
        for name in parameters
        if re.fullmatch(r"d_model|hidden_size|embed_dim|n_embd|hidden_dim", _plain(name).rpartition(".")[2])
    ]
    if len(heads) == len(widths) == 1 and not set("-") & set(heads[0] + widths[0]):
        return {"heads_divide": f"{widths[0]} % {heads[0]} == 0"}
    return {}


def _quoted(word: str) -> str:
    """A word of the command, which means itself, or what the user has put in braces of ours."""
    text = _BRACES.sub(lambda found: found[0] if found[0][1:-1] in FACTS else found[0].translate(_DOUBLED), word)
    return text if re.fullmatch(r"[\w@%+=:,./{}~-]+", text) else "'" + text.replace("'", "'\"'\"'") + "'"


def without_duplicates(options: Sequence[Option]) -> Iterator[Option]:
    """Options of one name once, and each name once under either spelling."""
    seen: set[str] = set()
    for option in options:
        name = _plain(option.name)
        if name not in seen:
            seen.add(name)
            yield replace(option)
