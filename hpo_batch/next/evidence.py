"""What trials say for the design of the next sweep: findings, and the model that they were made with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from threadpoolctl import threadpool_limits

from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.baseline.numbers import baseline_configuration
from hpo_batch.findings.effects.edges import FEWEST_SETTINGS, QUARTER
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.effects.subject import compared
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.frame import Data, prepare
from hpo_batch.findings.model.parameter import ParamInfo
from hpo_batch.findings.model.surrogate import Surrogate, surrogate
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import StudyInput
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.findings.survival.numbers import Survival
from hpo_batch.records import Value
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.schema import Sweep

ASKED: Final = ("best", "noise", "health", "survival", "effects", "relations", "baseline", "hours")
"""names of the subjects of a report that decisions rest on"""
NEAR_END: Final = 0.05
"""of the range: what counts as being at its end, twice what a report takes (``effects.edges.CLOSE``). A convention for
ranges with many values; tables have none, and the rates of docs/benchmarks.md do not depend on it"""
SAMPLES: Final = 400
PLACES: Final = 9
KAPPA: Final = 1.0
"""standard errors that a bound lies above a mean; the measured rule has one"""
MOST_SETTINGS: Final = 24
"""settings of the other parameters at which a bound is asked; what is left out must be bad at all of them"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Evidence:
    """What the trials of one study, or of several with the same objective, show."""

    sweep: Sweep
    """that is refined"""
    table: TrialsTable
    study: StudyFindings
    data: Data
    """complete trials, or all at one step where many were pruned"""
    model: Surrogate | None

    @property
    def n(self) -> int:
        """Trials that carry information: repeats with the same seed and value count once."""
        return len(self.data.distinct)

    @property
    def sign(self) -> float:
        return self.data.sign

    @cached_property
    def effects(self) -> Mapping[str, Effect]:
        return {effect.parameter: effect for effect in self.study.effects}

    @cached_property
    def survival(self) -> Mapping[str, Survival]:
        return {survival.parameter: survival for survival in self.study.survival}

    @cached_property
    def incumbent(self) -> Mapping[str, Value]:
        best = self.study.summary.best
        return best.params if best is not None else {}

    @cached_property
    def baseline(self) -> Mapping[str, Value]:
        return baseline_configuration(self.data) or {}

    @cached_property
    def elites(self) -> list[int]:
        """Rows of the best configurations: five, or a tenth."""
        best = self.data.best_of_each
        return [int(row) for row in best[: max(5, len(best) // 10)]]

    @cached_property
    def level(self) -> float:
        """What the model expects of the best configuration, greater is better."""
        assert self.model is not None
        rows = [row for row in self.elites[:5] if row in set(self.model.rows.tolist())]
        return max((self.sign * self.model.at(row)[0] for row in rows or self.model.rows.tolist()), default=-np.inf)

    def tried(self, info: ParamInfo, value: Value) -> int:
        """Trials that carry information and have a value."""
        codes = [code for code, level in enumerate(info.levels) if type(level) is type(value) and level == value]
        return int(np.isin(info.codes[self.data.distinct], codes).sum())

    def edge_chances(self, info: ParamInfo) -> tuple[float, float] | None:
        """How likely the best value, at good settings of the others, is the lowest and the highest one of the space.

        As ``findings.effects.edges`` computes it, which tells only what is likely. None where the model cannot tell.
        """
        if self.model is None or not info.ordered or len(info.levels) < 2:
            return None
        column = self.model.place(info)
        if column is None:
            return None
        at_rows = info.codes[self.model.rows]
        tried = np.unique(at_rows[at_rows >= 0])
        if len(tried) > PLACES:
            tried = np.unique(np.quantile(tried, np.linspace(0, 1, PLACES), method="nearest"))
        values = [info.levels[i] for i in tried.astype(np.int64).tolist()]
        if len(values) < 2:
            return None
        means = self.model.means(info, values, self._good_settings(column))
        assert means is not None
        first = np.argmax(self.sign * means.samples(SAMPLES), axis=1)
        shares = np.bincount(first, minlength=len(values)) / SAMPLES
        low, high = info.ends
        at = [info.position(value) for value in (values[0], values[-1])]
        near = NEAR_END * (high - low)
        return (
            float(shares[0]) if at[0] <= low + near else 0.0,
            float(shares[-1]) if at[1] >= high - near else 0.0,
        )

    def at_their_best(
        self, info: ParamInfo, values: list[Value | float]
    ) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        """For each value an optimistic bound on the best that it gives, over good settings of the others; greater is
        better."""
        assert self.model is not None
        column = self.model.place(info)
        assert column is not None
        settings = self._good_settings(column)
        if len(settings) > MOST_SETTINGS:
            settings = settings[:MOST_SETTINGS]
        bounds = np.full(len(values), -np.inf)
        for setting in settings.tolist():
            means = self.model.means(info, values, np.array([setting]))
            assert means is not None
            bounds = np.maximum(bounds, self.sign * means.mean + KAPPA * means.errors)
        return bounds

    def _good_settings(self, column: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Rows of the model with the best quarter of its configurations in which a column is active, best first."""
        assert self.model is not None
        problem = self.model.best.problem
        active = np.flatnonzero(problem.columns[column].active)
        best = active[np.argsort(-self.sign * problem.z[active], kind="stable")]
        return best[: max(FEWEST_SETTINGS, int(np.ceil(QUARTER * len(best))))]


def gather(table: TrialsTable, sweep: Sweep, *, known: Known | None = None, seed: int = 0) -> Evidence:
    """The evidence in a table.

    Args:
        table: of one metric.
        sweep: that is refined; its space is the table's.
    """
    findings = analyse([table], seed=seed, known=known, subjects=[s for s in SUBJECTS if s.name in ASKED])
    with threadpool_limits(limits=1, user_api="blas"):
        data = compared(StudyInput(data=prepare(table), label=table.label)).data
        model = surrogate(data, data.rows())
    return Evidence(sweep=sweep, table=table, study=findings.studies[0], data=data, model=model)
