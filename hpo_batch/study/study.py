"""The study as a worker sees it: claim, report, tell, give back. Nothing else may be done to a journal by a worker.

Each call is one transaction at most. A claim belongs to whoever's token stands in the journal: an attempt that has been
given to somebody else can change nothing any more.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import math
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

from hpo_batch.errors import JournalCorrupt, StorageError, Superseded, UserError
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
    Owner,
    Reason,
    TrialState,
    Value,
    Verdict,
)
from hpo_batch.space.parameters import same
from hpo_batch.store import durations, leases, locks, nodes, trial_folder
from hpo_batch.store.checkpoints import moved_forward
from hpo_batch.store.format import Record, Writer
from hpo_batch.store.home import StudyHome
from hpo_batch.store.journal import Journal, Transaction
from hpo_batch.store.kept import KeptEnd, kept_end
from hpo_batch.store.last_words import killed_for_memory
from hpo_batch.store.scan import JournalState
from hpo_batch.store.scanned_trial import ScannedTrial
from hpo_batch.study.brackets import Brackets
from hpo_batch.study.claim import (
    Claimant,
    Decision,
    Drawn,
    Granted,
    Redraw,
    Settled,
    decide,
    give_back,
    give_back_lost,
    tell,
)
from hpo_batch.study.comparable import note_todays_keys
from hpo_batch.study.imported import read_imported
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.left import not_made
from hpo_batch.study.pruners import decides_from, make_pruner
from hpo_batch.study.quota import Quotas
from hpo_batch.study.read import read_revision
from hpo_batch.study.samplers import make_source
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep

if TYPE_CHECKING:
    from hpo_batch.study.history import PrunerHistory

log = logging.getLogger(__name__)

Clock = Callable[[], float]
NParams = Callable[[Mapping[str, Value]], int]
REPORT_EVERY_S = 10.0
"""reports are written together, at latest after so long"""
REPORT_SPACING_S = 0.05
"""on a file system that several hosts write to: time between two workers' reports. A transaction there takes about 7
round trips, 14 ms at 2 ms each, so that reports keep the lock busy for a quarter of the time however many workers there
are. With 1,000 workers each reports every 50 s instead of every 10 s"""
FRESH_S = 0.02
"""what was read so short a time ago is not read again before the lock is taken: what others wrote since is little"""
SHARE = 16
"""running trials whose workers a worker watches. As many workers watch each of them"""
CROWD = 16
"""running trials from which on the end of a trial and the next claim share a transaction, on a shared file system: the
proposal is drawn without the result that is just being told, one of so many that are not known yet"""
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
"""a claim, or how an attempt ended, is tried again after each of these pauses if the journal cannot be read or written:
a minute in all"""
T = TypeVar("T")
P = ParamSpec("P")
LOOK_EVERY_S = 1.0
"""how often a busy worker looks whether others have died; a worker that finds nothing to do looks at once"""
MOST_REDRAWS = 200
"""each of them means that other workers were granted trials in the meantime"""


def _of_storage(method: Callable[Concatenate[Study, P], T]) -> Callable[Concatenate[Study, P], T]:
    """Have a method raise StorageError for whatever a file system says, wherever below: NFS says it of any call."""

    @functools.wraps(method)
    def call(self: Study, /, *given: P.args, **named: P.kwargs) -> T:
        try:
            return method(self, *given, **named)
        except OSError as error:
            raise StorageError.because(f"cannot use '{error.filename or self.home.path}'", error) from error

    return call


def always(configuration: Configuration) -> bool:
    return True


class Study:
    """One worker's access to a study. Make it with ``Study.open``."""

    _pruner_history: PrunerHistory | None
    """made when a pruner is first asked: it brings Optuna, which not every study needs"""

    def __init__(self, home: StudyHome, owner: Owner, *, clock: Clock, n_params: NParams | None) -> None:
        self.home = home
        self.owner = owner
        self._clock = clock
        self._n_params = n_params
        self._writer = Writer(owner.worker)
        self._reports: dict[str, _Reports] = {}
        self._last_flush = clock()
        self._last_look = self._synced = -math.inf
        self._granted: set[str] = set()
        """tokens of the claims that this worker was given and has not ended"""
        self._lease: leases.Lease | None = None
        self._starting = 0
        """workers that were there when this one came, until it has its first trial: they may all want the lock"""
        self._revision = 0
        self._read_anew(reports=False)
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
        n_params: NParams | None = None,
    ) -> Iterator[Study]:
        """Open an existing study and hold the worker's lease while the block runs.

        Raises:
            StorageError: the study cannot be read, or its folder of leases not written.
        """
        study = cls(home, owner, clock=clock, n_params=n_params)
        with leases.held(home.workers, owner, duration_s=study.sweep.study.lease_s) as lease:
            study._lease = lease
            study._starting = leases.count(home.workers)
            yield study

    @property
    def sweep(self) -> Sweep:
        """The current revision, as read at the last claim."""
        return self._sweep

    @property
    def retry_pauses(self) -> tuple[float, ...]:
        """Seconds between the tries of what a file system refuses now and may allow later."""
        return RETRY_PAUSES_S

    def claim(self, at_most: int = 1, *, fits: Callable[[Configuration], bool] = always) -> tuple[Claim, ...] | Idle:
        """Up to ``at_most`` trials to run, or why there is none.

        Args:
            fits: whether a configuration can be trained in the time that is left, asked before the trial exists.

        Raises:
            StorageError: the journal could not be read or written, also not after waiting.
        """
        if self._lease is not None:
            self._lease.keep()
        claims: list[Claim] = []
        while len(claims) < at_most:
            given = self._patiently("the next claim", lambda: self._claim_one(fits), if_transient=True)
            if isinstance(given, Idle):
                return tuple(claims) or given
            claims.append(given)
        return tuple(claims)

    def report(self, claim: Claim, step: int, metrics: Mapping[str, float]) -> Verdict:
        """Note a step's metrics; with a pruner, say whether the trial should end.

        Reports wait in memory and are written together, unless a pruner needs those of all workers now.
        """
        value = metrics.get(self.sweep.study.metric[0])
        if value is not None and not math.isfinite(value):
            value = None
        reports = self._reports_of(claim)
        if value is not None:
            reports.note(step, float(value))
        rung = self._pruner is not None and value is not None and step >= decides_from(self.sweep.pruner)
        if 0 <= self._clock() - self._last_flush < self._report_every_s(rung=rung):
            return Verdict.CONTINUE
        try:
            self._sync()
            self._holding(claim)
            prune = rung and self._should_prune(claim, step)
            if self._pruner is not None or self._journal.is_local:
                self._flush(claim)
            self._last_flush = self._clock()
            return Verdict.PRUNE if prune else Verdict.CONTINUE
        except Superseded:
            return Verdict.SUPERSEDED
        except StorageError as error:
            log.warning("trial %s: reports wait, the journal cannot be written now: %s", claim.number, error)
            return Verdict.CONTINUE

    def _report_every_s(self, *, rung: bool) -> float:
        """Between two looks at the journal from a running trial.

        Where other hosts write too, that grows with the running trials, and without a pruner, which compares them,
        reports leave the lock alone: ``metrics.jsonl`` has them, and the end of the trial brings them along.
        """
        spacing = 0.0 if self._journal.is_local else len(self._state.by_state[TrialState.RUNNING]) * REPORT_SPACING_S
        return spacing if rung else max(REPORT_EVERY_S, spacing)

    def write_reports(self, claim: Claim) -> None:
        """Write the reports that wait, if that works now: what they tell of is done, and will not be reported again.

        Raises:
            Superseded: the trial has gone on elsewhere.
        """
        try:
            self._flush(claim)
        except StorageError as error:
            log.warning("trial %s: reports wait, the journal cannot be written now: %s", claim.number, error)

    def tell(self, claim: Claim, outcome: Outcome) -> None:
        """Write how the attempt ended. The result lies in the attempt's folder before the journal is told.

        Raises:
            Superseded: the trial has gone on elsewhere; the outcome does not count.
            StorageError: the journal could not be written, also not after waiting; the result is in the folder.
        """
        self._end(self._ending(claim, outcome))

    def tell_and_claim(
        self, claim: Claim, outcome: Outcome, *, fits: Callable[[Configuration], bool] = always
    ) -> tuple[Claim, ...] | Idle:
        """``tell``, then ``claim`` one: in one transaction where many workers on several hosts wait for the lock.

        There a transaction costs the others 7 round trips, which is more than the result is worth to the next proposal.

        Raises:
            Superseded: the trial has gone on elsewhere; the outcome does not count, and nothing was claimed.
            StorageError: as of ``tell`` and ``claim``.
        """
        ending = self._ending(claim, outcome)
        if self._journal.is_local or len(self._state.by_state[TrialState.RUNNING]) < CROWD:
            self._end(ending)
            return self.claim(fits=fits)
        try:
            given = self._claim_one(fits, after=ending)
        except (Superseded, JournalCorrupt):
            raise
        except StorageError as error:
            log.warning("trial %s: its end and the next claim wait: %s", claim.number, error)
            if not ending.is_told:
                self._end(ending, tried=True)
            return self.claim(fits=fits)
        return given if isinstance(given, Idle) else (given,)

    @_of_storage
    def _ending(self, claim: Claim, outcome: Outcome) -> _Ending:
        """What the journal is to be told of an attempt's end; its second copy lies in the attempt's folder then."""
        self._keep(claim, outcome)
        moved = isinstance(outcome, Failed) and moved_forward(self.home, claim.number, claim.attempt)
        noted = self._after_trial(claim, outcome)

        def records(trial: ScannedTrial) -> list[Record]:
            reported = self._reports_of(claim).values
            return tell(self._claimant(), trial, outcome, moved=moved, reported=reported, noted_by_sampler=noted)

        return _Ending(claim=claim, records=records)

    def _settle(self, ending: _Ending) -> None:
        """What is left to do when the journal knows how an attempt ended."""
        self._reports.pop(ending.claim.token, None)
        self._granted.discard(ending.claim.token)
        self._drop_checkpoints([ending.claim.number])

    @_of_storage
    def give_back(self, claim: Claim, cause: Cause, *, whole: bool = False) -> None:
        """End the attempt in order: the trial keeps its number and waits for its next attempt.

        It fails instead if it would never come to its end: without a checkpoint it is too long for the time limit, or
        it asks to go on later again and again and saves nothing.

        Args:
            whole: whether the attempt had about all the time that a worker has.

        Raises:
            Superseded: the trial has gone on elsewhere.
            StorageError: the journal could not be written, also not after waiting.
        """
        self._keep(claim, GivenBack(cause=cause))
        moved = moved_forward(self.home, claim.number, claim.attempt)

        def records(trial: ScannedTrial) -> list[Record]:
            return give_back(self._claimant(), trial, cause, moved=moved, whole=whole)

        self._end(_Ending(claim=claim, records=records))

    def note_give_back(self, claim: Claim, cause: Cause) -> None:
        """Write into the attempt's folder that it is given back, while it still runs: should it be killed before it
        returns, whoever finds that gives it back in its worker's place. What it then returns counts all the same."""
        self._keep(claim, GivenBack(cause=cause))

    def took(self) -> tuple[durations.Took, ...]:
        """How long the newest trials took, as far as this worker knows."""
        return durations.newest(self._state)

    def has_saved(self) -> bool:
        """Whether a trial was seen to save a checkpoint, as far as this worker knows."""
        return durations.has_saved(self._state)

    def has_ended(self, claim: Claim) -> bool:
        """Whether the claim's trial has ended, as far as this worker knows: a failed one may be tried again."""
        return self._state.trials[claim.number].state.ended

    def is_followed(self, claim: Claim) -> bool:
        """Whether the claim's trial has gone on in a later run of this worker's array task: this one is no more."""
        trial = self._state.trials[claim.number]
        return leases.follows(trial.attempt_facts(trial.attempt), self.owner.facts)

    def why_failed(self, claim: Claim) -> str:
        """What the journal says of a trial that has failed."""
        failure = self._state.trials[claim.number].system_attrs.get("hpo:failure", {})
        return f"{failure.get('reason', 'unknown')}: {failure.get('message', '')}"

    def failing_here(self) -> nodes.FailingNode | None:
        """This worker's node, if trials fail on it in a row while they do well on others."""
        return next((found for found in nodes.failing_nodes(self._state) if found.node == self.owner.host), None)

    def goes_on_elsewhere(self) -> bool:
        """Whether a worker on another node has a trial, and was seen to live just now."""
        held = [facts for _, facts in self._watched() if facts["host"] != self.owner.host]
        return any(not self._watch.is_dead(facts) and not self._watch.is_in_doubt(facts) for facts in held)

    @_of_storage
    def is_in_doubt(self) -> bool:
        """Whether it is worth to wait: some trial's worker may be dead, which only more watching can tell."""
        asked = time.monotonic()
        self._sync()
        self._watch.was_blind(time.monotonic() - asked)
        if self._state.by_state[TrialState.WAITING]:
            return False
        # every one is looked at, also behind the first in doubt: to have seen a sign of life takes two looks
        doubts = [self._watch.is_in_doubt(facts) for _, facts in self._watched()]
        return any(doubts)

    @_of_storage
    def open_attempt(self, claim: Claim) -> Path:
        """The attempt's own folder, made ready."""
        return trial_folder.open_attempt(self.home, claim, self._facts(claim))

    def _keep(self, claim: Claim, ended: Outcome | GivenBack) -> None:
        """The second copy of how an attempt ended."""
        try:
            trial_folder.write_result(self.home, claim, ended, self._facts(claim), now=self._clock())
        except StorageError as error:  # the journal is asked all the same: it may lie on another disk
            log.warning("trial %s: how it ended has no second copy: %s", claim.number, error)

    def _facts(self, claim: Claim) -> trial_folder.ClaimFacts:
        trial = self._state.trials[claim.number]
        return trial_folder.ClaimFacts(trial=trial.facts, attempt=trial.attempt_facts(claim.attempt))

    @_of_storage
    def _claim_one(self, fits: Callable[[Configuration], bool], *, after: _Ending | None = None) -> Claim | Idle:
        """A trial, or why there is none.

        Args:
            after: the end of the worker's last attempt, which the journal is told in the first transaction.
        """
        redraws, must_look = 0, False
        while redraws < MOST_REDRAWS:
            asked = time.monotonic()
            stop = self._marker()
            if stop is not None:
                if after is not None and not after.is_told:
                    self._end(after)
                return stop
            self._sync()
            self._watch.was_blind(time.monotonic() - asked)
            self._load_revision()
            self._note_todays_keys()
            drawn = self._draw(again=redraws > 0)
            looked = must_look or time.monotonic() - self._last_look > LOOK_EVERY_S
            lost = self._lost() if looked else {}
            moved = {number for number in lost if moved_forward(self.home, number, self._state.trials[number].attempt)}
            kept = self._kept(lost)
            folders = {number: self.home.attempt(number, self._state.trials[number].attempt) for number in lost}
            signs = {n: seen for n, folder in folders.items() if (seen := trial_folder.last_sign(folder)) is not None}
            given_back: dict[int, tuple[int, Mapping[str, object]]] = {}
            with self._transaction() as transaction:
                if after is not None and not after.is_told:
                    self._append_end(transaction, after)
                if self._state.revision != self._revision:
                    decision: Decision | None = None  # drawn from the sweep of yesterday
                else:
                    given_back = {
                        number: (self._state.trials[number].attempt, facts)
                        for number, facts in self._held(lost)
                        if facts["token"] == lost[number]
                    }
                    records = give_back_lost(
                        self._claimant(), self._state, lost=lost, moved=moved, kept=kept, last_signs=signs
                    )
                    if records:
                        self._state.apply(transaction.append(records, sync=True))
                    decision = decide(
                        self._claimant(),
                        self._state,
                        drawn,
                        fits=fits,
                        newest_checkpoint=lambda number: trial_folder.newest_checkpoint(self.home, number),
                    )
                    if isinstance(decision, Granted | Settled):
                        self._state.apply(transaction.append(decision.records, sync=True))
            if after is not None and not after.is_told:
                after.is_told = True
                self._settle(after)
            self._drop_checkpoints(kept)
            self._clean_up(given_back)
            if isinstance(decision, Granted):
                self._granted.add(decision.claim.token)
                self._starting = 0
                return decision.claim
            if isinstance(decision, Idle):
                if decision.why is not IdleWhy.IN_FLIGHT or looked:
                    return decision
                must_look = True  # one of those that hold the rest may have died since the last look
            redraws += isinstance(decision, Redraw)
        raise StorageError(f"no trial of '{self.home.name}' was to be had in {MOST_REDRAWS} tries: too many workers?")

    def _clean_up(self, given_back: Mapping[int, tuple[int, Mapping[str, object]]]) -> None:
        """Remove what dead workers have left: nobody else comes for it. One that lives after all makes it again.

        Args:
            given_back: attempt and what is known of its worker, by number of the trial.
        """
        for number, (attempt, facts) in given_back.items():
            with contextlib.suppress(OSError):  # it may stay: a claim that was granted must not be lost for it
                trial_folder.tidy(self.home, number, attempt)
                if facts["worker"] != self.owner.worker:
                    leases.remove_dead(self.home.workers, facts)
                    locks.remove_cards(self.home.journal, facts)
                    self._watch.forget(str(facts["worker"]))

    def _lost(self) -> dict[int, str]:
        """Tokens of the attempts whose workers are dead, by number of the trial.

        Not before every claim: with 64 workers it means 64 processes to look at, which took longer than the claim.
        """
        self._last_look = time.monotonic()
        return {number: str(facts["token"]) for number, facts in self._watched() if self._is_gone(facts)}

    def _is_gone(self, facts: Mapping[str, object]) -> bool:
        """Whether the worker of an attempt is dead, or SLURM has started its array task anew, as this worker.

        Or it is this worker, and the claim was never granted: it reached the journal, and the answer was lost.
        """
        if facts["worker"] == self.owner.worker:
            return facts["token"] not in self._granted
        return leases.follows(self.owner.facts, facts) or self._watch.is_dead(facts)

    def _kept(self, lost: Mapping[int, str]) -> dict[int, KeptEnd]:
        """How dead workers' attempts had ended before they could tell: they were killed, or the disk was full."""
        trials = self._state.trials
        ends = {n: kept_end(self.home, n, trials[n].attempt, token=token) for n, token in lost.items()}
        kept = {number: end for number, end in ends.items() if end is not None}
        for number, facts in self._held(lost.keys() - kept.keys()):
            if said := killed_for_memory(self.home, facts):
                ended = Failed(reason=Reason.OOM_HOST, message=f"the worker was killed for its memory: {said}")
                kept[number] = KeptEnd(ended=ended, time=time.time())
        return kept

    def _drop_checkpoints(self, numbers: Iterable[int]) -> None:
        """Of those trials that have ended, unless all are to be kept."""
        for trial in (self._state.trials[number] for number in numbers):
            if trial.state.ended and self.sweep.study.keep_checkpoints == "unfinished":
                with contextlib.suppress(OSError):  # what stays takes up room, and no result is lost for it
                    trial_folder.drop_checkpoints(self.home, trial.number, attempts=trial.attempt)

    def _held(self, numbers: Iterable[int]) -> Iterator[tuple[int, Mapping[str, object]]]:
        """Those that run, and what is known of the worker behind each; none for trials of plain Optuna."""
        for number in self._state.by_state[TrialState.RUNNING].intersection(numbers):
            trial = self._state.trials[number]
            facts = trial.attempt_facts(trial.attempt)
            if facts:
                yield number, facts

    def _watched(self) -> Iterator[tuple[int, Mapping[str, object]]]:
        """The running trials that this worker watches: all of a small study, its share of a large one.

        Each look at a worker of another host is a round trip. The running trials are divided by their numbers into as
        many shares as there are ``SHARE`` of them, up to a power of two; the worker's name says which is its own, so
        that it sees the same trials again at its next look. Where that one is empty it takes the next.
        """
        running = self._state.by_state[TrialState.RUNNING]
        shares = 1 << max(0, math.ceil(math.log2(max(1, len(running)) / SHARE)))
        first = zlib.crc32(self.owner.worker.encode())
        for i in range(shares):
            share = [number for number in running if (number - first - i) % shares == 0]
            if share:
                return self._held(share)
        return iter(())

    def _draw(self, *, again: bool) -> Drawn:
        """Candidates for every quota arm, drawn before the lock is taken.

        Raises:
            UserError: there is no trial yet, and as far as can be told there is no valid configuration.
        """
        counts = self._state.counts()
        if counts.waiting > 0 or counts.finished + counts.running >= counts.target or self._planned_left():
            return Drawn(candidates={}, used_up=False)
        draws = {
            arm: source.draw(self._state, seed=self._draw_seed(i), again=again)
            for i, (arm, source) in enumerate(self._sources.items())
        }
        used_up = all(draw.used_up for draw in draws.values())
        refused = next((draw.refused for draw in draws.values() if draw.refused), "") if used_up else ""
        if refused and not self._state.trials:
            raise UserError(refused)
        candidates = {arm: draw.candidates for arm, draw in draws.items()}
        return Drawn(candidates=candidates, used_up=used_up, refused=refused)

    def _draw_seed(self, arm: int) -> int:
        """From the study's seed, the number of trials and the worker's index: one worker's search can be repeated."""
        index, _, slot = self.owner.worker.rpartition("-")[2].partition(".")
        lane = (int(index) if index.isdecimal() else 0) + (1009 * int(slot) if slot.isdecimal() else 0)
        return (self.sweep.sampler.seed * 1_000_003 + len(self._state.trials) * 8191 + lane * 131 + arm) % 2**32

    def _after_trial(self, claim: Claim, outcome: Outcome) -> Mapping[str, object]:
        """What the sampler of the claim's quota arm wants noted with the trial."""
        trial = self._state.trials[claim.number]
        arm = next((a for a in self._sources if all(_has(trial, name, value) for name, value in a)), None)
        if arm is None:
            return {}
        ended = {Complete: "COMPLETE", Failed: "FAIL"}.get(type(outcome), "PRUNED")
        values = outcome.values if isinstance(outcome, Complete) else None
        return self._sources[arm].after_trial(self._state, trial, ended, values)

    def _planned_left(self) -> bool:
        """Whether a planned trial has not been made yet: then the next claim needs no draw."""
        unmade = not_made(self._planned, self._state)
        return any(p.configuration.key not in self._state.number_of_key for p in unmade)

    def _should_prune(self, claim: Claim, step: int) -> bool:
        assert self._pruner is not None
        if self._pruner_history is None:
            from hpo_batch.study.history import PrunerHistory

            self._pruner_history = PrunerHistory()
        reports = self._reports_of(claim)
        prune, noted = self._pruner_history.ask(
            self._pruner, self._state, claim.number, step, reported=reports.not_written
        )
        # what a trial was worth at its rungs is written with its reports: the pruners of all workers compare with it
        reports.noted |= noted
        return prune

    def _patiently(self, what: str, attempt: Callable[[], T], *, if_transient: bool = False) -> T:
        """Try again what a file system refuses now and may allow later.

        Args:
            if_transient: give up at once on errors that seldom go away, such as a missing permission.

        Raises:
            StorageError: the last refusal; at once if waiting does not help.
        """
        for pause in RETRY_PAUSES_S:
            try:
                return attempt()
            except (JournalCorrupt, Superseded):
                raise
            except StorageError as error:
                if if_transient and not error.transient:
                    raise
                log.warning("%s waits: %s", what, error)
                time.sleep(pause)
        return attempt()

    def _end(self, ending: _Ending, *, tried: bool = False) -> None:
        """Tell the journal how an attempt ended.

        Args:
            tried: whether it may have been told already, and only the word that it was is missing.
        """
        claim = ending.claim

        def attempt() -> None:
            nonlocal tried
            try:
                before, tried = tried, True
                with self._transaction() as transaction:
                    self._append_end(transaction, ending)
            except Superseded:
                if not (before and self._ended_by_us(claim)):
                    raise  # else it was written the last time, and only its sync failed

        self._patiently(f"trial {claim.number}: its end", attempt)
        ending.is_told = True
        self._settle(ending)

    def _append_end(self, transaction: Transaction, ending: _Ending) -> None:
        """Append how an attempt ended, with the reports that wait, if its claim is still the one that counts."""
        trial = self._holding(ending.claim)
        records = [*self._waiting_reports(ending.claim, trial), *ending.records(trial)]
        self._state.apply(transaction.append(records, sync=True))

    def _ended_by_us(self, claim: Claim) -> bool:
        trial = self._state.trials[claim.number]
        ours = trial.attempt_facts(claim.attempt).get("token") == claim.token
        return ours and trial.ending(claim.attempt).get("how", Reason.LOST) != Reason.LOST

    @_of_storage
    def _flush(self, claim: Claim) -> None:
        """Write the reports of ``claim`` that wait; unsynced, since a later report or the result repeats their gist.

        Raises:
            Superseded: the trial has gone on elsewhere.
        """
        with self._transaction() as transaction:
            records = self._waiting_reports(claim, self._holding(claim))
            if records:
                self._state.apply(transaction.append(records, sync=False))
        reports = self._reports_of(claim)
        reports.unwritten.clear()
        reports.noted.clear()
        self._last_flush = self._clock()

    def _waiting_reports(self, claim: Claim, trial: ScannedTrial) -> list[Record]:
        reports = self._reports_of(claim)
        return [
            *(self._writer.report(trial.trial_id, step, value) for step, value in reports.not_written.items()),
            *(self._writer.trial_attr(trial.trial_id, name, value) for name, value in reports.noted.items()),
        ]

    def _holding(self, claim: Claim) -> ScannedTrial:
        """The trial of a claim that is still the one that counts, as far as the journal has been read.

        Raises:
            Superseded: it is not; its reports are dropped.
        """
        trial = self._state.trials[claim.number] if claim.number < len(self._state.trials) else None
        if trial is None or not _holds(claim, trial):
            self._reports.pop(claim.token, None)
            self._granted.discard(claim.token)
            raise Superseded(f"trial {claim.number} has gone on without attempt {claim.attempt}")
        return trial

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[Transaction]:
        """A transaction of the journal, with all that it holds applied.

        On a shared file system what others wrote is read before the lock is taken too: most of it is replayed while
        nobody waits. On a local disk that costs more (a tenth of the trials per second with 32 workers) than it saves.
        """
        is_stale = not self._journal.is_local and time.monotonic() - self._synced > FRESH_S
        if self._journal.was_undone or is_stale:
            self._sync()
        waiters = max(len(self._state.by_state[TrialState.RUNNING]), self._starting)
        with self._journal.transaction(waiters=waiters) as transaction:
            self._state.apply(transaction.new)
            yield transaction

    def _reports_of(self, claim: Claim) -> _Reports:
        return self._reports.setdefault(claim.token, _Reports())

    def _change(self, trial: ScannedTrial, state: TrialState, values: tuple[float, ...] | None) -> Record:
        return self._writer.trial_state(trial.trial_id, state, now=self._clock(), values=values)

    def _claimant(self) -> Claimant:
        return Claimant(
            sweep=self._sweep,
            revision=self._revision,
            space=self._space,
            planned=self._planned,
            journal_params=self._journal_params,
            quotas=self._quotas,
            owner=self.owner,
            writer=self._writer,
            now=self._clock(),
            brackets=self._brackets,
        )

    def _read_anew(self, *, reports: bool) -> None:
        self._journal, self._state = Journal(self.home.journal), JournalState(reports=reports, metrics=reports)
        self._pruner_history = None
        self._translated = 0
        self._sync()

    @_of_storage
    def _sync(self) -> None:
        """Read what is new in the journal, without its lock; all of it if records that were read were taken back."""
        self._synced = time.monotonic()
        if not self._journal.was_undone:
            try:
                while lines := self._journal.read_new(judge=False):
                    self._state.apply(lines)
                return
            except StorageError:
                if not self._journal.was_undone:
                    raise
        self._read_anew(reports=self._state.reports)
        self._revision = 0  # samplers have seen what is not there
        self._load_revision()

    def _load_revision(self) -> None:
        """Read the sweep again if the journal names another revision of it."""
        number = self._state.revision
        if not number:
            raise StorageError(f"no study in '{self.home.path}': submit a sweep first")
        if number == self._revision:
            return
        sweep = read_revision(self.home, self._state)
        self._space = replace(sweep.space, n_params=self._n_params)
        self._planned = planned_trials(sweep, n_params=self._n_params)
        self._pruner = make_pruner(sweep.pruner)
        self._journal_params = JournalParams(self._space)
        self._quotas = Quotas(self._space)
        self._brackets = Brackets.of(sweep.pruner)
        self._sources = {arm: make_source(sweep, self._space, arm) for arm in self._quotas.arms}
        self._sweep = sweep
        self._revision = number
        if (self._pruner or self._planned) and not self._state.reports:
            # pruners compare reports, and a planned trial that repeats a finished one is answered with its reports
            self._read_anew(reports=True)
        self._state.imported = read_imported(self.home, self._state)
        self._translated = 0

    def _note_todays_keys(self) -> None:
        note_todays_keys(self._space, self._state.trials[self._translated :], self._state.also_known_as)
        self._translated = len(self._state.trials)

    @_of_storage
    def _marker(self) -> Idle | None:
        for name, why in (("CANCELLED", IdleWhy.CANCELLED), ("DRAIN", IdleWhy.DRAINING)):
            if self.home.is_marked(name):
                return Idle(why=why)
        return None


@dataclass(kw_only=True)
class _Reports:
    """What one claim has reported."""

    values: dict[int, float] = field(default_factory=dict)
    """by step"""
    unwritten: list[int] = field(default_factory=list)
    """steps that the journal has not been told"""
    noted: dict[str, Any] = field(default_factory=dict)
    """attributes of the trial that the pruner has set and the journal has not been told"""

    @property
    def not_written(self) -> dict[int, float]:
        return {step: self.values[step] for step in self.unwritten}

    def note(self, step: int, value: float) -> None:
        self.values[step] = value
        if step not in self.unwritten:
            self.unwritten.append(step)


@dataclass(kw_only=True)
class _Ending:
    """How an attempt ended, on its way to the journal."""

    claim: Claim
    records: Callable[[ScannedTrial], list[Record]]
    """made from the trial as the journal has it under the lock"""
    is_told: bool = False


def _has(trial: ScannedTrial, name: str, value: Value) -> bool:
    return name in trial.params and same(trial.params[name], value)


def _holds(claim: Claim, trial: ScannedTrial) -> bool:
    facts = trial.attempt_facts(claim.attempt)
    return trial.state is TrialState.RUNNING and trial.attempt == claim.attempt and facts.get("token") == claim.token
