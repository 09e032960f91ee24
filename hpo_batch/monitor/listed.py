"""A study as ``list`` shows it: its trials and the best of them."""

from __future__ import annotations

from typing import Any, Final

from msgspec import Struct
from msgspec.structs import asdict

from hpo_batch.errors import HpoBatchError
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.status import best_trial
from hpo_batch.records import Counts, TrialRecord
from hpo_batch.store.home import StudyHome

SCHEMA_VERSION: Final = 1
"""of ``as_json`` here and of ``lineage.Branch`` (docs/status-json.md); new keys do not change it"""


class Listed(Struct, frozen=True, kw_only=True):
    """One line of ``list``."""

    study: str
    path: str
    counts: Counts
    best: TrialRecord | None
    """None if no trial is complete, or with several metrics"""

    def as_json(self) -> dict[str, Any]:
        best = self.best
        return {
            "schema_version": SCHEMA_VERSION,
            "study": self.study,
            "path": self.path,
            "trials": {**asdict(self.counts), "finished": self.counts.finished, "remaining": self.counts.remaining},
            "best": None if best is None else {"number": best.number, "value": best.values[0] if best.values else None},
            "unreadable": None,
        }


def listed(home: StudyHome, state: JournalState) -> Listed:
    """A study that has been read."""
    return Listed(study=home.name, path=str(home.path), counts=state.counts(), best=best_trial(state))


def unreadable(home: StudyHome, error: HpoBatchError) -> dict[str, Any]:
    """``Listed.as_json`` of a study that cannot be read."""
    return {"schema_version": SCHEMA_VERSION, "study": home.name, "path": str(home.path), "unreadable": str(error)}
