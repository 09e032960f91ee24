"""The study as a worker sees it: claim, report, tell, give back. Nothing else may be done to a journal by a worker.

Each call is one transaction at most. A claim belongs to whoever's token stands in the journal: an attempt that has been
given to somebody else can change nothing any more.
"""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from hpo_batch.errors import StorageError, Superseded
from hpo_batch.records import (
    Cause,
    Claim,
    Complete,
    Configuration,
    Failed,
    Idle,
    IdleWhy,
    Outcome,
    Owner,
    Pruned,
    TrialState,
    Value,
    Verdict,
)
from hpo_batch.space.space import Space
from hpo_batch.store import leases, trial_folder
from hpo_batch.store.format import Record, Writer
from hpo_batch.store.home import StudyHome
from hpo_batch.store.journal import Journal
from hpo_batch.store.scan import JournalState, ScannedTrial
from hpo_batch.study import quota, samplers
from hpo_batch.study.claim import (
    Answered,
    Claimant,
    Drawn,
    Granted,
    Redraw,
    decide,
    end_attempt,
    give_back_lost,
    not_made,
)
from hpo_batch.study.create import read_revision
from hpo_batch.study.pruners import make_pruner, should_prune
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep

log = logging.getLogger(__name__)

Clock = Callable[[], float]
REPORT_EVERY_S = 10.0
"""reports are written together, at latest after so long"""
TELL_TRIES = 6
"""a result that the file system refuses is offered again so often, with growing pauses (about a minute in all)"""
MOST_REDRAWS = 50


def always(configuration: Configuration) -> bool:
    return True


class Study:
    """One worker's access to a study. Make it with ``Study.open``."""

    def __init__(
        self, home: StudyHome, owner: Owner, *, clock: Clock, n_params: Callable[[Mapping[str, Value]], int] | None
    ) -> None:
        self.home = home
        self.owner = owner
        self._clock = clock
        self._n_params = n_params
        self._journal = Journal(home.journal)
        self._state = JournalState()
        self._writer = Writer(owner.worker)
        self._reports: list[tuple[Claim, int, float]] = []
        self._last_flush = clock()
        self._sync()
        self._load_revision()
        self._watch = leases.LeaseWatch(home.workers, duration_s=self.sweep.study.lease_s)

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        home: StudyHome,
        owner: Owner,
        *,
        clock: Clock = time.time,
        n_params: Callable[[Mapping[str, Value]], int] | None = None,
    ) -> Iterator[Study]:
        """Open an existing study and hold the worker's lease while the block runs.

        Raises:
            StorageError: the study cannot be read, or its folder of leases not written.
        """
        study = cls(home, owner, clock=clock, n_params=n_params)
        with leases.held(home.workers, owner, duration_s=study.sweep.study.lease_s):
            yield study

    @property
    def sweep(self) -> Sweep:
        """The current revision, as read at the last claim."""
        return self._sweep

    def claim(self, at_most: int = 1, *, fits: Callable[[Configuration], bool] = always) -> tuple[Claim, ...] | Idle:
        """Up to ``at_most`` trials to run, or why there is none.

        Args:
            fits: whether a configuration can be trained in the time that is left, asked before the trial exists.
        """
        claims: list[Claim] = []
        while len(claims) < at_most:
            given = self._claim_one(fits)
            if isinstance(given, Idle):
                return tuple(claims) or given
            claims.append(given)
        return tuple(claims)

    def report(self, claim: Claim, step: int, metrics: Mapping[str, float]) -> Verdict:
        """Note a step's metrics; with a pruner, say whether the trial should end.

        Reports wait in memory and are written together, unless a pruner needs those of all workers now.
        """
        value = metrics.get(self.sweep.study.metric[0])
        if value is not None and math.isfinite(value):
            self._reports.append((claim, step, float(value)))
        rung = self._pruner is not None and value is not None and step >= self.sweep.pruner.first_rung
        if not rung and self._clock() - self._last_flush < REPORT_EVERY_S:
            return Verdict.CONTINUE
        try:
            self._flush(claim)
        except Superseded:
            return Verdict.SUPERSEDED
        except StorageError as error:
            log.warning("trial %s: reports wait, the journal cannot be written now: %s", claim.number, error)
            return Verdict.CONTINUE
        if rung and self._pruner is not None and should_prune(self._pruner, self._state, claim.number):
            return Verdict.PRUNE
        return Verdict.CONTINUE

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """Write how the attempt ended. The result lies in the attempt's folder before the journal is told.

        Raises:
            Superseded: the trial has gone on elsewhere; the outcome does not count.
            StorageError: the journal could not be written, also not after waiting; the result is in the folder.
        """
        trial_folder.write_result(self.home, claim, outcome)

        def records(trial: ScannedTrial) -> list[Record]:
            noted = [self._writer.metric(trial.trial_id, name, value) for name, value in _finite(outcome.metrics)]
            if isinstance(outcome, Failed):
                return noted + end_attempt(self._claimant(), trial, outcome.reason, outcome.message)
            ending = {"how": "complete" if isinstance(outcome, Complete) else "pruned", "time": self._clock()}
            noted.append(self._writer.trial_attr(trial.trial_id, f"hpo:ended:{claim.attempt}", ending))
            if isinstance(outcome, Pruned):
                value = trial.steps.get(outcome.step)
                values = None if value is None else (value,)
                return [*noted, self._change(trial, TrialState.PRUNED, values)]
            return [*noted, self._change(trial, TrialState.COMPLETE, outcome.values)]

        for pause in [0.5 * 2**i for i in range(TELL_TRIES)]:
            try:
                self._fenced(claim, records)
                break
            except Superseded:
                raise
            except StorageError as error:
                log.warning("trial %s: the result waits in its folder: %s", claim.number, error)
                time.sleep(pause)
        else:
            self._fenced(claim, records)
        ended = self._state.trials[claim.number].state.ended
        if ended and self.sweep.study.keep_checkpoints == "unfinished":
            trial_folder.drop_checkpoints(self.home, claim.number)

    def give_back(self, claim: Claim, cause: Cause) -> None:
        """End the attempt in order: the trial keeps its number and waits for its next attempt.

        Raises:
            Superseded: the trial has gone on elsewhere.
        """

        def records(trial: ScannedTrial) -> list[Record]:
            ending = {"how": cause.value, "time": self._clock()}
            return [
                self._writer.trial_attr(trial.trial_id, f"hpo:ended:{claim.attempt}", ending),
                self._change(trial, TrialState.WAITING, None),
            ]

        self._fenced(claim, records)

    def silent_s(self) -> float:
        """The longest silence of a worker that holds a trial, as far as this worker has watched."""
        self._sync()
        running = [self._state.trials[n] for n in self._state.by_state[TrialState.RUNNING]]
        holders = [trial.attempt_facts(trial.attempt) for trial in running]
        silences = [
            float("inf") if self._watch.is_dead(facts) else self._watch.silent_s(facts["worker"])
            for facts in holders
            if facts
        ]
        return max(silences, default=0.0)

    def open_attempt(self, claim: Claim) -> Path:
        """The attempt's own folder, made ready."""
        return trial_folder.open_attempt(self.home, claim)

    def _claim_one(self, fits: Callable[[Configuration], bool]) -> Claim | Idle:
        for _ in range(MOST_REDRAWS):
            stop = self._marker()
            if stop is not None:
                return stop
            self._sync()
            self._load_revision()
            drawn = self._draw()
            with self._journal.transaction() as transaction:
                self._state.apply(transaction.new)
                lost = give_back_lost(self._claimant(), self._state, is_dead=self._watch.is_dead)
                if lost:
                    self._state.apply(transaction.append(lost, sync=True))
                decision = decide(
                    self._claimant(),
                    self._state,
                    drawn,
                    fits=fits,
                    newest_checkpoint=lambda number: trial_folder.newest_checkpoint(self.home, number),
                )
                if isinstance(decision, Granted | Answered):
                    self._state.apply(transaction.append(decision.records, sync=True))
            if isinstance(decision, Granted):
                return decision.claim
            if isinstance(decision, Idle):
                return decision
            assert isinstance(decision, Answered | Redraw)
        return Idle(why=IdleWhy.SPACE_USED_UP, detail="no unseen configuration was found")

    def _draw(self) -> Drawn:
        """Candidates for every quota arm, drawn before the lock is taken."""
        counts = self._state.counts()
        listed = self.sweep.sampler.name == "list"
        if listed or counts.waiting > 0 or counts.finished + counts.running >= counts.target or self._planned_left():
            return Drawn(candidates={}, used_up=listed)
        if self.sweep.sampler.name == "grid":
            unseen = [c for c in self._grid if c.key not in self._state.number_of_key]
            candidates = [samplers.Candidate(configuration=c, origin="grid") for c in unseen]
            return Drawn(candidates={(): candidates}, used_up=not unseen)
        by_arm: dict[quota.Arm, list[samplers.Candidate]] = {}
        used_up = True
        for i, arm in enumerate(quota.arms(self._space)):
            seed = self._draw_seed(i)
            by_arm[arm], empty = samplers.draw(self.sweep, self._space, self._state, arm=dict(arm), seed=seed)
            used_up = used_up and empty
        return Drawn(candidates=by_arm, used_up=used_up)

    def _draw_seed(self, arm: int) -> int:
        """From the study's seed, the number of trials and the worker's index: one worker's search can be repeated."""
        index = self.owner.worker.rpartition("-")[2]
        lane = int(index) if index.isdigit() else 0
        return (self.sweep.sampler.seed * 1_000_003 + len(self._state.trials) * 8191 + lane * 131 + arm) % 2**32

    def _planned_left(self) -> bool:
        """Whether a planned trial has not been made yet: then the next claim needs no draw."""
        unmade = not_made(self._planned, self._state)
        return any(p.configuration.key not in self._state.number_of_key for p in unmade)

    def _flush(self, claim: Claim) -> None:
        """Write the reports of ``claim`` that wait; unsynced, since a later report or the result repeats their gist."""
        self._fenced(claim, lambda trial: [], sync=False)

    def _fenced(self, claim: Claim, make_records: Callable[[ScannedTrial], list[Record]], *, sync: bool = True) -> None:
        """Append records (and the reports that wait) if the claim is still the one that counts."""
        waiting = [(step, value) for c, step, value in self._reports if c.token == claim.token]
        with self._journal.transaction() as transaction:
            self._state.apply(transaction.new)
            trial = self._state.trials[claim.number] if claim.number < len(self._state.trials) else None
            if trial is None or not _holds(claim, trial):
                self._forget_reports(claim)
                raise Superseded(f"trial {claim.number} has gone on without attempt {claim.attempt}")
            reports = [self._writer.report(trial.trial_id, step, value) for step, value in waiting]
            steps_known = {**trial.steps, **dict(waiting)}
            trial.steps = steps_known  # what make_records may look up; the same is appended below
            records = reports + make_records(trial)
            if records:
                self._state.apply(transaction.append(records, sync=sync))
        self._forget_reports(claim)
        self._last_flush = self._clock()

    def _forget_reports(self, claim: Claim) -> None:
        self._reports = [report for report in self._reports if report[0].token != claim.token]

    def _change(self, trial: ScannedTrial, state: TrialState, values: tuple[float, ...] | None) -> Record:
        return self._writer.trial_state(trial.trial_id, state, now=self._clock(), values=values)

    def _claimant(self) -> Claimant:
        return Claimant(
            sweep=self._sweep,
            space=self._space,
            planned=self._planned,
            owner=self.owner,
            writer=self._writer,
            now=self._clock(),
        )

    def _sync(self) -> None:
        self._state.apply(self._journal.read_new())

    def _load_revision(self) -> None:
        """Read the sweep again if the journal names another revision of it."""
        number = self._state.revision
        if number == getattr(self, "_revision", None):
            return
        if not number:
            raise StorageError(f"no study in '{self.home.path}': submit a sweep first")
        self._revision = number
        self._sweep: Sweep = read_revision(self.home, number)
        self._space: Space = replace(self._sweep.space, n_params=self._n_params)
        self._planned = planned_trials(self._sweep)
        self._pruner = make_pruner(self._sweep.pruner)
        self._grid = samplers.grid_order(self._sweep, self._space) if self._sweep.sampler.name == "grid" else ()

    def _marker(self) -> Idle | None:
        for name, why in (("CANCELLED", IdleWhy.CANCELLED), ("DRAIN", IdleWhy.DRAINING)):
            if self.home.marker(name).exists():
                return Idle(why=why)
        return None


def _holds(claim: Claim, trial: ScannedTrial) -> bool:
    facts = trial.attempt_facts(claim.attempt)
    return trial.state is TrialState.RUNNING and trial.attempt == claim.attempt and facts.get("token") == claim.token


def _finite(metrics: Mapping[str, float]) -> list[tuple[str, float]]:
    """Metrics that JSON and plain Optuna can hold; NaN and infinity stay in the attempt's own files."""
    return [(name, value) for name, value in metrics.items() if math.isfinite(value)]
