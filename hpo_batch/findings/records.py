"""What analysis hands to report: frozen records with their method, n and numbers. No computing here.

``None`` stands for a number that cannot be given; the record's ``why`` (or the finding's text) says why. Values of the
metric are on the metric's own scale. Intervals are 95 % unless their ``level`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from hpo_batch.findings.actions import Action, actions_text
from hpo_batch.findings.baseline.numbers import Baseline
from hpo_batch.findings.best.numbers import Summary, TopTrial
from hpo_batch.findings.best.optimism import Optimism
from hpo_batch.findings.budgets.numbers import Budgets
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.elites.numbers import Elites
from hpo_batch.findings.expected.numbers import Expected
from hpo_batch.findings.further.numbers import Further
from hpo_batch.findings.gpus.numbers import GpuHealth
from hpo_batch.findings.health.numbers import Collapse, Suspect, Without
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.importance.numbers import Importance
from hpo_batch.findings.json_keys import json_keys
from hpo_batch.findings.ledger.numbers import Ledger
from hpo_batch.findings.lineage.numbers import Ancestor
from hpo_batch.findings.metrics.numbers import OtherMetric
from hpo_batch.findings.model.stats import inner_spread
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.findings.order.numbers import Order
from hpo_batch.findings.pooled.numbers import Pooled
from hpo_batch.findings.relations.correlations import Correlation
from hpo_batch.findings.relations.interactions import Interaction
from hpo_batch.findings.steps import EqualSteps
from hpo_batch.findings.survival.numbers import Survival
from hpo_batch.findings.transfer.numbers import Matrix
from hpo_batch.records import Answer, Estimate


@dataclass(frozen=True, kw_only=True)
class Finding:
    """An answer to one question of one study, or of several together."""

    key: str
    """stable: ``effect.dropout``, ``coverage.architecture``, ``budgets.order``"""
    study: str
    """label of the study; empty: all of the report together"""
    question: str
    answer: Answer
    text: str
    """one sentence with its numbers, which may be read alone"""
    actions: tuple[Action, ...] = ()
    """what to do about it, if anything"""
    do: str = ""
    """``actions`` as a sentence"""
    estimate: Estimate | None = None
    p: float | None = None
    """of the claim's own test"""
    p_holm: float | None = None
    """adjusted for all claims of the report; None for what is not a claim (a count, a fact)"""
    method: str = ""
    n: int = 0

    def __post_init__(self) -> None:
        if self.actions:
            object.__setattr__(self, "do", actions_text(self.actions))


@dataclass(frozen=True, kw_only=True)
class StudyFindings:
    """All about one study."""

    label: str
    metric: str
    direction: str
    summary: Summary
    noise: Noise
    coverage: tuple[Coverage, ...] = ()
    effects: tuple[Effect, ...] = ()
    importance: Importance | None = None
    correlations: tuple[Correlation, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    elites: Elites | None = None
    curse: Optimism | None = None
    collapse: Collapse
    suspects: tuple[Suspect, ...] = ()
    baseline: Baseline | None = None
    efficiency: Efficiency
    gpus: GpuHealth | None = None
    """None if no trial had a GPU, as far as is known"""
    expected: tuple[Expected, ...] = ()
    front: tuple[TopTrial, ...] = ()
    """several metrics: the trials that no other dominates; then nothing that needs a single best is computed"""
    history: tuple[tuple[int, float], ...] = field(default=(), metadata=json_keys("number", "value"))
    """number and value of the complete trials in order. In report.json at most 10,000, evenly, and every new best"""
    curves: Mapping[int, Sequence[tuple[int, float]]] = field(default_factory=dict, metadata=json_keys("step", "value"))
    """learning curves: step and value by trial. In report.json at most 100,000 steps: the curve of the best trial, and
    of as many others as that allows, evenly"""
    without: Without | None = None
    """None if no trial is suspect"""
    fidelity: tuple[tuple[int, Estimate | None, int], ...] = field(
        default=(), metadata=json_keys("step", "rank_correlation", "n")
    )
    """step, rank correlation of the values there with those of the last step, trials that have both"""
    equal_steps: EqualSteps | None = None
    """where pruned trials can be compared with the others; None if none were pruned, or nothing was reported"""
    others: tuple[OtherMetric, ...] = ()
    """what trials reported beside the metric; what goes most with it first"""
    order: Order | None = None
    """whether the metric moved with the order of the trials; None where there is nothing to compare"""
    survival: tuple[Survival, ...] = ()
    """what became of the trials with each value, of the parameters that were tried with several"""
    lineage: tuple[Ancestor, ...] = ()
    """the studies that it comes from, the first one first, and itself; empty if it continues none"""
    further: Further | None = None
    """what further trials would gain; None for too few trials"""
    ledger: Ledger | None = None
    """what the command that wrote the sweep predicted, and what came; None if nothing was predicted"""
    more: Mapping[str, Any] = field(default_factory=dict)
    """records of further subjects by their key, which stand beside the others in report.json"""

    @cached_property
    def spread(self) -> float | None:
        """``model.stats.inner_spread`` of its values: thousands of numbers in a report are rounded by it."""
        return inner_spread(self.summary.std, [value for _, value in self.history])

    @property
    def confirms(self) -> bool:
        """Whether its trials are finalists that were trained with new seeds: there is nothing left to confirm."""
        return self.more.get("confirmed") is not None


@dataclass(frozen=True, kw_only=True, repr=False)
class Findings:
    """All that a report is made of."""

    studies: tuple[StudyFindings, ...]
    findings: tuple[Finding, ...]
    """all answers, claims with their p after Holm, most telling first"""
    actions: tuple[Action, ...] = ()
    """what to do next: those of all findings, each once, most telling first"""
    family: int
    """how many claims Holm's adjustment was made for"""
    budgets: Budgets | None = None
    pooled: Pooled | None = None
    transfer: tuple[Matrix, ...] = ()
    """one for each sweep of ``hpo-batch transfer`` in the report"""
    warnings: tuple[str, ...] = ()
    """what could not be read or had to be left out"""
    more: Mapping[str, Any] = field(default_factory=dict)
    """as of ``StudyFindings``"""

    def __repr__(self) -> str:
        names = ", ".join(study.label for study in self.studies)
        return f"<Findings of {names}: {len(self.findings)} answers, {len(self.actions)} next steps>"
