"""Find running trials whose workers are dead, and what those workers left behind."""

from __future__ import annotations

import contextlib
import math
import time
import zlib
from collections.abc import Container, Iterable, Iterator, Mapping
from typing import TypeAlias

from hpo_batch.journal import locks
from hpo_batch.records import Failed, Owner, Reason, TrialState
from hpo_batch.store import attempt_folder, leases
from hpo_batch.store.attempt_archive import KeptEnd, kept_end
from hpo_batch.store.checkpoints import moved_forward
from hpo_batch.store.last_words import killed_for_memory
from hpo_batch.study.claim import LostAttempt
from hpo_batch.study.study_journal import StudyJournal

# running trials that one worker watches; on average 16 workers also watch each trial, so one that sleeps is no gap
SHARE = 16
# between two looks of a busy worker for dead ones; a worker that finds nothing to do looks at once
LOOK_EVERY_S = 1.0

# the journal's ``hpo:attempt:N`` attribute: which worker runs the attempt
AttemptFacts: TypeAlias = Mapping[str, object]


class LostAttempts:
    """Finds attempts whose workers are dead.

    Args:
        granted: tokens of this worker's open claims.
    """

    def __init__(self, journal: StudyJournal, owner: Owner, *, granted: Container[str]) -> None:
        self.owner = owner
        self.watch = leases.LeaseWatch(journal.home.workers, duration_s=journal.revision.sweep.study.lease_s)
        self._journal = journal
        self._granted = granted
        self._looked = -math.inf

    @property
    def is_look_due(self) -> bool:
        return time.monotonic() - self._looked > LOOK_EVERY_S

    def find(self) -> dict[int, LostAttempt]:
        """The attempts whose workers are dead, by trial number.

        Not called before every claim: looking at the processes of 64 workers took longer than the claim itself.
        """
        self._looked = time.monotonic()
        return {number: self._lost(number, facts) for number, facts in self.watched() if self._is_gone(facts)}

    def watched(self) -> Iterator[tuple[int, AttemptFacts]]:
        """The running trials that this worker watches: all of a small study, a share of a large one.

        Each look at a worker on another host costs a round trip to the file server. Trial numbers modulo a power of
        two give shares of about ``SHARE`` running trials. A hash of the worker's name picks the share, so that the
        worker sees the same trials again at its next look; if that share is empty, it takes the next.
        """
        running = self._journal.state.by_state[TrialState.RUNNING]
        shares = 1 << max(0, math.ceil(math.log2(max(1, len(running)) / SHARE)))
        first = zlib.crc32(self.owner.worker.encode())
        for i in range(shares):
            share = [number for number in running if (number - first - i) % shares == 0]
            if share:
                return self._with_facts(share)
        return iter(())

    def still_held(self, lost: Mapping[int, LostAttempt]) -> dict[int, tuple[int, AttemptFacts]]:
        """The lost attempts that the journal still shows as running: attempt number and facts of the worker."""
        return {
            number: (self._journal.state.trials[number].attempt, facts)
            for number, facts in self._with_facts(lost)
            if facts["token"] == lost[number].token
        }

    def clean_up(self, given_back: Mapping[int, tuple[int, AttemptFacts]]) -> None:
        """Remove the files of dead workers; a worker that is alive after all recreates its own.

        Args:
            given_back: attempt number and facts of its worker, by trial number.
        """
        home = self._journal.home
        for number, (attempt, facts) in given_back.items():
            with contextlib.suppress(OSError):  # leftovers are harmless; an error must not cost a granted claim
                attempt_folder.tidy(home, number, attempt)
                if facts["worker"] != self.owner.worker:
                    leases.remove_dead(home.workers, facts)
                    locks.remove_cards(home.journal, facts)
                    self.watch.forget(str(facts["worker"]))

    def is_in_doubt(self) -> bool:
        """Whether some trial's worker may be dead, which only further looks can tell."""
        # a list, not any(generator): a sign of life takes two looks, so every worker must be looked at each time
        doubts = [self.watch.is_in_doubt(facts) for _, facts in self.watched()]
        return any(doubts)

    def others_live(self) -> bool:
        """Whether a worker on another node runs a trial and is certainly alive."""
        others = [facts for _, facts in self.watched() if facts["host"] != self.owner.host]
        return any(not self.watch.is_dead(facts) and not self.watch.is_in_doubt(facts) for facts in others)

    def _with_facts(self, numbers: Iterable[int]) -> Iterator[tuple[int, AttemptFacts]]:
        """The running trials among ``numbers``, with the facts of their newest attempt; plain Optuna's have none."""
        state = self._journal.state
        for number in state.by_state[TrialState.RUNNING].intersection(numbers):
            trial = state.trials[number]
            facts = trial.attempt_facts(trial.attempt)
            if facts:
                yield number, facts

    def _is_gone(self, facts: AttemptFacts) -> bool:
        """Whether the attempt's worker is dead, or is an earlier run of this worker's requeued array task.

        Also true for a claim of this worker that was written to the journal although the write seemed to fail.
        """
        if facts["worker"] == self.owner.worker:
            return facts["token"] not in self._granted
        return leases.follows(self.owner.facts, facts) or self.watch.is_dead(facts)

    def _lost(self, number: int, facts: AttemptFacts) -> LostAttempt:
        home, attempt = self._journal.home, self._journal.state.trials[number].attempt
        token = str(facts["token"])
        end = kept_end(home, number, attempt, token=token)
        if end is None and (words := killed_for_memory(home, facts)):
            message = f"the worker was killed for its memory: {words}"
            end = KeptEnd(ended=Failed(reason=Reason.OOM_HOST, message=message), time=time.time())
        return LostAttempt(
            token=token,
            moved=moved_forward(home, number, attempt),
            end=end,
            last_sign=attempt_folder.last_sign(home.attempt(number, attempt)),
        )
