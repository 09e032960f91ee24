"""The workers behind the running trials: which of them are dead, and what is left of their attempts."""

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

SHARE = 16
"""running trials whose workers a worker watches. As many workers watch each of them"""
LOOK_EVERY_S = 1.0
"""how often a busy worker looks whether others have died; a worker that finds nothing to do looks at once"""

AttemptFacts: TypeAlias = Mapping[str, object]
"""what the journal says of the worker behind an attempt: ``hpo:attempt:N``"""


class LostAttempts:
    """Finds attempts whose workers are dead.

    Args:
        granted: tokens of the claims that this worker was given and has not ended.
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
        """The attempts whose workers are dead, by number of the trial.

        Not before every claim: with 64 workers it means 64 processes to look at, which took longer than the claim.
        """
        self._looked = time.monotonic()
        return {number: self._lost(number, facts) for number, facts in self.watched() if self._is_gone(facts)}

    def watched(self) -> Iterator[tuple[int, AttemptFacts]]:
        """The running trials that this worker watches: all of a small study, its share of a large one.

        Each look at a worker of another host is a round trip. The running trials are divided by their numbers into as
        many shares as there are ``SHARE`` of them, up to a power of two; the worker's name says which is its own, so
        that it sees the same trials again at its next look. Where that one is empty it takes the next.
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
        """Those that the journal says run still: their attempt and what is known of its worker."""
        return {
            number: (self._journal.state.trials[number].attempt, facts)
            for number, facts in self._with_facts(lost)
            if facts["token"] == lost[number].token
        }

    def clean_up(self, given_back: Mapping[int, tuple[int, AttemptFacts]]) -> None:
        """Remove what dead workers have left: nobody else comes for it. One that lives after all makes it again.

        Args:
            given_back: attempt and what is known of its worker, by number of the trial.
        """
        home = self._journal.home
        for number, (attempt, facts) in given_back.items():
            with contextlib.suppress(OSError):  # it may stay: a claim that was granted must not be lost for it
                attempt_folder.tidy(home, number, attempt)
                if facts["worker"] != self.owner.worker:
                    leases.remove_dead(home.workers, facts)
                    locks.remove_cards(home.journal, facts)
                    self.watch.forget(str(facts["worker"]))

    def is_in_doubt(self) -> bool:
        """Whether some trial's worker may be dead, which only more watching can tell."""
        # every one is looked at, also behind the first in doubt: to have seen a sign of life takes two looks
        doubts = [self.watch.is_in_doubt(facts) for _, facts in self.watched()]
        return any(doubts)

    def others_live(self) -> bool:
        """Whether a worker on another node has a trial, and was seen to live just now."""
        others = [facts for _, facts in self.watched() if facts["host"] != self.owner.host]
        return any(not self.watch.is_dead(facts) and not self.watch.is_in_doubt(facts) for facts in others)

    def _with_facts(self, numbers: Iterable[int]) -> Iterator[tuple[int, AttemptFacts]]:
        """Those that run, with the facts of their newest attempt; none for trials of plain Optuna, which has none."""
        state = self._journal.state
        for number in state.by_state[TrialState.RUNNING].intersection(numbers):
            trial = state.trials[number]
            facts = trial.attempt_facts(trial.attempt)
            if facts:
                yield number, facts

    def _is_gone(self, facts: AttemptFacts) -> bool:
        """Whether the worker of an attempt is dead, or SLURM has started its array task anew, as this worker.

        Or it is this worker, and the claim was never granted: it reached the journal, and the answer was lost.
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
