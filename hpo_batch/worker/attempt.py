"""Run one attempt of a trial: create its folder, run the objective, and watch it."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn, TypeVar

from msgspec import structs

from hpo_batch import processes
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import Exit, StorageError, Superseded
from hpo_batch.files import remove_if_bare
from hpo_batch.objective.afresh import Afresh
from hpo_batch.objective.function import FunctionObjective, where_it_is
from hpo_batch.objective.outcome import stalled
from hpo_batch.objective.trial import Trial, TrialContext, end
from hpo_batch.records import Cause, Claim, Failed, GivenBack, Outcome, Stopping, Usage
from hpo_batch.store import attempt_folder, leases, sharing
from hpo_batch.store.attempt_folder import CHECKPOINT, has_checkpoint
from hpo_batch.store.home import StudyHome
from hpo_batch.worker import guardian
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.engine import WorkerEngine, open_to_group
from hpo_batch.worker.replicates import Seeds
from hpo_batch.worker.settle import settle
from hpo_batch.worker.watchdog import GRACE_S, Ending, Pulse, watched

log = logging.getLogger(__name__)

End = TypeVar("End", bound=Outcome | GivenBack)

# causes of attempts that the worker gives back itself; for any other reason the cause is the time limit
CAUSES = {Stopping.PREEMPTED: Cause.PREEMPTED, Stopping.CANCELLED: Cause.CANCELLED}


class AttemptTrial(Trial):
    """A trial that remembers whether its checkpoint folder was used; if not, there is none to look for."""

    has_asked = False

    @property
    def checkpoint(self) -> Path:
        self.has_asked = True
        return super().checkpoint


def run_attempt(context: WorkerContext, claim: Claim, *, again: bool = False) -> Outcome | GivenBack:
    """Run a claim's trial and return how the attempt ended; the caller records it.

    Args:
        context: of the worker.
        claim: of the trial.
        again: whether this attempt has run before, in a block, and may have saved a checkpoint.

    Raises:
        Superseded: another worker has the trial.
    """
    try:
        attempt = Attempt.opened(context, claim, again=again)
    except StorageError as error:
        return not_written(claim, error)
    context.signals.take_over()
    measuring = context.meter.begin(is_function=isinstance(context.objective, FunctionObjective))
    try:
        with context.signals.telling(attempt.announce):
            ended = attempt.run()
        return attempt.timed(replace(ended, usage=context.meter.end(measuring)))
    except Superseded:
        raise
    except StorageError as error:
        return not_written(claim, error)
    finally:
        context.meter.end(measuring)  # else later attempts would share their CPU time with it
        attempt.close()


def _end_earlier(home: StudyHome, claim: Claim) -> None:
    """Kill processes of an earlier attempt on this host before its checkpoint is taken over.

    Normally the guardian has done so, but it may have been killed together with its worker.
    """
    attempts = home.attempt(claim.number, claim.attempt).absolute().parent

    def find() -> set[int]:
        return set(processes.with_environment(EnvVar.TRIAL_DIR, f"{attempts}{os.sep}", begins=True)) - {os.getpid()}

    survivors = find()
    if not survivors:
        return
    log.warning(
        "trial %s: killing processes of its earlier attempt that outlived their worker on this node (pid %s)",
        claim.number, ", ".join(map(str, sorted(survivors)[:5])),
    )  # fmt: skip
    end = time.monotonic() + guardian.SAVING_S
    while time.monotonic() < end:
        if processes.kill_unless(find, lambda pids: any(map(processes.is_saving, pids))):
            return
        time.sleep(0.3)
    processes.kill(find)


def not_written(claim: Claim, error: StorageError) -> GivenBack:
    """A storage error is not a failure of the trial, which waits for its next attempt."""
    log.warning("trial %s: given back: %s", claim.number, error)
    return GivenBack(cause=Cause.STORAGE)


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One run of the objective, watched because a function may neither return nor call ``should_stop``."""

    context: WorkerContext
    claim: Claim
    trial: AttemptTrial
    engine: WorkerEngine
    pulse: Pulse | None
    """None without ``[failures] stall``"""

    @classmethod
    def opened(cls, context: WorkerContext, claim: Claim, *, again: bool = False) -> Attempt:
        """An attempt whose folder is there; see ``run_attempt``.

        Raises:
            StorageError: it cannot be written.
        """
        study = context.study
        if study.sweep.study.shared:
            os.umask(sharing.UMASK)  # the study may not have been shared when this worker started
        if claim.attempt > 1:
            _end_earlier(study.home, claim)
        folder = study.open_attempt(claim)
        name = f" ({claim.name})" if claim.name else ""
        params = ", ".join(f"{name}={value}" for name, value in claim.configuration.searched.items())
        log.info("trial %s%s: attempt %s, %s", claim.number, name, claim.attempt, params)
        checkpoint = folder / CHECKPOINT
        stall_s = context.study.sweep.failures.stall
        pulse = None if stall_s is None else Pulse(checkpoint, stall_s=stall_s)
        engine = WorkerEngine(context, claim, pulse)
        facts = TrialContext(
            number=claim.number,
            attempt=claim.attempt,
            params=claim.configuration.values,
            seed=claim.seeds[0],
            dir=folder,
            checkpoint=checkpoint,
            name=claim.name,
            # the earlier attempt's checkpoint may be gone by now
            resumes=(again or claim.resumes is not None) and has_checkpoint(folder),
            cpus=context.place.cpus,
            device=context.place.device,
            deadline=context.place.deadline,
        )
        return cls(context=context, claim=claim, trial=AttemptTrial(facts, engine), engine=engine, pulse=pulse)

    def close(self) -> None:
        """Tidy up once the objective has returned."""
        context, claim, folder = self.context, self.claim, self.trial.dir
        end(self.trial)
        if self.trial.has_asked or len(claim.seeds) > 1 or claim.resumes is not None:
            remove_if_bare(folder / CHECKPOINT)
            context.tally.saves = context.tally.saves or has_checkpoint(folder)
        if context.study.sweep.study.shared:
            open_to_group(context.study.home, claim)

    def announce(self) -> None:
        """Note that SIGTERM arrived: the kill may follow any moment, and then the attempt does not count as lost."""
        cause = CAUSES.get(self.engine.stopping() or Stopping.PREEMPTED, Cause.PREEMPTED)
        self.context.study.announce_give_back(self.claim, cause)

    def run(self) -> Outcome | GivenBack:
        """Run the objective; a function that does not stop when it must is ended together with this worker."""
        seeds = Seeds(
            seeds=self.claim.seeds,
            engine=self.engine,
            wanted=self.engine.wanted,
            checkpoint=self.trial.dir / CHECKPOINT,
            first_is_done=self.engine.seed_is_done,
            keeps=self.context.study.sweep.study.keep_checkpoints == "all",
        )
        objective = self.context.objective
        afresh = Afresh(objective=objective)
        if not isinstance(objective, FunctionObjective):
            return seeds.run(afresh, self.trial)
        began, thread = time.time(), threading.get_ident()

        def last_words(ended: Ending) -> NoReturn:
            try:
                self.record_end(ended, began=began)
            finally:
                end_worker(self.context, [self.claim], ended)

        with watched(lambda: self.due(thread), last_words, lock=self.engine.lock, every_s=self.look_every_s):
            return seeds.run(afresh, self.trial)

    @property
    def look_every_s(self) -> float:
        """Seconds between two looks of the watchdog."""
        return 1.0 if self.pulse is None else min(1.0, self.pulse.stall_s / 4)

    def due(self, thread: int) -> Ending | None:
        """How to end the attempt now, because the objective does not stop; None if it may go on."""
        signals, place = self.context.signals, self.context.place
        received, warned = signals.why(place.is_warned), signals.warned
        now = time.time()
        place.is_near(now)  # asks SLURM about the limit in time, even if the function never calls should_stop
        if received is Stopping.PREEMPTED and warned is not None and now > warned + place.patience_s:
            return GivenBack(cause=CAUSES.get(self.engine.stopping() or received, Cause.PREEMPTED))
        if received is Stopping.TIME_LIMIT and warned is not None and place.is_far(warned):
            return GivenBack(cause=Cause.PREEMPTED) if now > warned + place.patience_s else None
        if now > place.limit(warned if received is Stopping.TIME_LIMIT else None):
            return GivenBack(cause=CAUSES.get(self.engine.stopping() or Stopping.TIME_LIMIT, Cause.TIME_LIMIT))
        pulse = self.pulse
        if pulse is not None and pulse.silent_s() > pulse.stall_s + min(GRACE_S, pulse.stall_s):
            where, stack = where_it_is(thread)
            return stalled(self.trial.progress, wanted=self.engine.wanted, where=where, traceback=stack)
        return None

    def timed(self, ended: End) -> End:
        """The same end, with how long the first report took."""
        return replace(ended, usage=structs.replace(ended.usage or Usage(), first_report_s=self.engine.first_report_s))

    def record_end(self, ended: Ending, *, began: float) -> None:
        """Record the end of an attempt whose function does not return."""
        claim, tally = self.claim, self.context.tally
        try:
            if isinstance(ended, Failed):
                os.write(2, ended.traceback.encode(errors="backslashreplace"))  # the attempt's stderr
            else:
                tally.stopped = Stopping(ended.cause.value)
            tally.saves = tally.saves or has_checkpoint(self.trial.dir)
            settle(self.context, claim, self.timed(ended), began=began)
        except (StorageError, OSError) as error:
            log.warning("trial %s: its end could not be recorded: %s", claim.number, error)
        except Superseded as error:
            log.warning("%s: its outcome does not count", error)


def end_worker(context: WorkerContext, claims: Sequence[Claim], ended: Ending) -> NoReturn:
    """End this process after ``record_end``, because a function does not return.

    Args:
        context: of the worker.
        claims: what it was running.
        ended: why.
    """
    study = context.study
    numbers = ", ".join(str(claim.number) for claim in claims)
    log.warning(
        "the function of trial%s %s does not return and cannot be interrupted", "s" * (len(claims) > 1), numbers
    )
    processes.end_descendants()
    for claim in claims:
        attempt_folder.tidy(study.home, claim.number, claim.attempt)
    leases.remove(study.home.workers, study.owner.worker)
    try:
        context.leave(context.tally)
    finally:
        processes.end_with_descendants(Exit.TRIALS_FAILED if isinstance(ended, Failed) else Exit.OK)
