"""Journal records for the start of a trial or its next attempt; for claims and ``doctor --rebuild``."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from msgspec import Struct

from hpo_batch.journal.attributes import FACTS, attempt_attr
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Claim, Configuration, Owner, TrialState
from hpo_batch.study.brackets import BRACKET
from hpo_batch.study.replicates import seeds_of
from hpo_batch.study.revision import Revision
from hpo_batch.study.samplers import Candidate
from hpo_batch.sweep.planned import Planned

# origin of a trial that was enqueued with plain Optuna
ENQUEUED = "enqueued"
# key in ``hpo:trial`` of a trial that took its result from another one: that trial's number
REPEATS = "repeats"


class Grant(Struct, frozen=True, kw_only=True):
    """A claim and its records."""

    claim: Claim
    records: tuple[Record, ...]


class StartRecords(Struct, frozen=True, kw_only=True):
    """Builds the records of one worker at one moment."""

    revision: Revision
    owner: Owner
    writer: Writer
    now: float
    fused: int = 1
    """trials that share the worker, in one process"""

    def new_trial(self, state: JournalState, candidate: Candidate, planned: Planned | None) -> Grant:
        """A new trial that runs at once: a single record with all parameters, so that a kill cannot leave a part."""
        number, configuration = len(state.trials), candidate.configuration
        claim = Claim(
            number=number,
            attempt=1,
            token=secrets.token_hex(8),
            configuration=configuration,
            seeds=seeds_of(self.revision.sweep, number),
            origin=candidate.origin,
            name=planned.name if planned else None,
        )
        facts = self._trial_facts(configuration, candidate.origin, claim.seeds, planned)
        facts |= {**candidate.facts, **self._bracket(state)}
        earlier = state.number_of_key.get(configuration.key)
        if earlier is not None and planned is None:
            facts["replicate_of"] = state.trials[earlier].facts.get("replicate_of", earlier)
        params, distributions = self.revision.journal_params(configuration)
        record = self.writer.create_trial(
            now=self.now,
            state=TrialState.RUNNING,
            params=params,
            distributions=distributions,
            system_attrs={FACTS: facts, attempt_attr(1): self._attempt_facts(claim.token)},
        )
        return Grant(claim=claim, records=(record,))

    def next_attempt(
        self, state: JournalState, trial: ScannedTrial, configuration: Configuration, *, resumes: int | None
    ) -> Grant:
        """The next attempt of a waiting trial.

        Args:
            resumes: the attempt whose checkpoint it resumes from.
        """
        attempt = trial.attempt + 1
        claim = Claim(
            number=trial.number,
            attempt=attempt,
            token=secrets.token_hex(8),
            configuration=configuration,
            seeds=tuple(trial.facts.get("seeds", ())) or seeds_of(self.revision.sweep, trial.number),
            origin=trial.facts.get("origin", ENQUEUED),
            name=trial.facts.get("name"),
            resumes=resumes,
        )
        write = self.writer
        records: list[Record] = []
        if trial.key is None:
            records += self._adoption(trial, claim)
        elif self.revision.brackets is not None and BRACKET not in trial.facts:  # created under another pruner
            records.append(write.trial_attr(trial.trial_id, FACTS, {**trial.facts, **self._bracket(state)}))
        records.append(
            write.trial_attr(trial.trial_id, attempt_attr(attempt), self._attempt_facts(claim.token)),
        )
        records.append(write.trial_state(trial.trial_id, TrialState.RUNNING, now=self.now))
        return Grant(claim=claim, records=tuple(records))

    def answered(self, planned: Planned, source: ScannedTrial) -> Record:
        """A planned trial that repeats a finished one: it takes over the result and is not trained."""
        params, distributions = self.revision.journal_params(planned.configuration)
        seeds = tuple(source.facts.get("seeds", ()))
        facts = self._trial_facts(planned.configuration, planned.origin, seeds, planned)
        return self.writer.create_trial(
            now=self.now,
            state=source.state,
            params=params,
            distributions=distributions,
            system_attrs={FACTS: {**facts, REPEATS: source.number}},
            user_attrs=source.user_attrs,
            values=source.values,
            steps=source.steps,
        )

    def _adoption(self, trial: ScannedTrial, claim: Claim) -> list[Record]:
        """Records that add the parameters and our attributes to a trial enqueued with plain Optuna."""
        params, distributions = self.revision.journal_params(claim.configuration)
        records = [self.writer.trial_param(trial.trial_id, name, params[name], distributions[name]) for name in params]
        facts = self._trial_facts(claim.configuration, claim.origin, claim.seeds, None)
        return [*records, self.writer.trial_attr(trial.trial_id, FACTS, facts)]

    def _trial_facts(
        self, configuration: Configuration, origin: str, seeds: Sequence[int], planned: Planned | None
    ) -> dict[str, object]:
        facts: dict[str, object] = {
            "key": configuration.key,
            "seeds": list(seeds),
            "origin": origin,
            "revision": self.revision.number,
            "derived": dict(configuration.derived),
        }
        if planned is not None:
            labels = {"name": planned.name, "set": planned.set, "note": planned.note}
            facts |= {key: value for key, value in labels.items() if value is not None}
        return facts

    def _attempt_facts(self, token: str) -> dict[str, object]:
        facts = {**self.owner.facts, "token": token, "started": self.now}
        if self.fused > 1:
            held = self.owner.gpu_count if self.owner.gpu_count is not None else len(self.owner.gpus)
            # a share of the worker and its GPU, so that hours are not counted for each trial
            facts |= {"fused": self.fused, "gpu_count": held / self.fused}
        return facts

    def _bracket(self, state: JournalState) -> dict[str, object]:
        brackets = self.revision.brackets
        return {} if brackets is None else {BRACKET: brackets.due(state)}
