"""The folder of an attempt: the claim as made, the outcome before it is told, the checkpoint that is taken over."""

from __future__ import annotations

import contextlib
import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from hpo_batch.errors import StorageError
from hpo_batch.files import dump_json, write_atomic
from hpo_batch.records import Claim, Complete, Failed, Outcome, Pruned, Reason
from hpo_batch.store.home import StudyHome

COPY_TRIES = 3


def open_attempt(home: StudyHome, claim: Claim) -> Path:
    """Make the attempt's folder, with the claim and, if it resumes, a copy of the earlier attempt's checkpoint.

    A copy: the earlier attempt may still be alive somewhere, and must not write into ours.

    Raises:
        StorageError: the folder cannot be written.
    """
    folder = home.attempt(claim.number, claim.attempt)
    checkpoint = folder / "checkpoint"
    facts = asdict(claim)
    facts["configuration"] = claim.configuration.values
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomic(folder / "claim.json", dump_json(facts), sync=False)  # the journal has it too
        if claim.resumes is not None and not checkpoint.exists():
            _copy_checkpoint(home.attempt(claim.number, claim.resumes) / "checkpoint", checkpoint)
        checkpoint.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make the folder of an attempt, '{folder}': {error.strerror or error}") from error
    return folder


def _copy_checkpoint(earlier: Path, checkpoint: Path) -> None:
    """All of it or nothing: a part of a checkpoint is worse than none."""
    arriving = checkpoint.with_name(".checkpoint.tmp")
    for _ in range(COPY_TRIES):
        shutil.rmtree(arriving, ignore_errors=True)
        try:
            shutil.copytree(earlier, arriving)
        except FileNotFoundError:
            return
        except shutil.Error:  # files come and go below our hands: the earlier attempt lives and saves another one
            continue
        arriving.rename(checkpoint)
        return
    shutil.rmtree(arriving, ignore_errors=True)


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
    """The second copy of a result, on disk before the journal is told.

    Raises:
        StorageError: the folder cannot be written.
    """
    kinds = {Complete: "complete", Pruned: "pruned", Failed: "failed"}
    facts = {"outcome": kinds[type(outcome)], "token": claim.token, "attempt": claim.attempt, **asdict(outcome)}
    facts["metrics"] = _in_json(outcome.metrics)
    if isinstance(outcome, Failed):
        facts["reason"] = outcome.reason.value
    folder = home.attempt(claim.number, claim.attempt)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # without the folder: the sync of the journal, which follows, commits the rename with it
        write_atomic(folder / "result.json", dump_json(facts), sync_folder=False)
    except OSError as error:
        raise StorageError(f"cannot write '{folder / 'result.json'}': {error.strerror or error}") from error


def read_result(home: StudyHome, number: int, attempt: int, token: str) -> Outcome | None:
    """What an attempt left in its folder; None if it came to no result, or the result is another's."""
    try:
        facts = json.loads((home.attempt(number, attempt) / "result.json").read_bytes())
        if facts["token"] != token:
            return None
        metrics = {name: float(value) for name, value in facts["metrics"].items()}
        if facts["outcome"] == "complete":
            return Complete(values=tuple(facts["values"]), metrics=metrics)
        if facts["outcome"] == "pruned":
            return Pruned(step=facts["step"], metrics=metrics)
        reason, message, traceback = Reason(facts["reason"]), facts["message"], facts["traceback"]
        return Failed(reason=reason, message=message, traceback=traceback, metrics=metrics)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None  # it was going to be tried again anyway


def _in_json(metrics: Mapping[str, float]) -> dict[str, float | str]:
    """JSON has no NaN and no infinity: they are written as texts, which ``float`` reads."""
    return {name: value if math.isfinite(value) else str(value) for name, value in metrics.items()}


def drop_checkpoints(home: StudyHome, number: int) -> None:
    """A trial that has ended needs its checkpoints no more."""
    for folder in (home.trial(number) / "attempts").glob("*/checkpoint"):
        shutil.rmtree(folder, ignore_errors=True)
