"""``doctor --rebuild``: rebuild a study's journal if that helps and loses nothing."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.reading import read_journal
from hpo_batch.doctor.site import Tell
from hpo_batch.doctor.study import examine_study
from hpo_batch.errors import StorageError
from hpo_batch.objective.metrics import Wanted
from hpo_batch.store.home import StudyHome
from hpo_batch.store.liveness import Holder
from hpo_batch.study.rebuild import Completed, Rebuilt, rebuild, unkept
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.names import listed


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """The result of ``rebuild_study``."""

    rebuilt: Rebuilt | None
    """None if the journal is healthy and nothing was done"""
    would_lose: str = ""
    """what a rebuild would have lost, if nothing was done"""


def rebuild_study(home: StudyHome, *, force: bool, tell: Tell) -> Outcome:
    """Rebuild the journal from the folders of the trials; the former one is kept beside it.

    Args:
        force: rebuild even a healthy journal, or one with results that the folders lack.
        tell: called with the reasons, and with the workers that are being watched.

    Raises:
        StorageError: a rebuild would not help or would lose results, or a worker is running.
        LockTimeout: another process holds the journal's lock.
    """
    findings = list(examine_study(home))
    for finding in findings:
        if finding.about == "journal" and finding.level is Level.BAD and not finding.mended_by_rebuild:
            raise StorageError(f"{finding.what}; {finding.do}")
    # a rebuild makes the journal from the folders: what only the journal has would be lost
    numbers = _only_in_journal(home)
    would_lose = f"the folders have no result of trials that are finished in the journal: {numbers}" if numbers else ""
    reasons = [finding.what for finding in findings if finding.mended_by_rebuild]
    if not reasons and not force:
        return Outcome(rebuilt=None, would_lose=would_lose)
    if would_lose and not force:
        raise StorageError(
            f"{would_lose}. A rebuild would run them again; if that is wanted, add --force: the former journal is kept"
        )
    for reason in reasons:
        tell(reason)

    def tell_who_is_watched(doubtful: tuple[Holder, ...]) -> None:
        names = ", ".join(str(holder) for holder in doubtful)
        tell(f"watching the leases of {names}: it takes up to [study] lease_s seconds to see whether they are alive")

    return Outcome(rebuilt=rebuild(home, completed=_completed, now=time.time(), on_wait=tell_who_is_watched))


def _only_in_journal(home: StudyHome) -> str:
    """Numbers of the trials that a rebuild would lose, ready to print."""
    try:
        return listed(unkept(home, read_journal(home).state))
    except FileNotFoundError:
        return ""


def _completed(sweep: Sweep) -> Completed:
    wanted = Wanted.parse(sweep.study.metric, sweep.metrics)

    def completed(metrics: Mapping[str, float]) -> Mapping[str, float]:
        return wanted.complete(metrics)

    return completed
