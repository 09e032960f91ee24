"""``hpo-batch explain``: the history of a trial, and how to run it again by hand."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import hint, logs_root, naming_a_trial, one_study, root_option
from hpo_batch.files import shown_json
from hpo_batch.scheduler.gpus import named_gpus
from hpo_batch.text.lines import one_line

if TYPE_CHECKING:
    from hpo_batch.monitor.explain import AttemptStory, Explanation

# width of the labels: the longest, "happened", and two spaces
INDENT = 10


@click.command(name="explain")
@click.argument("study_and_trial", nargs=-1, required=True, metavar="[STUDY] TRIAL")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, described in docs/json.md.")
@root_option
def command(study_and_trial: tuple[str, ...], as_json: bool, root: Path | None) -> None:
    """Show where the configuration of TRIAL (a number, a name, or 1-3) came from, what ran it, and what happened.

    The last lines are shell commands that run it again, outside the study and in a separate folder.
    """
    from hpo_batch.monitor.explain import explain

    if len(study_and_trial) > 2:
        raise click.UsageError("name one study and one trial: hpo-batch explain STUDY TRIAL")
    home = one_study(study_and_trial[0] if len(study_and_trial) == 2 else None, logs_root(root))
    with naming_a_trial(study_and_trial, logs_root(root)):
        stories = explain(home, study_and_trial[-1])
    if as_json:
        click.echo(shown_json([story.as_json() for story in stories]))
    else:
        click.echo("\n\n".join("\n".join(_lines(story)) for story in stories))


def _lines(story: Explanation) -> list[str]:
    lines: list[str] = []

    def tell(label: str, *texts: str) -> None:
        # one line each, so that a multi-line message cannot imitate our own output
        lines.extend(f"{label if i == 0 else '':<{INDENT}}{one_line(text)}" for i, text in enumerate(texts))

    named = f" ({story.name})" if story.name else ""
    value = f", {', '.join(f'{v:.6g}' for v in story.values)}" if story.values else ""
    tell("trial", f"{story.number}{named} of {story.study}: {story.state}{value}")
    tell("from", *story.came_from)
    old = (
        "" if story.revision == story.current_revision else f" (the sweep is at revision {story.current_revision} now)"
    )
    tell("sweep", f"sweep.{story.revision}.json{old}" if story.revision else "made outside hpo-batch")
    tell("params", *(f"{name} = {value!r}" for name, value in story.params.items()))
    if story.seeds:
        tell("seed", ", ".join(map(str, story.seeds)))
    if story.metrics:
        tell("metrics", *(f"{name} = {value:.6g}" for name, value in story.metrics.items()))
    if story.repeated_by:
        tell("same as", ", ".join(f"trial {n}" for n in story.repeated_by))
    if story.attempts:
        tell("attempts", *_table(story.attempts))
    tell("happened", *story.happened)
    if story.last_lines:
        tell("said", *story.last_lines)
    elif story.state == "FAIL" and story.attempts and Path(story.attempts[-1].folder).is_dir():
        tell("said", "nothing: it printed no line")
    if story.attempts:
        tell("logs", hint("logs", story.study, str(story.number)), *_logs(story.attempts))
    tell("by hand", *(f"# {note}" for note in story.by_hand.notes), *story.by_hand.lines)
    return lines


def _table(attempts: tuple[AttemptStory, ...]) -> list[str]:
    reported = ("first report",) if any(one.first_report_s is not None for one in attempts) else ()
    rows = [("", "job", "node", "GPU", "from", "to", *reported, "how it ended")]
    for one in attempts:
        until = "" if one.ended is None else _clock(one.ended)
        kept = ", left a checkpoint" if one.handed_on else ""
        gpus = named_gpus(one.gpus, one.gpu_count) or "none"
        first = [f"after {one.first_report_s:.1f} s" if one.first_report_s is not None else ""] if reported else []
        rows.append((str(one.number), one.job, one.node, gpus, _clock(one.started), until, *first, one.told + kept))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _logs(attempts: tuple[AttemptStory, ...]) -> list[str]:
    return [f"worker of attempt {one.number}: {one.log}" for one in attempts if one.log]


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
