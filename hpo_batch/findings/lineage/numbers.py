"""The line of studies from the first to this one: the story that the appendix of a paper tells."""

from __future__ import annotations

from dataclasses import dataclass

from hpo_batch.monitor.lineage import line_of
from hpo_batch.results.table import TrialsTable


@dataclass(frozen=True, kw_only=True)
class Ancestor:
    """One study of the line; the last one is that of the report."""

    study: str
    by: str | None
    """the command that wrote its sweep: refine, propose, confirm or transfer; None: by hand, or unknown"""
    metric: str
    best: float | None
    """null without one, and with several metrics"""
    finished: int
    """complete and pruned trials"""
    failed: int
    hours: float | None
    """of its attempts and between them; None if none were recorded"""
    unit: str
    """of the hours: `GPU` or `worker`"""
    changes: tuple[str, ...]
    """what is different from the study before it, in words"""
    problem: str
    """why it cannot be read, or why the line breaks off above it; else empty"""


def lineage(table: TrialsTable) -> tuple[Ancestor, ...]:
    """The line of a study; empty for one that continues none, and for files."""
    if table.home is None or table.sweep is None or table.sweep.previous is None:
        return ()
    return tuple(
        Ancestor(
            study=link.study,
            by=link.by,
            metric=link.metric,
            best=link.best,
            finished=link.finished,
            failed=link.failed,
            hours=link.hours,
            unit=link.unit,
            changes=link.changes,
            problem=link.problem,
        )
        for link in line_of(table.home, budget=table.budget)
    )
