"""The mark that ``hpo-batch init`` writes where only the user knows what belongs there. A sweep with one cannot run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from hpo_batch.records import Problem
from hpo_batch.sweep.rules.draft import Draft

FILL_IN: Final = "FILL_IN"
_METRIC: Final = "write the name of the metric that the script reports, such as val_loss"


def filled_in(draft: Draft) -> Iterator[Problem]:
    """Every mark has been replaced."""
    sweep = draft.sweep
    if FILL_IN in sweep.study.metric:
        yield Problem(key=("study", "metric"), message=_message(FILL_IN, _METRIC))
    command = sweep.objective.command or ()
    for word in (command,) if isinstance(command, str) else command:
        for mark in dict.fromkeys(part for part in word.split() if FILL_IN in part):
            key = ("objective", "command")
            yield Problem(key=key, message=_message(mark, "write the value that the script is to get there"))


def _message(mark: str, do: str) -> str:
    return f"'{mark}' marks what hpo-batch init could not know: {do}"
