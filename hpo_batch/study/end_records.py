"""Journal records for the end of an attempt and the next state of its trial; for workers and ``doctor --rebuild``.

``policy`` decides whether a trial that failed or was given back gets another attempt.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean
from typing import Any

from msgspec import Struct

from hpo_batch.journal.attributes import FAILURE, REPLICATES, SAMPLER, ended_attr
from hpo_batch.journal.encode import Record, Writer
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Cause, Complete, Failed, Outcome, Pruned, Reason, TrialState, Usage
from hpo_batch.study import policy
from hpo_batch.study.replicates import finite
from hpo_batch.sweep.schema import Sweep


class EndRecords(Struct, frozen=True, kw_only=True):
    """Builds the records of one worker at one moment, for trials as they are in the journal."""

    sweep: Sweep
    writer: Writer
    now: float

    def told(
        self,
        trial: ScannedTrial,
        outcome: Outcome,
        *,
        moved: bool,
        reported: Mapping[int, float] | None = None,
        time: float | None = None,
        noted_by_sampler: Mapping[str, Any] | None = None,
    ) -> list[Record]:
        """Records of the outcome of a trial's newest attempt.

        Args:
            moved: whether a failed attempt saved a newer checkpoint than it started from.
            reported: values by step from the attempt's own worker; the journal may lack some of them.
            time: when it ended, by that worker's clock, in seconds since the epoch. Default: now.
            noted_by_sampler: attributes that the sampler's ``after_trial`` set.
        """
        write = self.writer
        # NaN and infinity, which JSON and plain Optuna cannot hold, stay in the attempt's own files
        metrics = {name: value for name, value in outcome.metrics.items() if math.isfinite(value)}
        records = [write.metric(trial.trial_id, name, value) for name, value in metrics.items()]
        if noted_by_sampler:
            records.append(write.trial_attr(trial.trial_id, SAMPLER, dict(noted_by_sampler)))
        if isinstance(outcome, Failed):
            return records + self.failed_attempt(
                trial, outcome.reason, outcome.message, moved=moved, usage=outcome.usage
            )
        if isinstance(outcome, Complete):
            if outcome.replicates:
                records.append(write.metric(trial.trial_id, REPLICATES, finite(outcome.replicates)))
            how, state, values = "complete", TrialState.COMPLETE, outcome.values
        else:
            how, state = "pruned", TrialState.PRUNED
            value = self._value_of_pruned(trial, outcome, metrics, reported or {})
            values = () if value is None else (value,)
        records.append(self._ending(trial, {"how": how, "time": self.now if time is None else time}, outcome.usage))
        return [*records, write.trial_state(trial.trial_id, state, now=self.now, values=values or None)]

    def failed_attempt(
        self,
        trial: ScannedTrial,
        reason: Reason,
        message: str,
        *,
        moved: bool,
        time: float | None = None,
        usage: Usage | None = None,
    ) -> list[Record]:
        """Records of a failed attempt: the trial waits for its next attempt, or fails. Every prefix is a valid journal.

        Args:
            time: when it ended, in seconds since the epoch. Default: now.
        """
        ending = {"how": reason.value, "time": self.now if time is None else time, "moved": moved}
        ended = self._ending(trial, ending, usage)
        if policy.retries(self.sweep, trial, reason, moved=moved):
            return [ended, self._waits(trial)]
        times = 1 + sum(1 for n in range(1, trial.attempt) if trial.ending(n).get("how") == reason.value)
        if times > 1:
            message = f"{reason.value} {times} times; the last time: {message}"
        return [ended, *self.failure(trial, reason, message)]

    def given_back(
        self,
        trial: ScannedTrial,
        cause: Cause,
        *,
        moved: bool,
        had_full_walltime: bool,
        usage: Usage | None = None,
    ) -> list[Record]:
        """Records of an attempt that was given back: the trial waits, or fails if it could never finish."""
        # "now" and "started" are both from this host's clock, so the difference is not affected by clock skew
        seconds = round(self.now - trial.attempt_facts(trial.attempt)["started"], 3)
        ended = self._ending(
            trial,
            {"how": cause.value, "time": self.now, "moved": moved, "whole": had_full_walltime, "seconds": seconds},
            usage,
        )
        given_up = policy.why_given_up(
            self.sweep, trial, cause, moved=moved, had_full_walltime=had_full_walltime, seconds=seconds
        )
        return [ended, self._waits(trial)] if given_up is None else [ended, *self.failure(trial, *given_up)]

    def failure(self, trial: ScannedTrial, reason: Reason, message: str) -> tuple[Record, Record]:
        """Records that fail the trial."""
        why = self.writer.trial_attr(trial.trial_id, FAILURE, {"reason": reason.value, "message": message})
        return why, self.writer.trial_state(trial.trial_id, TrialState.FAIL, now=self.now)

    def _ending(self, trial: ScannedTrial, facts: Mapping[str, object], usage: Usage | None) -> Record:
        used = {} if usage is None or not (known := usage.known()) else {"usage": known}
        return self.writer.trial_attr(trial.trial_id, ended_attr(trial.attempt), {**facts, **used})

    def _waits(self, trial: ScannedTrial) -> Record:
        return self.writer.trial_state(trial.trial_id, TrialState.WAITING, now=self.now)

    def _value_of_pruned(
        self, trial: ScannedTrial, outcome: Pruned, metrics: Mapping[str, float], reported: Mapping[int, float]
    ) -> float | None:
        sweep = self.sweep
        last = {outcome.step: metrics.get(sweep.study.metric[0])}
        steps = {**last, **trial.decoded_steps, **reported}
        if sweep.pruner.name != "wilcoxon":
            return steps[outcome.step]
        # for WilcoxonPruner a step is an instance id, so the value is the mean over the instances:
        # https://optuna.readthedocs.io/en/stable/reference/generated/optuna.pruners.WilcoxonPruner.html
        values = [value for value in steps.values() if value is not None]
        return fmean(values) if values else None
