"""What ``submit`` and ``resume`` did, or would do, as JSON; docs/json.md names the keys."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from hpo_batch.launch.facts import Fact, Refused, Submitted
from hpo_batch.launch.plan import Plan
from hpo_batch.launch.preview import preview
from hpo_batch.store.submissions import Submission

SCHEMA_VERSION: Final = 1


def as_json(plans: Sequence[Plan], facts: Sequence[Fact], *, dry_run: bool) -> list[dict[str, Any]]:
    """One object per study.

    Args:
        facts: what was told while the plans were carried out.
    """
    submitted = {fact.plan.home.name: fact.submission for fact in facts if isinstance(fact, Submitted)}
    refused = {fact.home.name: str(fact.error) for fact in facts if isinstance(fact, Refused)}
    return [_one(plan, submitted.get(plan.home.name), refused.get(plan.home.name), dry_run=dry_run) for plan in plans]


def _one(plan: Plan, submission: Submission | None, error: str | None, *, dry_run: bool) -> dict[str, Any]:
    against = "; ".join(plan.change.against) if dry_run else None
    if submission is not None:
        workers = submission.workers
    else:
        workers = plan.workers if dry_run else 0
    return {
        "schema_version": SCHEMA_VERSION,
        "study": plan.home.name,
        "path": str(plan.home.path),
        "dry_run": dry_run,
        "scheduler": plan.sweep.job.scheduler,
        "trials": {"finished": plan.standing.finished, "remaining": plan.standing.remaining},
        "running": plan.standing.live_workers,
        "workers": workers,
        "job_ids": list(submission.job_ids) if submission is not None else [],
        "limit": (submission.limit or None) if submission is not None else None,
        "collector": (submission.collector or None) if submission is not None else None,
        "error": error or against or None,
        "lines": [*plan.lines(), *(preview(plan) if dry_run else [])],
    }
