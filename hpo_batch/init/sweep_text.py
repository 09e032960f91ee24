"""The text of a sweep for a script: commented, with what was found, what was left out, and what is to be filled in."""

from __future__ import annotations

import ast
import contextlib
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from hpo_batch.init.hugging_face import edits
from hpo_batch.init.metric import Metric
from hpo_batch.init.option import Script
from hpo_batch.init.propose import Proposal
from hpo_batch.objective.labels import STEP
from hpo_batch.sweep.rules.fill_in import FILL_IN
from hpo_batch.sweep.values import study_name as checked_name
from hpo_batch.text.lines import printable
from hpo_batch.text.names import listed, plain_name
from hpo_batch.text.numbers import folded
from hpo_batch.text.values import toml_line

TRIALS: Final = 20
_ONE_OF_SEVERAL: Final = "; it may be printed for batches, folds or other data, too: report only the value that counts"
_COLUMNS: Final = 110
_NO_NAMES: Final = ("", "train", "main", "run", "training", "src", "scripts", "code", "python", "tools", "bin", "cli")
"""of scripts and their folders, which tell nobody what is trained"""
_TRAININGS: Final = {"XGBoostCallback": "training", "LightGBMCallback": "training", "KerasCallback": "fit"}
"""what takes a callback, if not a trainer"""
_MOST_LEFT: Final = 40
"""options named in a comment; the trainer of Hugging Face has 120"""


def sweep_text(script: Script, proposal: Proposal, metric: Metric | None, *, study: str, template: str | None) -> str:
    """The TOML of a sweep that runs a script.

    Args:
        script: with its options.
        proposal: for them.
        metric: that the script reports or prints; None if it names none.
        study: its name.
        template: of the job; None: this machine.
    """
    lines = [
        f"# A sweep of {printable(script.path.name)}, proposed from its options: look at each line. "
        "Every key: hpo-batch check --schema",
        *_study(script, metric, study, _trials(proposal)),
        "",
        "[objective]",
        *_comments(proposal),
        toml_line("command", proposal.command),
        *_printed(script, metric),
        "",
        "[space]",
        *_space(proposal),
        *_constraints(proposal),
        "",
        "[sampler]",
        'name = "tpe"                       # or random, grid, qmc, gp, cmaes, list',
        "seed = 1                           # the same seed proposes the same first trials",
        "",
        f"# [pruner]                         # remove the # {_when_to_prune(metric)}",
        '# name = "median"                  # ends trials that are worse than half of the others at the same step',
        "# first_rung = 2                   # steps before it decides",
        "",
        "[job]",
        job_template(template),
        "workers = 2                        # processes that train one trial after the other",
    ]
    return "\n".join(line.rstrip() for line in lines) + "\n"


def job_template(template: str | None) -> str:
    """The line of ``[job] template``, which is a comment on this machine."""
    if template is None:
        return '# template = "a100"                # for SLURM: a file in job_templates; without it, this machine'
    return f"{toml_line('template', template)}   # job_templates/{template}.toml; submit --local runs on this machine"


def study_name(folder: Path, script: Path | None) -> str:
    """A study's name from that of a script, or of its folder where scripts have no names."""
    stem = script.stem if script is not None else ""
    words = [stem] if stem not in _NO_NAMES else []
    place = next((one for one in (folder.absolute(), *folder.absolute().parents) if one.name not in _NO_NAMES), folder)
    for text in [*words, place.name, stem]:
        with contextlib.suppress(ValueError):  # such as 2026-11, which would mean trials
            return checked_name(plain_name(text))
    return "first-sweep"


def _trials(proposal: Proposal) -> int:
    """Trials wanted: no more than there are configurations."""
    sizes = [len(one.value) if isinstance(one.value, list) else TRIALS for one in proposal.parameters.values()]
    return min(TRIALS, math.prod(sizes)) if sizes else TRIALS


def _study(script: Script, metric: Metric | None, study: str, trials: int) -> Iterator[str]:
    yield "[study]"
    yield toml_line("name", study)
    if metric is None:
        yield from _commented(
            f"FILL IN: the metric that {script.path.name} reports, with hpo_batch.report(val_loss=...) or a line "
            "'RESULT: val_loss=0.3', and its direction"
        )
        yield toml_line("metric", FILL_IN)
        yield 'direction = "minimize"             # or "maximize"'
    else:
        if not metric.is_reported and not metric.labels:
            how = f"add {metric.callback}()" if metric.callback else f"{_where(metric)}, {_report(metric)}"
            yield from _commented(f"{_who(script, metric)} does not report it yet: {how}")
        yield toml_line("metric", metric.name)
        sure = "" if metric.direction else '             # FILL IN: or "maximize"; the name does not tell'
        yield toml_line("direction", metric.direction or "minimize") + sure
    yield f"{f'trials = {trials}':<34} # finished trials wanted, over all workers"


def _printed(script: Script, metric: Metric | None) -> Iterator[str]:
    """The line that finds the metric in the output."""
    if metric is not None and metric.labels and metric.place is not None:
        line = metric.place.line
        yield from _commented(
            f"{_who(script, metric)} prints {metric.name} in line {line}: {{}} is the number, and the last one counts; "
            f"or report it there with {_report(metric)}"
        )
        yield toml_line("printed", metric.labels)


def _when_to_prune(metric: Metric | None) -> str:
    if metric is not None and (STEP in metric.labels or metric.callback or metric.is_reported):
        return "to compare trials step by step"
    return "once the script reports each epoch and asks hpo_batch.should_stop()"


def _who(script: Script, metric: Metric) -> str:
    return (metric.module or script.path).name


def _where(metric: Metric) -> str:
    if metric.place is None:
        return "after each epoch"
    return f"{'before' if metric.is_returned else 'after'} line {metric.place.line}"


def _report(metric: Metric) -> str:
    """The call that reports what the script prints."""
    value = metric.variable or "..."
    named = f"{metric.name}={value}" if metric.name.isidentifier() else f'{{"{metric.name}": {value}}}'
    step = "epoch" if metric.place is None else metric.place.step
    is_plain = metric.name.isidentifier() and not metric.is_mapping
    named = value if metric.is_mapping else named
    if step:
        return f"hpo_batch.report({step}, {named})"
    return f"hpo_batch.report({named})" if is_plain else f"hpo_batch.report(metrics={named})"


def _comments(proposal: Proposal) -> Iterator[str]:
    if proposal.marks:
        yield from _commented(f"FILL IN: {', '.join(proposal.marks)}")
    placeholders = {
        "{hyphen_args}": "{hyphen_args} is --name value for each parameter, with hyphens",
        "{args}": "{args} is --name value for each parameter",
        "{overrides}": "{overrides} is name=value for each parameter",
    }
    told = [text for placeholder, text in placeholders.items() if f" {placeholder}" in proposal.command]
    yield from _commented("; ".join(["it runs without a shell", *told, *proposal.comments]))


def _space(proposal: Proposal) -> Iterator[str]:
    if not proposal.parameters:
        yield from _commented("FILL IN: no option tells between which values to search, such as")
        yield "# lr = { low = 1e-4, high = 1e-1, log = true }"
    lines = [toml_line(name, one.value).partition(" = ") for name, one in proposal.parameters.items()]
    longest = max((len(name) for name, _, _ in lines), default=0)
    comments = [one.comment for one in proposal.parameters.values()]
    rows = [(f"{name:<{longest}} = {value}", said) for (name, _, value), said in zip(lines, comments, strict=True)]
    width = max((len(row) for row, _ in rows if len(row) < 60), default=0)
    for row, comment in rows:
        yield f"{row:<{width}}   # {printable(comment)}" if comment else row
    if proposal.left:
        yield "# Not passed, so the script's defaults hold; to search one, write a line for it above:"
    why_left: dict[str, list[str]] = {}
    for flag, why in proposal.left:
        why_left.setdefault(printable(why), []).append(printable(flag))
    for why, flags in sorted(why_left.items(), key=lambda one: one[0] == ""):  # those without a reason last
        yield from _commented(listed(flags, most=_MOST_LEFT) + (f": {why}" if why else ""), indent="  ")


def _constraints(proposal: Proposal) -> Iterator[str]:
    if proposal.constraints:
        yield ""
        yield "[space.constraints]"
        for name, text in proposal.constraints.items():
            yield f"{toml_line(name, text)}   # checked before a trial exists"


def _commented(text: str, indent: str = "") -> list[str]:
    start = f"# {indent}"
    return [f"{start}{line}" for line in folded(printable(text), _COLUMNS, long_words=False)]


def found_in_output(script: Script, metric: Metric) -> str:
    """How trials get a metric that the script prints and does not report."""
    text = metric.labels[metric.name]
    return f"{metric.name} is taken from what {_who(script, metric)} prints, '{text}': [objective] printed"


def next_steps(script: Script, metric: Metric | None, proposal: Proposal) -> Sequence[str]:
    """What is left to do before the sweep can run, one sentence each."""
    reasons = {mark: f": {why}" for mark, why in proposal.reasons.items()}
    steps = [f"replace {mark} in the command{reasons.get(mark, '')}" for mark in proposal.marks]
    if steps:
        by_hand = f"--from '{script.path.name} --option value ...'"
        steps[-1] += f"; or let init read the command that you type by hand, {by_hand}"
    steps += _to_report(script, metric)
    if metric is not None and metric.direction is None:
        steps.append(f"say whether {metric.name} is to be minimized or maximized")
    if not proposal.parameters:
        steps.append("say in [space] what to search: no option tells between which values")
    return steps


def _to_report(script: Script, metric: Metric | None) -> Iterator[str]:
    """What is left to do until the script reports."""
    name = script.path.name
    if metric is None:
        yield f"{name} names no metric: report one (hpo_batch.report(epoch, val_loss=...)) and name it in [study]"
        return
    is_of_trainer = metric.callback == "HuggingFaceCallback"
    of_trainer = list(edits(ast.parse(script.text), name, metric.name)) if is_of_trainer else []
    if of_trainer:
        yield from of_trainer
    elif metric.callback:
        yield (
            f"{_who(script, metric)} does not report {metric.name}: add hpo_batch.integrations.{metric.callback}() to "
            f"the callbacks of its {_TRAININGS.get(metric.callback, 'trainer')}; docs/integrations.md"
        )
    elif not metric.is_reported and not metric.labels:
        does = "returns" if metric.is_returned else "prints"
        yield (
            f"{_who(script, metric)} {does} {metric.name} and does not report it: {_where(metric)}, add "
            f"'{_report(metric)}', and 'import hpo_batch' at the top" + (_ONE_OF_SEVERAL if metric.is_several else "")
        )
    if metric.callback == "LightningCallback" and not _has_folder(script.text):
        yield (
            "give its trainer default_root_dir=os.environ.get('HPO_BATCH_TRIAL_DIR'), or trials that start together "
            "share one folder; docs/integrations.md"
        )


def _has_folder(text: str) -> bool:
    """Whether a training with Lightning writes to a folder of its own, or to none."""
    return "default_root_dir" in text or ("logger=False" in text and "enable_checkpointing=False" in text)
