"""The folder of an attempt: the claim as made, the outcome before it is told, the checkpoint that is taken over."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import asdict
from pathlib import Path

from hpo_batch.files import dump_json, sync_directory, write_atomic
from hpo_batch.records import Claim, Complete, Failed, Outcome, Pruned
from hpo_batch.store.home import StudyHome


def open_attempt(home: StudyHome, claim: Claim) -> Path:
    """Make the attempt's folder, with the claim and, if it resumes, a copy of the earlier attempt's checkpoint.

    A copy: the earlier attempt may still be alive somewhere, and must not write into ours.
    """
    folder = home.attempt(claim.number, claim.attempt)
    folder.mkdir(parents=True, exist_ok=True)
    facts = asdict(claim)
    facts["configuration"] = claim.configuration.values
    write_atomic(folder / "claim.json", dump_json(facts))
    checkpoint = folder / "checkpoint"
    if claim.resumes is not None and not checkpoint.exists():
        arriving = folder / ".checkpoint.tmp"
        shutil.rmtree(arriving, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(home.attempt(claim.number, claim.resumes) / "checkpoint", arriving)
            arriving.rename(checkpoint)
    checkpoint.mkdir(exist_ok=True)
    sync_directory(folder)
    return folder


def newest_checkpoint(home: StudyHome, number: int) -> int | None:
    """The latest attempt of a trial that left something in its checkpoint folder."""
    attempts = home.trial(number) / "attempts"
    try:
        numbers = sorted((int(path.name) for path in attempts.iterdir() if path.name.isdigit()), reverse=True)
    except FileNotFoundError:
        return None
    for attempt in numbers:
        with contextlib.suppress(OSError):
            if any((attempts / str(attempt) / "checkpoint").iterdir()):
                return attempt
    return None


def write_result(home: StudyHome, claim: Claim, outcome: Outcome) -> None:
    """The second copy of a result, on disk before the journal is told."""
    kinds = {Complete: "complete", Pruned: "pruned", Failed: "failed"}
    facts = {"outcome": kinds[type(outcome)], "token": claim.token, "attempt": claim.attempt, **asdict(outcome)}
    if isinstance(outcome, Failed):
        facts["reason"] = outcome.reason.value
    folder = home.attempt(claim.number, claim.attempt)
    write_atomic(folder / "result.json", dump_json(facts))


def drop_checkpoints(home: StudyHome, number: int) -> None:
    """A trial that has ended needs its checkpoints no more."""
    for folder in (home.trial(number) / "attempts").glob("*/checkpoint"):
        shutil.rmtree(folder, ignore_errors=True)
