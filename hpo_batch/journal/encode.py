"""Encodes journal records in the format of Optuna's ``JournalStorage``, one method per kind of record.

Only Optuna's operation codes are used, because its readers fail at an unknown one. Our own data are system attributes
``hpo:*``.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum
from typing import Any

from hpo_batch.records import TrialState

FORMAT = 1
"""version of our attributes; a higher one was written by a newer hpo-batch"""

Record = dict[str, Any]


class Op(IntEnum):
    """Optuna's operation codes, complete: those we never write occur in journals that Optuna's dashboard wrote to."""

    CREATE_STUDY = 0
    DELETE_STUDY = 1
    SET_STUDY_USER_ATTR = 2
    SET_STUDY_SYSTEM_ATTR = 3
    CREATE_TRIAL = 4
    SET_TRIAL_PARAM = 5
    SET_TRIAL_STATE_VALUES = 6
    SET_TRIAL_INTERMEDIATE_VALUE = 7
    SET_TRIAL_USER_ATTR = 8
    SET_TRIAL_SYSTEM_ATTR = 9


DIRECTIONS = {"minimize": 1, "maximize": 2}
STUDY_ID = 0
"""our study is the first in its journal"""
WRITER_PREFIX = "hpo-batch-"
"""prefix of the ``worker_id`` of our writers"""


class Writer:
    """Makes the records of one worker. Optuna identifies writers by ``worker_id``."""

    def __init__(self, worker: str) -> None:
        self.worker_id = f"{WRITER_PREFIX}{worker}"

    def create_study(self, name: str, directions: Iterable[str]) -> Record:
        return self._record(Op.CREATE_STUDY, study_name=name, directions=[DIRECTIONS[d] for d in directions])

    def study_attr(self, key: str, value: object) -> Record:
        return self._record(Op.SET_STUDY_SYSTEM_ATTR, study_id=STUDY_ID, system_attr={key: value})

    def create_trial(
        self,
        *,
        now: float,
        state: TrialState,
        params: Mapping[str, float],
        distributions: Mapping[str, str],
        system_attrs: Mapping[str, object],
        user_attrs: Mapping[str, object] | None = None,
        values: Sequence[float] | None = None,
        steps: Mapping[int, float] | None = None,
        ended: float | None = None,
    ) -> Record:
        """A whole trial in one record, so that no reader ever sees it with some of its parameters.

        Args:
            now: when it started, in seconds since the epoch.
            params: internal values, as stored by Optuna.
            ended: when it ended, for a finished state; ``now`` if omitted.
        """
        # Optuna stores a single objective as `value`, several as `values`, and never both
        several = values is not None and len(values) > 1
        record = self._record(
            Op.CREATE_TRIAL,
            study_id=STUDY_ID,
            datetime_start=_iso(now),
            state=state.value,
            value=None if values is None or several else values[0],
            values=list(values) if values is not None and several else None,
            distributions=dict(distributions),
            params=dict(params),
            user_attrs=dict(user_attrs or {}),
            system_attrs=dict(system_attrs),
            intermediate_values={str(step): value for step, value in (steps or {}).items()},
        )
        if state.ended:
            record["datetime_complete"] = _iso(now if ended is None else ended)
        return record

    def trial_param(self, trial_id: int, name: str, value: float, distribution: str) -> Record:
        return self._record(
            Op.SET_TRIAL_PARAM,
            trial_id=trial_id,
            param_name=name,
            param_value_internal=value,
            distribution=distribution,
        )

    def trial_state(
        self, trial_id: int, state: TrialState, *, now: float, values: Sequence[float] | None = None
    ) -> Record:
        record = self._record(
            Op.SET_TRIAL_STATE_VALUES,
            trial_id=trial_id,
            state=state.value,
            values=None if values is None else list(values),
        )
        if state is TrialState.RUNNING:
            record["datetime_start"] = _iso(now)
        if state.ended:
            record["datetime_complete"] = _iso(now)
        return record

    def report(self, trial_id: int, step: int, value: float) -> Record:
        return self._record(Op.SET_TRIAL_INTERMEDIATE_VALUE, trial_id=trial_id, step=step, intermediate_value=value)

    def metric(self, trial_id: int, name: str, value: object) -> Record:
        return self._record(Op.SET_TRIAL_USER_ATTR, trial_id=trial_id, user_attr={name: value})

    def trial_attr(self, trial_id: int, key: str, value: object) -> Record:
        return self._record(Op.SET_TRIAL_SYSTEM_ATTR, trial_id=trial_id, system_attr={key: value})

    def _record(self, op: Op, **fields: object) -> Record:
        return {"op_code": op.value, "worker_id": self.worker_id, **fields}


def _iso(seconds: float) -> str:
    moment = datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC)
    return moment.isoformat(timespec="microseconds")
