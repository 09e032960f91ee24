"""Claim trials: draw candidates outside the journal's lock, decide under it, several in one transaction if wanted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from hpo_batch.errors import JournalCorrupt, StorageError, Superseded, UserError
from hpo_batch.journal.encode import Writer
from hpo_batch.journal.file import Transaction
from hpo_batch.records import Claim, Idle, IdleWhy, Outcome, Owner
from hpo_batch.store import attempt_folder
from hpo_batch.store.home import Marker
from hpo_batch.store.worker_name import WorkerName
from hpo_batch.study.alike import Alike
from hpo_batch.study.claim import Decider, Decision, Draws, Fits, LostAttempt, Redraw, Settled, give_back_lost
from hpo_batch.study.endings import Ending, Endings
from hpo_batch.study.lost_attempts import AttemptFacts, LostAttempts
from hpo_batch.study.patience import patiently, raises_storage_errors
from hpo_batch.study.quota import Arm
from hpo_batch.study.remaining import unmade_plans
from hpo_batch.study.samplers import Candidate
from hpo_batch.study.start_records import Grant, StartRecords
from hpo_batch.study.study_journal import StudyJournal

log = logging.getLogger(__name__)

# With this many running trials on a shared file system, a worker records a result and claims its next trial in one
# transaction. The sampler then misses that one result, which matters little beside the 15 others it cannot know yet.
CROWD = 16
# a redraw means that other workers took every candidate, so each one is progress of the study
MOST_REDRAWS = 200


class _Decided(Struct, frozen=True, kw_only=True):
    """The result of one transaction."""

    claims: tuple[Claim, ...]
    last: Decision | None
    """the decision that ended it; None if the sweep was edited in the meantime, so that nothing was decided"""
    given_back: Mapping[int, tuple[int, AttemptFacts]]
    """attempts of dead workers by trial number: the attempt's number, and the facts of its worker"""


class Claims:
    """The claims of one worker.

    Args:
        granted: tokens of the worker's open claims.
    """

    def __init__(
        self,
        journal: StudyJournal,
        endings: Endings,
        lost_attempts: LostAttempts,
        writer: Writer,
        *,
        clock: Callable[[], float],
        granted: set[str],
    ) -> None:
        self.home = journal.home
        self._journal = journal
        self._endings = endings
        self._lost_attempts = lost_attempts
        self._writer = writer
        self._clock = clock
        self._granted = granted

    @property
    def owner(self) -> Owner:
        return self._lost_attempts.owner

    def claim(self, at_most: int, fits: Fits, *, alike: Alike | None = None) -> tuple[Claim, ...] | Idle:
        """Up to ``at_most`` trials, or why there is none.

        Args:
            alike: the block that they are for, if they are to be trained as one.

        Raises:
            StorageError: the journal still cannot be read or written after all retries.
        """
        return patiently("the next claim", lambda: self._claim(at_most, fits, alike=alike), only_transient=True)

    def tell_and_claim(self, claim: Claim, outcome: Outcome, fits: Fits) -> tuple[Claim, ...] | Idle:
        """Record how an attempt ended, then claim one trial: in one transaction where many workers wait for the lock.

        On a shared file system a transaction costs the others 7 round trips, more than one result is worth to the next
        proposal.

        Raises:
            Superseded: another worker has the trial; the outcome does not count, and nothing was claimed.
            StorageError: see ``claim`` and ``Endings.tell``.
        """
        ending = self._endings.of_outcome(claim, outcome)
        if self._journal.is_local or self._journal.running < CROWD:
            self._endings.tell(ending)
            return self.claim(1, fits)
        try:
            return self._claim(1, fits, after=ending)
        except (Superseded, JournalCorrupt):
            raise
        except StorageError as error:
            log.warning("trial %s: cannot record its end or claim the next trial yet: %s", claim.number, error)
            if not ending.is_told:
                self._endings.tell(ending, tried=True)
            return self.claim(1, fits)

    def draw(self, *, again: bool, count: int = 1, alike: Alike | None = None) -> Draws:
        """Candidates for every quota arm, drawn before the lock is taken.

        Args:
            again: whether other workers took the last draw's candidates: draw more.
            count: trials to claim together.
            alike: the block that they are for. Without values, the sampler's first candidate decides them.

        Raises:
            UserError: the study has no trial yet, and no draw gave a valid configuration.
        """
        state = self._journal.state
        counts = state.counts()
        if counts.waiting > 0 or counts.finished + counts.running >= counts.target or self._has_planned_left():
            return Draws(candidates={}, used_up=False)
        if alike is not None and alike.values is not None:
            return Draws(candidates=self._like(alike, count), used_up=False)
        draws = {
            arm: source.draw(state, seed=self._draw_seed(i), again=again, count=count if alike is None else 1)
            for i, (arm, source) in enumerate(self._journal.revision.sources.items())
        }
        used_up = all(draw.used_up for draw in draws.values())
        refused = next((draw.refused for draw in draws.values() if draw.refused), "") if used_up else ""
        if refused and not state.trials:
            raise UserError(refused)
        candidates: dict[Arm, Sequence[Candidate]] = {arm: draw.candidates for arm, draw in draws.items()}
        if alike is not None and count > 1:
            due = self._journal.revision.quotas.in_order_due(state.trials)
            first = next((candidates[arm][0] for arm in due if candidates.get(arm)), None)
            if first is not None:
                others = self._like(alike.of(first.configuration), count)
                candidates = {arm: [*found, *others[arm]] for arm, found in candidates.items()}
        return Draws(candidates=candidates, used_up=used_up, refused=refused)

    def _like(self, alike: Alike, count: int) -> dict[Arm, list[Candidate]]:
        """Candidates of one shape, which ``alike`` has."""
        assert alike.values is not None
        state = self._journal.state
        return {
            arm: [
                candidate
                for candidate in source.draw_like(state, alike.values, seed=self._draw_seed(i), count=count)
                if alike.fits(candidate.configuration)
            ]
            for i, (arm, source) in enumerate(self._journal.revision.sources.items())
        }

    @raises_storage_errors
    def _claim(
        self, at_most: int, fits: Fits, *, after: Ending | None = None, alike: Alike | None = None
    ) -> tuple[Claim, ...] | Idle:
        """As ``claim``, once.

        Args:
            after: the end of the worker's last attempt, recorded in the first transaction.
            alike: see ``claim``.
        """
        joins = alike is not None and alike.values is not None
        redraws, must_look = 0, False
        while redraws < MOST_REDRAWS:
            began = time.monotonic()
            stop = self._stop_marker()
            if stop is not None:
                if after is not None and not after.is_told:
                    self._endings.tell(after)
                return stop
            self._journal.sync()
            self._lost_attempts.watch.was_blind(time.monotonic() - began)
            self._journal.load_revision()
            self._journal.note_todays_keys()
            draws = self.draw(again=redraws > 0, count=at_most, alike=alike)
            looks = must_look or self._lost_attempts.is_look_due
            lost = self._lost_attempts.find() if looks else {}
            decided = self._decide(at_most, draws, fits, lost=lost, after=after, alike=alike)
            if after is not None and not after.is_told:
                self._endings.settle(after)
            self._endings.drop_checkpoints(number for number, attempt in lost.items() if attempt.end is not None)
            self._lost_attempts.clean_up(decided.given_back)
            if decided.claims:
                return decided.claims  # even if fewer than at_most: a second transaction could fail and lose these
            if isinstance(decided.last, Idle):
                if decided.last.why is not IdleWhy.IN_FLIGHT or looks:
                    return decided.last
                must_look = True  # a worker that holds one of the remaining trials may have died since the last look
            if joins and isinstance(decided.last, Redraw):
                return Idle(why=IdleWhy.IN_FLIGHT, detail="nothing of this shape is left")
            redraws += isinstance(decided.last, Redraw)
        raise StorageError(
            f"could not claim a trial of '{self.home.name}' in {MOST_REDRAWS} attempts; try fewer workers"
        )

    def _decide(
        self,
        at_most: int,
        draws: Draws,
        fits: Fits,
        *,
        lost: Mapping[int, LostAttempt],
        after: Ending | None,
        alike: Alike | None,
    ) -> _Decided:
        """Under the lock: end what dead workers held, then grant up to ``at_most`` trials."""
        with self._journal.transaction() as transaction:
            if after is not None and not after.is_told:
                self._endings.append(transaction, after)
            if not self._journal.is_current:
                return _Decided(claims=(), last=None, given_back={})  # the candidates come from an older revision
            given_back = self._lost_attempts.still_held(lost)
            records = give_back_lost(self._endings.records, self._journal.state, lost)
            if records:
                self._journal.state.apply(transaction.append(records, sync=True))
            claims, last = self._grant(transaction, at_most, draws, fits, alike)
        for claim in claims:
            self._granted.add(claim.token)
            self._journal.starting = 0
        return _Decided(claims=claims, last=last, given_back=given_back)

    def _grant(
        self, transaction: Transaction, at_most: int, draws: Draws, fits: Fits, alike: Alike | None
    ) -> tuple[tuple[Claim, ...], Decision]:
        """Decide until there are ``at_most`` claims, or the decision is not a trial."""
        claims: tuple[Claim, ...] = ()
        while True:
            decision = Decider(
                state=self._journal.state,
                start=self._start_records(1 if alike is None else alike.size),
                end=self._endings.records,
                draws=draws,
                fits=fits,
                newest_checkpoint=lambda number: attempt_folder.newest_checkpoint(self.home, number),
                alike=alike,
            ).decide()
            if isinstance(decision, Grant | Settled):
                self._journal.state.apply(transaction.append(decision.records, sync=True))
            if isinstance(decision, Grant):
                claims += (decision.claim,)
                # A candidate is one proposal. Without this, a block would be one configuration over and over where
                # repeats are wanted.
                draws = draws.without(decision.claim.configuration.key)
                alike = alike and alike.of(decision.claim.configuration)
            if not isinstance(decision, Grant) or len(claims) == at_most:
                return claims, decision

    def _start_records(self, fused: int) -> StartRecords:
        return StartRecords(
            revision=self._journal.revision, owner=self.owner, writer=self._writer, now=self._clock(), fused=fused
        )

    def _has_planned_left(self) -> bool:
        """Whether a planned trial does not exist yet: then the next claim needs no draw."""
        unmade = unmade_plans(self._journal.revision.planned, self._journal.state)
        return any(p.configuration.key not in self._journal.state.number_of_key for p in unmade)

    def _draw_seed(self, arm: int) -> int:
        """Seed of a draw from the study's seed, the number of trials and the worker's index.

        A search by a single worker is reproducible.
        """
        name = WorkerName.parse(self.owner.worker)
        lane = name.index + 1009 * (name.slot or 0)
        trials, seed = len(self._journal.state.trials), self._journal.revision.sweep.sampler.seed
        # prime factors, so that neighbouring workers, arms and trials never share a seed; NumPy wants 32 unsigned bits:
        # https://docs.scipy.org/doc/numpy-1.16.0/reference/generated/numpy.random.RandomState.seed.html
        return (seed * 1_000_003 + trials * 8191 + lane * 131 + arm) % 2**32

    def _stop_marker(self) -> Idle | None:
        for name, why in ((Marker.CANCELLED, IdleWhy.CANCELLED), (Marker.DRAIN, IdleWhy.DRAINING)):
            if self.home.is_marked(name):
                return Idle(why=why)
        return None
