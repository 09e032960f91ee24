"""The loop of a worker: claim a trial, run the objective on it, tell how it ended, claim again.

The only place where the study and the user's code meet: neither knows the other.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hpo_batch import processes
from hpo_batch.errors import Exit, StorageError, Superseded
from hpo_batch.objective.function import FunctionObjective, where_it_is
from hpo_batch.objective.load import Objective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import stalled
from hpo_batch.objective.trial import Trial
from hpo_batch.records import (
    Cause,
    Claim,
    Complete,
    Configuration,
    Failed,
    GivenBack,
    Idle,
    IdleWhy,
    Outcome,
    Pruned,
    Stopping,
    Verdict,
)
from hpo_batch.store import sharing
from hpo_batch.store.home import StudyHome
from hpo_batch.store.trial_folder import CHECKPOINT, has_checkpoint
from hpo_batch.worker.devices import Device
from hpo_batch.worker.replicates import Seeds
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.watchdog import GRACE_S, Ending, Pulse, watched

if TYPE_CHECKING:  # it brings Optuna and NumPy, which read their number of threads when they are imported
    from hpo_batch.study.study import Study

log = logging.getLogger(__name__)

MARKERS_EVERY_S = 2.0
"""how often a running trial looks for the markers of cancel"""
LOOK_AGAIN_S = 2.0
LAST_WORDS_S = 10.0
"""before SLURM kills the worker, to write that its attempt is given back"""
EARLY_S = 60.0
"""SLURM may send the warning of the limit so much too early"""
SHARE_EVERY_S = 30.0
"""how often the files of a running trial are opened to the group of a shared study"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where the worker runs."""

    device: Device
    cpus: int
    deadline: float | None
    """seconds since the epoch"""
    lead_s: float
    """a trial is asked to stop so long before the deadline"""
    is_killed: bool = False
    """whether the worker is killed at the deadline, as in SLURM"""
    began: float = field(default_factory=time.time)
    """when the worker came here"""

    def was_whole(self, started: float, ended: float) -> bool:
        """Whether an attempt from ``started`` to ``ended`` had about all the time that there is for a trial here."""
        if self.deadline is None:
            return False
        whole = self.deadline - self.lead_s - self.began
        return started - self.began <= 0.2 * whole and ended - started >= 0.8 * whole - EARLY_S

    def limit(self) -> float:
        """When an attempt is given back by the worker itself, if the objective does not stop."""
        if self.deadline is None or not self.is_killed:
            return float("inf")
        return self.deadline - min(LAST_WORDS_S, self.lead_s / 4)


@dataclass(kw_only=True)
class Tally:
    """What one worker has done."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    given_back: int = 0
    idle: Idle | None = None
    """why it found nothing more to do; None if it was told to stop"""


class WorkerEngine:
    """What a running trial asks the worker: reports go to the study, reasons to stop come from everywhere."""

    def __init__(
        self, study: Study, claim: Claim, place: Place, signals: Signals, home: StudyHome, pulse: Pulse | None = None
    ) -> None:
        self._study, self._claim, self._place, self._signals, self._home = study, claim, place, signals, home
        self._pulse = pulse
        self.wanted = Wanted.parse(study.sweep.study.metric, study.sweep.metrics)
        self.lock = threading.Lock()
        """of the study, which the watchdog uses too"""
        self._looked = 0.0
        self._shared = time.monotonic()

    def report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        if self._study.sweep.study.shared and time.monotonic() - self._shared > SHARE_EVERY_S:
            self._shared = time.monotonic()
            # now, since a killed attempt can open its checkpoint to nobody, and a colleague may go on from it
            _open_to_group(self._home.attempt(self._claim.number, self._claim.attempt))
        with self.lock:
            if self._pulse is not None:
                self._pulse.beat()
            # a pruner may look at a computed metric: it is computed from what this step reported
            return self._study.report(self._claim, step, self.wanted.complete(metrics))

    def seed_is_done(self) -> None:
        """The first seed of a trial has a result: it is not run again, whatever happens to the others."""
        with self.lock:
            self._study.write_reports(self._claim)

    def stopping(self) -> Stopping | None:
        if self._signals.received is not None:
            return self._signals.received
        if self._pulse is not None and self._pulse.silent_s() > self._pulse.stall_s:
            return Stopping.STALLED
        now = time.time()
        if self._place.deadline is not None and now > self._place.deadline - self._place.lead_s:
            return Stopping.TIME_LIMIT
        if now - self._looked > MARKERS_EVERY_S:
            self._looked = now
            if self._home.marker("CANCELLED").exists():
                return Stopping.CANCELLED
        return None


def work(
    study: Study,
    objective: Objective | Failed,
    *,
    home: StudyHome,
    place: Place,
    signals: Signals,
    sleep: Callable[[float], None] = time.sleep,
    is_over: Callable[[], bool] = lambda: False,
) -> Tally:
    """Run trials until there is none for this worker, or it is told to stop.

    Args:
        is_over: whether the objective can run no further trial.
        objective: what runs a trial; a ``Failed`` if it could not be loaded: then one trial is told so, and the worker
            ends, since every other trial would fail alike.
    """
    tally = Tally()
    while signals.received is None:
        given = study.claim(fits=lambda configuration: _fits(place, configuration))
        if isinstance(given, Idle):
            if given.why is IdleWhy.IN_FLIGHT and study.is_in_doubt():
                # one of the workers that hold the rest may be dead: its trial would be ours
                while signals.received is None and study.is_in_doubt():
                    # several looks for each duration of a lease: two with more than that between them prove no life
                    sleep(min(LOOK_AGAIN_S, study.sweep.study.lease_s / 4))
                continue
            tally.idle = given
            detail = f" ({given.detail})" if given.detail else ""
            log.info("no more trials for this worker: %s%s", given.why.value, detail)
            break
        claim = given[0]
        began = time.time()
        try:
            ended = _run(study, claim, objective, home=home, place=place, signals=signals)
            _settle(study, claim, ended, tally, place=place, began=began)
        except Superseded as error:
            log.warning("%s: its outcome does not count", error)
            continue
        except KeyboardInterrupt:
            with contextlib.suppress(StorageError):  # among them: its end was written already
                study.give_back(claim, Cause.CANCELLED)
            raise
        if isinstance(objective, Failed) or is_over():
            break
        if isinstance(ended, GivenBack) and ended.cause is not Cause.CHECKPOINTED:
            break
        if isinstance(ended, Failed):
            tally.idle = _why_leave(study)
            if tally.idle is not None:
                break
    return tally


def _why_leave(study: Study) -> Idle | None:
    """Say so if it seems to be this node that makes trials fail; leave it if that is certain and others go on."""
    here = study.failing_here()
    if here is None:
        return None
    log.warning("node %s", here)
    if not here.is_to_blame or not study.goes_on_elsewhere():
        return None
    log.warning(
        "no more trials for this worker: %s; look at the node, or leave it out with job.exclude", IdleWhy.BAD_NODE.value
    )
    return Idle(why=IdleWhy.BAD_NODE, detail=str(here))


def _run(
    study: Study, claim: Claim, objective: Objective | Failed, *, home: StudyHome, place: Place, signals: Signals
) -> Outcome | GivenBack:
    shared = study.sweep.study.shared
    if shared:
        os.umask(sharing.UMASK)  # the study may not have been shared when this worker started
    folder = study.open_attempt(claim)
    log.info("trial %s%s: attempt %s, %s", claim.number, _named(claim), claim.attempt, _shown(claim))
    if isinstance(objective, Failed):
        (folder / "stderr").write_text(objective.traceback or objective.message + "\n")
        return objective
    checkpoint = folder / CHECKPOINT
    stall_s = study.sweep.failures.stall
    pulse = None if stall_s is None else Pulse(checkpoint, stall_s=stall_s)
    engine = WorkerEngine(study, claim, place, signals, home, pulse)
    trial = Trial(
        number=claim.number,
        attempt=claim.attempt,
        params=claim.configuration.values,
        seed=claim.seeds[0],
        dir=folder,
        checkpoint=checkpoint,
        engine=engine,
        name=claim.name,
        # what the earlier attempt left may have gone in the meantime
        resumes=claim.resumes is not None and has_checkpoint(folder),
        cpus=place.cpus,
        device=place.device,
        deadline=place.deadline,
    )
    try:
        return _watched(study, claim, objective, trial, place=place, pulse=pulse, engine=engine)
    finally:
        if shared:
            _open_to_group(folder)


def _open_to_group(folder: Path) -> None:
    """What the user's code has made, whatever mode it chose; what cannot be opened fails no trial."""
    with contextlib.suppress(OSError):
        sharing.open_to_group(folder)


def _watched(
    study: Study,
    claim: Claim,
    objective: Objective,
    trial: Trial,
    *,
    place: Place,
    pulse: Pulse | None,
    engine: WorkerEngine,
) -> Outcome | GivenBack:
    """Run the objective; a function that neither returns nor listens is ended together with this worker."""
    seeds = Seeds(
        seeds=claim.seeds,
        engine=engine,
        wanted=engine.wanted,
        checkpoint=trial.dir / CHECKPOINT,
        first_is_done=engine.seed_is_done,
        keeps=study.sweep.study.keep_checkpoints == "all",
    )
    if not isinstance(objective, FunctionObjective) or (pulse is None and place.limit() == float("inf")):
        return seeds.run(objective, trial)
    began, thread = time.time(), threading.get_ident()

    def due() -> Ending | None:
        if pulse is not None and pulse.silent_s() > pulse.stall_s + min(GRACE_S, pulse.stall_s):
            where, stack = where_it_is(thread)
            return stalled(trial.progress, wanted=engine.wanted, where=where, traceback=stack)
        return GivenBack(cause=Cause.TIME_LIMIT) if time.time() > place.limit() else None

    def last_words(ended: Ending) -> NoReturn:
        _last_words(study, claim, ended, place=place, began=began)

    with watched(due, last_words, lock=engine.lock, every_s=1.0 if pulse is None else min(1.0, pulse.stall_s / 4)):
        return seeds.run(objective, trial)


def _last_words(study: Study, claim: Claim, ended: Ending, *, place: Place, began: float) -> NoReturn:
    """Tell the study how an attempt ended whose function neither returns nor listens, and end the worker with it."""
    try:
        if isinstance(ended, Failed):
            os.write(2, ended.traceback.encode(errors="backslashreplace"))  # the attempt's stderr
        _settle(study, claim, ended, Tally(), place=place, began=began)
    except (StorageError, OSError) as error:
        log.warning("trial %s: how it ended could not be written: %s", claim.number, error)
    finally:
        log.warning("worker ends: the function of trial %s does not return and cannot be interrupted", claim.number)
        processes.end_with_descendants(Exit.TRIALS_FAILED if isinstance(ended, Failed) else Exit.OK)


def _settle(
    study: Study, claim: Claim, ended: Outcome | GivenBack, tally: Tally, *, place: Place, began: float
) -> None:
    """Tell the study. Raises Superseded if the trial has gone on elsewhere."""
    now = time.time()
    seconds = now - began
    if isinstance(ended, GivenBack):
        study.give_back(claim, ended.cause, whole=place.was_whole(began, now))
        if study.has_ended(claim):
            tally.failed += 1
            log.warning("trial %s: failed after %.1f s: %s", claim.number, seconds, study.why_failed(claim))
            return
        tally.given_back += 1
        log.info("trial %s: given back after %.1f s (%s)", claim.number, seconds, ended.cause.value)
        return
    study.tell(claim, ended)
    if isinstance(ended, Complete):
        tally.complete += 1
        log.info("trial %s: %s after %.1f s", claim.number, ", ".join(f"{v:.6g}" for v in ended.values), seconds)
    elif isinstance(ended, Pruned):
        tally.pruned += 1
        log.info("trial %s: pruned at step %s after %.1f s", claim.number, ended.step, seconds)
    else:
        goes_on = "" if study.has_ended(claim) else ", to be tried again"
        tally.failed += not goes_on
        why = f"{ended.reason.value}: {ended.message}"
        log.warning("trial %s: failed after %.1f s%s: %s", claim.number, seconds, goes_on, why)


def _fits(place: Place, configuration: Configuration) -> bool:
    """Whether there is time for a trial at all. What a trial needs is not predicted yet."""
    return place.deadline is None or time.time() < place.deadline - place.lead_s


def _named(claim: Claim) -> str:
    return f" ({claim.name})" if claim.name else ""


def _shown(claim: Claim) -> str:
    return ", ".join(f"{name}={value}" for name, value in claim.configuration.searched.items())
