"""What analysis hands to report: frozen records with their method, n and numbers. No computing here.

``None`` stands for a number that cannot be given; the record's ``why`` (or the finding's text) says why. Values of the
metric are on the metric's own scale. Intervals are 95 % unless their ``level`` says otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from hpo_batch.records import Answer, Estimate, Value


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
    do: str = ""
    """what to do about it, if anything"""
    estimate: Estimate | None = None
    p: float | None = None
    """of the claim's own test"""
    p_holm: float | None = None
    """adjusted for all claims of the report; None for what is not a claim (a count, a fact)"""
    method: str = ""
    n: int = 0


@dataclass(frozen=True, kw_only=True)
class Summary:
    """One study at a glance."""

    n: int
    """complete trials with a finite value"""
    states: Mapping[str, int]
    unique: int
    """distinct configurations among the complete trials"""
    repeats: int
    """complete trials less distinct configurations: what the documents call wasted"""
    repeated: tuple[RepeatedConfiguration, ...]
    mean: float | None
    median: float | None
    std: float | None
    """ddof = 1"""
    best: TopTrial | None
    top: tuple[TopTrial, ...]
    """distinct configurations, best first; ties in value share their rank"""
    skipped: int = 0
    """complete trials without a finite value: left out of everything"""
    replicates: int = 0
    """of the repeats, those with a seed of their own: they measure noise"""


@dataclass(frozen=True, kw_only=True)
class TopTrial:
    rank: int
    number: int
    value: float
    params: Mapping[str, Value]
    count: int = 1
    """complete trials with this configuration"""
    tied: bool = False
    values: tuple[float, ...] = ()
    """several metrics: all of them, in the study's order; ``value`` is the first"""


@dataclass(frozen=True, kw_only=True)
class RepeatedConfiguration:
    params: Mapping[str, Value]
    count: int
    numbers: tuple[int, ...]
    values: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class ValueRow:
    """One value (or one interval of a continuous parameter) of one parameter."""

    label: str
    value: Value | None
    """None for an interval"""
    n: int
    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    adjusted: Estimate | None
    """mean with the other parameters held alike; None where it cannot be computed"""
    share: float
    """of the complete trials"""
    top_share: float | None = None
    """share of this value among the top trials, beside ``share``, its base rate"""
    distinct: int = 0
    """trials of it less those that repeat another one exactly"""
    underpowered: bool = False
    """fewer than five distinct trials: nothing is said of it"""


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What one parameter does to the metric, on average over the others (a marginal effect)."""

    parameter: str
    kind: str
    """``levels`` (few values, one mean each) or ``continuous`` (a curve)"""
    varied: bool
    rows: tuple[ValueRow, ...]
    naive_trend: str
    """the documents' word: last group mean against the first, ``flat`` below 0.01; shown as what not to trust"""
    trend: str
    """``increasing``, ``decreasing``, ``peaked``, ``differs`` or ``no clear trend``; the first four only if the
    adjusted test carries them after Holm"""
    p: float | None
    p_holm: float | None
    effect_size: float | None
    """epsilon squared"""
    detectable: float | None
    """smallest difference between two values that would be found with 80 % power"""
    without_outliers: float | None
    """p of the same test without the flagged trials; None if none is flagged"""
    rows_without: tuple[ValueRow, ...] = ()
    """``rows`` without the flagged trials"""
    curve: tuple[tuple[float, Estimate], ...] = ()
    """continuous parameters: position on the parameter's own scale, adjusted mean"""
    shape: str = ""
    """the word for ``trend`` that the adjusted means have, whether or not the test carries it (``effects.settled``)"""
    span: float | None = None
    """largest less smallest adjusted mean, of values with at least five trials"""
    eta_squared: float | None = None
    seed_formula: float | None = None
    """the documents' "fraction of variance explained": eta squared times (n - 1) / n"""
    method: str = ""
    why: str = ""
    """why there is no adjusted effect, if there is none"""


@dataclass(frozen=True, kw_only=True)
class Importance:
    """fANOVA, with the line that parameters which do nothing reach."""

    rows: tuple[ImportanceRow, ...]
    null_line: float | None
    """95 % of dummy parameters stay below it"""
    surrogate_r2: float | None
    """of the forest, by cross-validation"""
    interpretable: Answer
    method: str
    n: int
    branches: tuple[tuple[str, Importance], ...] = ()
    """conditional parameters: within each value of their parent"""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class ImportanceRow:
    parameter: str
    value: float
    low: float | None
    high: float | None
    """range over resampled trials and forest seeds: stability, not a confidence interval"""
    above_null: bool


@dataclass(frozen=True, kw_only=True)
class Correlation:
    a: str
    b: str
    """a parameter, or the metric"""
    pearson: float | None
    pearson_p: float | None
    spearman: float | None
    spearman_p: float | None
    n: int


@dataclass(frozen=True, kw_only=True)
class Interaction:
    a: str
    b: str
    p: float | None
    p_holm: float | None
    n: int
    cells: tuple[tuple[str, str, int, float | None], ...]
    """value of a, value of b, n, mean"""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of a set of parameters was tried."""

    label: str
    """``architecture``, ``training`` or ``all``"""
    parameters: tuple[str, ...]
    found: int
    cells: int
    """valid ones"""
    attainable: int
    """min(n, cells)"""
    random: Estimate | None
    """what as many random trials would find"""
    gaps: tuple[Mapping[str, Value], ...]
    """cells nobody tried, at most 20"""
    counts: tuple[tuple[tuple[str, ...], int], ...] = ()
    """labels of the values, trials: for the matrix"""
    answer: Answer = Answer.CANNOT_TELL
    """whether it reached what random trials would"""
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Noise:
    """How much the metric moves without any parameter changing."""

    sd: Estimate | None
    source: str
    """``replicates``, ``standard error of an AUC``, ``binomial`` or ``unknown``"""
    alarms: tuple[RepeatedConfiguration, ...] = ()
    """equal configuration and equal seed with different values: not deterministic"""
    n_pairs: int = 0
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class Elites:
    """The top quarter, ties included."""

    n: int
    threshold: float
    rows: tuple[EliteRow, ...]


@dataclass(frozen=True, kw_only=True)
class EliteRow:
    parameter: str
    low: Value | None
    high: Value | None
    """range among the elites, for numbers"""
    shares: tuple[tuple[str, float, float], ...]
    """value, share among elites, share among all complete trials"""
    at_edge: str
    """``low``, ``high`` or empty: the best trial lies at that edge of the space, or the fitted optimum does in 95 % of
    resamples"""
    rho: float | None
    rho_p: float | None
    """Spearman against the metric over all trials in which the parameter is active"""


@dataclass(frozen=True, kw_only=True)
class TopShares:
    """Who fills the top k."""

    k: int
    studies: tuple[tuple[str, int, float], ...]
    """study (or budget, tier), trials among the top k, base rate"""
    confounded: Answer
    """whether one study fills the top: then shares of parameters are that study's shares"""
    unique: int
    """distinct configurations among the top k"""
    text: str = ""
    groups: tuple[tuple[str, str, int, float], ...] = ()
    """studies that share a word of their labels or a budget: ``a50 / a100``, ``a50``, trials of the top, base rate"""
    p: float | None = None
    """that chance gives the fullest study or group as many of the top k, for all of them together"""


@dataclass(frozen=True, kw_only=True)
class Curse:
    """How optimistic the best value is."""

    best: float
    shrunken: Estimate | None
    """what a model expects at the best configuration"""
    held_out: Estimate | None
    """mean of confirmations that took no part in the selection"""
    optimism: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Collapse:
    """Whether models predict one thing for all: three states, never "no" without data."""

    answer: Answer
    trials: tuple[tuple[int, Answer], ...]
    """In report.json at most 10,000, evenly, and the first 10,000 that collapsed"""
    prediction_range: float | None
    recall: float | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Suspect:
    """A trial that should be looked at before it is believed."""

    number: int
    value: float
    why: str
    """``outlier`` (far worse than the rest), ``too good`` (far better), ``under-trained`` or ``conflicts with its
    twin``"""
    text: str


@dataclass(frozen=True, kw_only=True)
class Baseline:
    value: Estimate | None
    n_above: int
    n: int
    """trials compared"""
    pairs: tuple[BaselinePair, ...]
    """single parameters changed from the baseline, everything else equal"""
    unexplained: float | None
    """of the best trial's lead: what the pairs' sum does not explain"""
    text: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class BaselinePair:
    parameter: str
    value: Value
    difference: Estimate


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """Where the hours went."""

    gpu_hours: float | None
    hours: float | None
    by_outcome: tuple[tuple[str, float, int], ...]
    """outcome of attempts, hours, attempts"""
    by_node: tuple[tuple[str, float, int, int], ...]
    """node, hours, attempts, failed ones"""
    failures: tuple[tuple[str, str, int], ...]
    """cause, node, count"""
    queue_wait_s: float | None
    text: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Expected:
    """An entry of ``[expect]``, judged."""

    statement: str
    expression: str
    answer: Answer
    text: str
    then: str = ""


@dataclass(frozen=True, kw_only=True)
class Without:
    """The same summary without the suspect trials. Effects have ``rows_without`` and ``without_outliers``."""

    numbers: tuple[int, ...]
    summary: Summary


@dataclass(frozen=True, kw_only=True)
class StudyFindings:
    """All about one study."""

    label: str
    metric: str
    direction: str
    summary: Summary
    noise: Noise
    coverage: tuple[Coverage, ...]
    effects: tuple[Effect, ...]
    importance: Importance | None
    correlations: tuple[Correlation, ...]
    interactions: tuple[Interaction, ...]
    elites: Elites | None
    curse: Curse | None
    collapse: Collapse
    suspects: tuple[Suspect, ...]
    baseline: Baseline | None
    efficiency: Efficiency
    expected: tuple[Expected, ...] = ()
    front: tuple[TopTrial, ...] = ()
    """several metrics: the trials that no other dominates; then nothing that needs a single best is computed"""
    history: tuple[tuple[int, float], ...] = ()
    """number and value of the complete trials in order. In report.json at most 10,000, evenly, and every new best"""
    curves: Mapping[int, Sequence[tuple[int, float]]] = field(default_factory=dict)
    """learning curves: step and value by trial. In report.json at most 100,000 steps: the curve of the best trial, and
    of as many others as that allows, evenly"""
    without: Without | None = None
    """None if no trial is suspect"""
    fidelity: tuple[tuple[int, Estimate | None, int], ...] = ()
    """step, rank correlation of the values there with those of the last step, trials that have both"""


@dataclass(frozen=True, kw_only=True)
class Budgets:
    """Several budgets (or studies) beside each other."""

    rows: tuple[BudgetRow, ...]
    order: Answer
    """whether the best values can be ordered at all"""
    order_text: str
    """``20M > 2M > 200M``, with what speaks for and against it"""
    slope: Estimate | None
    """of the best value over the logarithm of the parameter count"""
    consistency: tuple[tuple[str, Mapping[str, Value | None], Answer], ...]
    """parameter, best value by budget (None: it has none), whether they agree"""
    transfer: tuple[tuple[str, str, Estimate | None, int], ...]
    """two budgets, rank correlation of the configurations that both have, how many"""
    text: str


@dataclass(frozen=True, kw_only=True)
class BudgetRow:
    label: str
    n: int
    best: Estimate
    mean: float
    params: Mapping[str, Value]
    n_params: tuple[int, int] | None
    """smallest and largest parameter count of a model in it"""
    n_params_source: str = ""
    """``recorded``, ``estimated: ...`` or ``not recorded``"""


@dataclass(frozen=True, kw_only=True)
class Pooled:
    """Trials of several studies in one heap, as document 000 has them."""

    n: int
    effects: tuple[Effect, ...]
    correlations: tuple[Correlation, ...]
    top: TopShares


@dataclass(frozen=True, kw_only=True)
class Findings:
    """All that a report is made of."""

    studies: tuple[StudyFindings, ...]
    findings: tuple[Finding, ...]
    """all answers, claims with their p after Holm, most telling first"""
    family: int
    """how many claims Holm's adjustment was made for"""
    budgets: Budgets | None = None
    pooled: Pooled | None = None
    warnings: tuple[str, ...] = ()
    """what could not be read or had to be left out"""
