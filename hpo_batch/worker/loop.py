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
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from hpo_batch import processes
from hpo_batch.errors import Exit, StorageError, Superseded
from hpo_batch.files import remove_if_bare
from hpo_batch.objective.afresh import Afresh
from hpo_batch.objective.command import TRIAL_DIR
from hpo_batch.objective.function import FunctionObjective, where_it_is
from hpo_batch.objective.load import Objective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import stalled
from hpo_batch.objective.trial import Trial, end
from hpo_batch.records import (
    Cause,
    Claim,
    Complete,
    Failed,
    GivenBack,
    Idle,
    IdleWhy,
    Outcome,
    Pruned,
    Stopping,
    Verdict,
)
from hpo_batch.store import leases, sharing, trial_folder
from hpo_batch.store.checkpoints import moved_forward
from hpo_batch.store.home import StudyHome
from hpo_batch.store.trial_folder import CHECKPOINT, has_checkpoint
from hpo_batch.worker import guardian
from hpo_batch.worker.place import Place
from hpo_batch.worker.replicates import Seeds
from hpo_batch.worker.signals import Signals
from hpo_batch.worker.walltime import Fits, NParams
from hpo_batch.worker.watchdog import GRACE_S, Ending, Pulse, watched

if TYPE_CHECKING:  # it brings Optuna and NumPy, which read their number of threads when they are imported
    from hpo_batch.study.study import Study

log = logging.getLogger(__name__)

MARKERS_EVERY_S = 2.0
"""how often a running trial looks for the markers of cancel"""
LOOK_AGAIN_S = 2.0
CAUSES = {Stopping.PREEMPTED: Cause.PREEMPTED, Stopping.CANCELLED: Cause.CANCELLED}
"""of attempts that the worker gives back itself; all others: the time limit"""
SHARE_EVERY_S = 30.0
"""how often the files of a running trial are opened to the group of a shared study"""


@dataclass(kw_only=True)
class Tally:
    """What one worker has done."""

    complete: int = 0
    pruned: int = 0
    failed: int = 0
    given_back: int = 0
    idle: Idle | None = None
    """why it found nothing more to do; None if it was told to stop"""
    stopped: Stopping | None = field(default=None, compare=False)
    """why its last trial had to stop, if that ended the worker"""
    progress: bool = field(default=False, compare=False)
    """whether the study is further than it was: a trial has ended, or goes on from a newer checkpoint"""
    saves: bool = field(default=False, compare=False)
    """whether a trial was seen to save a checkpoint"""


class AskingTrial(Trial):
    """Knows whether its folder for checkpoints was asked for: else there is none, and none is looked for."""

    has_asked = False

    @property
    def checkpoint(self) -> Path:
        self.has_asked = True
        return super().checkpoint


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
        self._looked = time.time()
        """for markers: the claim has just done so"""
        self._shared = time.monotonic()

    def report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        if self._study.sweep.study.shared and time.monotonic() - self._shared > SHARE_EVERY_S:
            self._shared = time.monotonic()
            # now, since a killed attempt can open its checkpoint to nobody, and a colleague may go on from it
            _open_to_group(self._home, self._claim)
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
        received = self._signals.why(self._place.is_warned)
        if received is not None:
            return self._why_signalled(received)
        if self._pulse is not None and self._pulse.silent_s() > self._pulse.stall_s:
            return Stopping.STALLED
        now = time.time()
        if self._place.is_near(now):
            return Stopping.TIME_LIMIT
        if now - self._looked > MARKERS_EVERY_S:
            self._looked = now
            if self._home.is_marked("CANCELLED"):
                return Stopping.CANCELLED
        return None

    def _why_signalled(self, received: Stopping) -> Stopping:
        """What a signal means here: scancel sends the same as preemption, and some sites preempt by SIGUSR2."""
        if received is Stopping.PREEMPTED and self._home.is_marked("CANCELLED"):
            return Stopping.CANCELLED
        warned = self._signals.warned
        if received is Stopping.TIME_LIMIT and warned is not None and self._place.is_far(warned):
            return Stopping.PREEMPTED
        return received


Leave = Callable[[Tally], None]
"""what a worker does last; returns if it just ends"""


def _just_end(tally: Tally) -> None:
    return


def work(
    study: Study,
    objective: Objective,
    *,
    home: StudyHome,
    place: Place,
    signals: Signals,
    sleep: Callable[[float], None] = time.sleep,
    is_over: Callable[[], bool] = lambda: False,
    n_params: NParams | None = None,
    leave: Leave = _just_end,
) -> Tally:
    """Run trials until there is none for this worker, or it is told to stop.

    Args:
        is_over: whether the objective can run no further trial.
        objective: what runs a trial.
        n_params: counts a model's parameters, for the prediction of a trial's time.
        leave: called instead of a return to the caller if the function of a trial does not return.
    """
    tally = Tally()
    fits = Fits(study, place, n_params=n_params)
    pauses = iter(study.retry_pauses)
    following: tuple[Claim, ...] | Idle | None = None
    while following is not None or signals.why(place.is_warned) is None:
        if following is None:
            fits.look(saves=tally.saves)
        given, following = following or study.claim(fits=fits), None
        if isinstance(given, Idle):
            if given.why is IdleWhy.IN_FLIGHT and study.is_in_doubt():
                # one of the workers that hold the rest may be dead: its trial would be ours
                while signals.received is None and study.is_in_doubt():
                    # several looks for each duration of a lease: two with more than that between them prove no life
                    sleep(min(LOOK_AGAIN_S, study.sweep.study.lease_s / 4))
                continue
            if given.why is IdleWhy.NO_TIME and place.has_more_time(time.time()):
                continue
            if given.why is IdleWhy.NO_TIME and fits.refusal:
                given = replace(given, detail=fits.refusal)
            tally.idle = given
            detail = f" ({given.detail})" if given.detail else ""
            log.info("no more trials for this worker: %s%s", given.why.value, detail)
            break
        claim = given[0]
        began = time.time()
        try:
            ended = _run(study, claim, objective, home=home, place=place, signals=signals, tally=tally, leave=leave)
            is_told = signals.why(place.is_warned) is not None
            goes_on = isinstance(ended, Complete | Pruned) and not is_told and not is_over()
            if goes_on:
                fits.look(saves=tally.saves)
            following = _settle(study, claim, ended, tally, place=place, began=began, fits=fits if goes_on else None)
        except Superseded as error:
            log.warning("%s: its outcome does not count", error)
            if study.is_followed(claim):
                log.warning("SLURM has started this array task anew elsewhere: this worker ends")
                break
            continue
        except KeyboardInterrupt:
            with contextlib.suppress(StorageError):  # among them: its end was written already
                study.give_back(claim, Cause.CANCELLED)
            raise
        if is_over():
            break
        if isinstance(ended, GivenBack) and ended.cause is Cause.STORAGE:
            pause = next(pauses, None)
            if pause is None:
                raise StorageError(f"the files of trials of '{home.name}' cannot be written (above); its trials wait")
            sleep(pause)
            continue
        pauses = iter(study.retry_pauses)
        if isinstance(ended, GivenBack) and ended.cause is not Cause.CHECKPOINTED:
            tally.stopped = Stopping(ended.cause.value)
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
    study: Study,
    claim: Claim,
    objective: Objective,
    *,
    home: StudyHome,
    place: Place,
    signals: Signals,
    tally: Tally,
    leave: Leave,
) -> Outcome | GivenBack:
    shared = study.sweep.study.shared
    if shared:
        os.umask(sharing.UMASK)  # the study may not have been shared when this worker started
    if claim.attempt > 1:
        _end_earlier(home, claim)
    try:
        folder = study.open_attempt(claim)
    except StorageError as error:
        return _not_written(claim, error)
    log.info("trial %s%s: attempt %s, %s", claim.number, _named(claim), claim.attempt, _shown(claim))
    checkpoint = folder / CHECKPOINT
    stall_s = study.sweep.failures.stall
    pulse = None if stall_s is None else Pulse(checkpoint, stall_s=stall_s)
    engine = WorkerEngine(study, claim, place, signals, home, pulse)
    trial = AskingTrial(
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

    def note() -> None:
        """At once, since the kill may follow at once: an attempt found dead with this does not count as lost."""
        cause = CAUSES.get(engine.stopping() or Stopping.PREEMPTED, Cause.PREEMPTED)
        study.note_give_back(claim, cause)

    attempt = _Attempt(
        study=study, claim=claim, trial=trial, engine=engine, place=place, signals=signals, pulse=pulse, tally=tally
    )
    signals.take_over()
    try:
        with signals.telling(note):
            return attempt.run(objective, leave)
    except Superseded:
        raise
    except StorageError as error:
        return _not_written(claim, error)
    finally:
        end(trial)
        if trial.has_asked or len(claim.seeds) > 1 or claim.resumes is not None:
            remove_if_bare(checkpoint)
            tally.saves = tally.saves or has_checkpoint(folder)
        if shared:
            _open_to_group(home, claim)


def _end_earlier(home: StudyHome, claim: Claim) -> None:
    """Kill what an earlier attempt has left running on this host, before its checkpoint is taken over.

    Its worker was killed, and with it perhaps the guardian that does so at once.
    """
    attempts = home.attempt(claim.number, claim.attempt).absolute().parent

    def find() -> set[int]:
        return set(processes.with_environment(TRIAL_DIR, f"{attempts}{os.sep}", begins=True)) - {os.getpid()}

    left = find()
    if not left:
        return
    log.warning(
        "trial %s: its earlier attempt still runs here without its worker (pid %s) and is ended",
        claim.number, ", ".join(map(str, sorted(left)[:5])),
    )  # fmt: skip
    end = time.monotonic() + guardian.SAVING_S
    while time.monotonic() < end:
        if processes.kill_unless(find, lambda pids: any(map(processes.is_saving, pids))):
            return
        time.sleep(0.3)
    processes.kill(find)


def _not_written(claim: Claim, error: StorageError) -> GivenBack:
    """What is wrong with the disk is no failure of the trial: it waits for its next attempt."""
    log.warning("trial %s: given back: %s", claim.number, error)
    return GivenBack(cause=Cause.STORAGE)


def _open_to_group(home: StudyHome, claim: Claim) -> None:
    """What the user's code has made, whatever mode it chose; what cannot be opened fails no trial."""
    with contextlib.suppress(OSError, RecursionError):
        sharing.open_to_group(home.attempt(claim.number, claim.attempt), below=home.path)


@dataclass(frozen=True, kw_only=True)
class _Attempt:
    """One run of the objective, and the watch over it: a function may neither return nor listen."""

    study: Study
    claim: Claim
    trial: Trial
    engine: WorkerEngine
    place: Place
    signals: Signals
    pulse: Pulse | None
    tally: Tally

    def run(self, objective: Objective, leave: Leave) -> Outcome | GivenBack:
        """A function that neither returns nor listens is ended together with this worker."""
        seeds = Seeds(
            seeds=self.claim.seeds,
            engine=self.engine,
            wanted=self.engine.wanted,
            checkpoint=self.trial.dir / CHECKPOINT,
            first_is_done=self.engine.seed_is_done,
            keeps=self.study.sweep.study.keep_checkpoints == "all",
        )
        afresh = Afresh(objective=objective)
        if not isinstance(objective, FunctionObjective):
            return seeds.run(afresh, self.trial)
        began, thread = time.time(), threading.get_ident()
        every_s = 1.0 if self.pulse is None else min(1.0, self.pulse.stall_s / 4)

        def last_words(ended: Ending) -> NoReturn:
            self._last_words(ended, began=began, leave=leave)

        with watched(lambda: self._due(thread), last_words, lock=self.engine.lock, every_s=every_s):
            return seeds.run(afresh, self.trial)

    def _due(self, thread: int) -> Ending | None:
        """How the attempt has to be ended now, because the objective does not do it."""
        received, warned = self.signals.why(self.place.is_warned), self.signals.warned
        now = time.time()
        self.place.is_near(now)  # asks SLURM in time, for a function that never asks us
        if received is Stopping.PREEMPTED and warned is not None and now > warned + self.place.patience_s:
            return GivenBack(cause=CAUSES.get(self.engine.stopping() or received, Cause.PREEMPTED))
        if received is Stopping.TIME_LIMIT and warned is not None and self.place.is_far(warned):
            return GivenBack(cause=Cause.PREEMPTED) if now > warned + self.place.patience_s else None
        if now > self.place.limit(warned if received is Stopping.TIME_LIMIT else None):
            return GivenBack(cause=CAUSES.get(self.engine.stopping() or Stopping.TIME_LIMIT, Cause.TIME_LIMIT))
        pulse = self.pulse
        if pulse is not None and pulse.silent_s() > pulse.stall_s + min(GRACE_S, pulse.stall_s):
            where, stack = where_it_is(thread)
            return stalled(self.trial.progress, wanted=self.engine.wanted, where=where, traceback=stack)
        return None

    def _last_words(self, ended: Ending, *, began: float, leave: Leave) -> NoReturn:
        """Tell the study how an attempt ended whose function does not return, and end the worker with it."""
        study, claim = self.study, self.claim
        try:
            if isinstance(ended, Failed):
                os.write(2, ended.traceback.encode(errors="backslashreplace"))  # the attempt's stderr
            else:
                self.tally.stopped = Stopping(ended.cause.value)
            self.tally.saves = self.tally.saves or has_checkpoint(self.trial.dir)
            _settle(study, claim, ended, self.tally, place=self.place, began=began)
        except (StorageError, OSError) as error:
            log.warning("trial %s: how it ended could not be written: %s", claim.number, error)
        except Superseded as error:
            log.warning("%s: its outcome does not count", error)
        finally:
            log.warning("the function of trial %s does not return and cannot be interrupted", claim.number)
            self._end(Exit.TRIALS_FAILED if isinstance(ended, Failed) else Exit.OK, leave)

    def _end(self, code: Exit, leave: Leave) -> NoReturn:
        processes.end_descendants()
        trial_folder.tidy(self.study.home, self.claim.number, self.claim.attempt)
        leases.remove(self.study.home.workers, self.study.owner.worker)
        try:
            leave(self.tally)
        finally:
            processes.end_with_descendants(code)


def _settle(
    study: Study,
    claim: Claim,
    ended: Outcome | GivenBack,
    tally: Tally,
    *,
    place: Place,
    began: float,
    fits: Fits | None = None,
) -> tuple[Claim, ...] | Idle | None:
    """Tell the study how an attempt ended.

    Args:
        fits: asks for the next trial along with that.

    Returns:
        What came of the next claim; None if there was none.

    Raises:
        Superseded: the trial has gone on elsewhere.
    """
    now = time.time()
    seconds = now - began
    if isinstance(ended, GivenBack):
        whole = place.was_whole(began, now)
        moved = moved_forward(study.home, claim.number, claim.attempt)
        study.give_back(claim, ended.cause, whole=whole)
        # one that had all the time and saved nothing may be the only one of its kind, unless none has finished yet
        tally.progress = tally.progress or moved or study.has_ended(claim) or (whole and bool(study.took()))
        if study.has_ended(claim):
            tally.failed += 1
            log.warning("trial %s: failed after %.1f s: %s", claim.number, seconds, study.why_failed(claim))
            return None
        tally.given_back += 1
        log.info("trial %s: given back after %.1f s (%s)", claim.number, seconds, ended.cause.value)
        return None
    following = None
    if fits is None:
        study.tell(claim, ended)
    else:
        following = study.tell_and_claim(claim, ended, fits=fits)
    tally.progress = tally.progress or study.has_ended(claim)
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
    return following


def _named(claim: Claim) -> str:
    return f" ({claim.name})" if claim.name else ""


def _shown(claim: Claim) -> str:
    return ", ".join(f"{name}={value}" for name, value in claim.configuration.searched.items())
