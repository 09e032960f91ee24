"""Run a block: several trials of one shape, trained together by the user's ``train_many`` in this process.

Each trial is an attempt like any other, with its own claim, folder and end. They share the process, and so its output:
``stdout`` and ``stderr`` of all of them are one file with several names.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

from hpo_batch.errors import StorageError, Superseded
from hpo_batch.files import unlink_if_empty
from hpo_batch.objective.function import call_many
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import of_exception, of_return, reason_of
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.trials import ManyFunction, Trials
from hpo_batch.records import Cause, Claim, Failed, GivenBack, Idle, Outcome, Reason, Usage
from hpo_batch.store.attempt_folder import STREAMS
from hpo_batch.study.alike import Alike
from hpo_batch.study.endings import Ending as UntoldEnding
from hpo_batch.text.names import listed
from hpo_batch.worker.attempt import Attempt, end_worker, not_written
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.settle import note, settle
from hpo_batch.worker.usage import Measuring
from hpo_batch.worker.walltime import Fits
from hpo_batch.worker.watchdog import Ending, watched

log = logging.getLogger(__name__)

# Trials of one shape in a row, in units of the block's size. Without a limit, trials that end one by one would keep a
# block going until its shape is used up, and a search of few trials would never see another.
IN_A_ROW = 2


@dataclass(kw_only=True)
class BlockEnd:
    """What became of a block."""

    outcomes: list[Outcome | GivenBack] = field(default_factory=list)
    alone: list[Claim] = field(default_factory=list)
    """claims of trials that must run alone, because ``train_many`` failed with several of them running"""
    failed: Reason | None = None
    """why it failed then"""
    is_followed: bool = False
    """whether SLURM has restarted this array task elsewhere"""


@dataclass(kw_only=True, eq=False)
class _Running:
    attempt: Attempt
    began: float
    measuring: Measuring
    is_taken: bool = False
    usage: Usage | None = None
    """once it is closed"""


class Block:
    """The ``Slots`` of one call of ``train_many``.

    Args:
        context: of the worker.
        many: the user's function.
        claims: the first trials, of one shape.
        alike: that shape.
        fits: whether there is time for a trial.
    """

    def __init__(
        self, context: WorkerContext, many: ManyFunction, claims: Sequence[Claim], *, alike: Alike, fits: Fits
    ) -> None:
        self._context = context
        self._many = many
        self._alike = alike.of(claims[0].configuration)
        self._fits = fits
        self._wanted = Wanted.parse(context.study.sweep.study.metric, context.study.sweep.metrics)
        self._lock = threading.Lock()
        """protects the study, which the watchdog's thread uses too"""
        self._ready: list[_Running] = []
        """opened, and not yet taken"""
        self._running: dict[int, _Running] = {}
        """by trial number"""
        self._kept: list[tuple[UntoldEnding, Claim, Outcome, float]] = []
        """ends whose results lie in their folders, and which the journal does not have yet"""
        self._taken = 0
        self._is_dry = False
        """whether there was no further trial of this shape"""
        self._output: Path | None = None
        self._linked: list[Path] = []
        self.end_of = BlockEnd()
        self._claims = claims
        self._thread = 0

    def run(self) -> BlockEnd:
        """Call ``train_many`` until it returns; every trial but those in ``alone`` has its end recorded then.

        Raises:
            StorageError: ends still cannot be recorded after all retries.
        """
        for claim in self._claims:
            self._open(claim)
        if not self._ready:
            return self.end_of
        context, self._thread = self._context, threading.get_ident()
        self._output = self._ready[0].attempt.trial.dir
        if len(self._ready) > 1:
            log.info("trials %s are trained together", listed(one.attempt.claim.number for one in self._ready))
        trials = Trials(self, size=self._alike.size, cpus=context.place.cpus, device=context.place.device)
        context.signals.take_over()
        every_s = min(one.attempt.look_every_s for one in self._ready)
        try:
            with (
                context.signals.telling(self._announce),
                watched(self._due, self._last_words, lock=self._lock, every_s=every_s),
            ):
                error = call_many(self._many, trials, folder=self._output)
        finally:
            for path in self._linked:
                with contextlib.suppress(OSError):
                    unlink_if_empty(path)
        self._finish(error)
        return self.end_of

    def take(self, at_most: int) -> list[Trial]:
        with self._lock:
            self._tell()
            missing = at_most - len(self._ready)
            if self._taken and missing > 0 and not self._is_dry:
                self._claim(min(missing, IN_A_ROW * self._alike.size - self._taken - len(self._ready)))
            given, self._ready = self._ready[:at_most], self._ready[at_most:]
            for one in given:
                one.is_taken = True
                self._running[one.attempt.claim.number] = one
                self._link(one.attempt.trial.dir)
            self._taken += len(given)
            return [one.attempt.trial for one in given]

    def end(self, trial: Trial, result: object) -> None:
        with self._lock:
            self._end(self._running.pop(trial.number), result)

    def _open(self, claim: Claim) -> None:
        began = time.time()
        try:
            attempt = Attempt.opened(self._context, claim)
        except StorageError as error:
            self._settle(claim, not_written(claim, error), began=began)
            return
        attempt.engine.lock = self._lock
        measuring = self._context.meter.begin(is_function=True)
        self._ready.append(_Running(attempt=attempt, began=began, measuring=measuring))

    def _close(self, one: _Running) -> None:
        one.attempt.close()
        one.usage = self._context.meter.end(one.measuring)

    def _claim(self, at_most: int) -> None:
        """Claim and open trials for free slots."""
        context = self._context
        if at_most <= 0 or context.signals.why(context.place.is_warned) is not None:
            return
        self._fits.look(saves=context.tally.saves)
        claims = context.study.claim(at_most, fits=self._fits, alike=self._alike)
        self._is_dry = isinstance(claims, Idle)
        if not isinstance(claims, Idle):
            for claim in claims:
                self._open(claim)

    def _end(self, one: _Running, result: object) -> None:
        """Take in how a trial ended. Its result is written now, and the journal gets those of several at once."""
        attempt, claim = one.attempt, one.attempt.claim
        progress = attempt.trial.progress
        try:
            if isinstance(result, BaseException):
                ended = of_exception(result, wanted=self._wanted, progress=progress)
            else:
                ended = of_return(result, wanted=self._wanted, progress=progress)
        except Superseded as error:
            self._superseded(claim, error)
            return
        finally:
            self._close(one)
        self._take_in(one, ended)

    def _take_in(self, one: _Running, ended: Outcome | GivenBack) -> None:
        claim, ended = one.attempt.claim, one.attempt.timed(replace(ended, usage=one.usage))
        if isinstance(ended, GivenBack):
            self._settle(claim, ended, began=one.began)
        else:
            self._kept.append((self._context.study.keep(claim, ended), claim, ended, one.began))

    def _settle(self, claim: Claim, ended: Outcome | GivenBack, *, began: float) -> None:
        try:
            settle(self._context, claim, ended, began=began)
        except Superseded as error:
            self._superseded(claim, error)
            return
        self.end_of.outcomes.append(ended)

    def _tell(self) -> None:
        """Record the ends since the last time, in one transaction."""
        kept, self._kept = self._kept, []
        if not kept:
            return
        superseded = self._context.study.tell_all([ending for ending, *_ in kept])
        for ending, claim, outcome, began in kept:
            if ending in superseded:
                self._superseded(claim, Superseded(f"trial {claim.number}: attempt {claim.attempt} was superseded"))
            else:
                note(self._context, claim, outcome, began=began)
                self.end_of.outcomes.append(outcome)

    def _superseded(self, claim: Claim, error: Superseded) -> None:
        log.warning("%s: its outcome does not count", error)
        if self._context.study.is_followed(claim):
            log.warning("SLURM has restarted this array task elsewhere; this worker exits")
            self.end_of.is_followed = True

    def _finish(self, error: BaseException | None) -> None:
        """End what ``train_many`` has left, and record all."""
        left = [*self._running.values(), *self._ready]
        self._running.clear()
        self._ready.clear()
        if isinstance(error, KeyboardInterrupt):
            for one in left:
                self._close(one)
                with contextlib.suppress(StorageError):  # includes Superseded: its end may have been written already
                    self._context.study.give_back(one.attempt.claim, Cause.CANCELLED)
            raise error
        if isinstance(error, StorageError) and not isinstance(error, Superseded):
            for one in left:
                self._close(one)
                self._settle(one.attempt.claim, not_written(one.attempt.claim, error), began=one.began)
        elif error is None:
            self._finish_returned(left)
        elif len(left) > 1 and not any(one.attempt.trial.stopping for one in left):
            for one in left:
                self._close(one)
            self.end_of.failed = reason_of(error)
            self.end_of.alone = [one.attempt.claim for one in left]
        else:
            for one in left:
                self._end(one, error)
        self._tell()

    def _finish_returned(self, left: Sequence[_Running]) -> None:
        """End the trials that a function which returned has not ended, and set those aside that it has not taken."""
        for one in left:
            if one.is_taken and one.attempt.trial.stopping is None:
                message = "train_many returned without an end of this trial; call trials.end(trial, result) for each"
                metrics = self._wanted.complete(one.attempt.trial.progress.metrics)
                self._close(one)
                self._take_in(one, Failed(reason=Reason.NO_RESULT, message=message, metrics=metrics))
            elif one.is_taken:
                self._end(one, None)
            else:
                self._close(one)
                self.end_of.alone.append(one.attempt.claim)

    def _announce(self) -> None:
        for one in list(self._running.values()):
            one.attempt.announce()

    def _due(self) -> Ending | None:
        endings = (one.attempt.due(self._thread) for one in list(self._running.values()))
        return next((ending for ending in endings if ending is not None), None)

    def _last_words(self, ended: Ending) -> NoReturn:
        """Record the ends of all trials of a function that does not return, then end the worker."""
        running = list(self._running.values())
        try:
            self._tell()
            for one in running:
                own = one.attempt.due(self._thread) if isinstance(ended, Failed) else ended
                one.attempt.record_end(own or GivenBack(cause=Cause.PREEMPTED), began=one.began)
        finally:
            end_worker(self._context, [one.attempt.claim for one in running], ended)

    def _link(self, folder: Path) -> None:
        """Give the block's output a name in the folder of another of its trials."""
        if self._output is None or folder == self._output:
            return
        for name in STREAMS:
            try:
                os.link(self._output / name, folder / name)
            except FileExistsError:
                continue
            except OSError as error:  # a file system without hard links
                log.debug("the output of the block is in '%s' only: %s", self._output, error)
                return
            self._linked.append(folder / name)
