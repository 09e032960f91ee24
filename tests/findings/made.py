"""Findings as analysis makes them, by hand: every kind of record, with names of the caller's choice."""

from __future__ import annotations

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.baseline.numbers import Baseline, BaselinePair
from hpo_batch.findings.best.numbers import RepeatedConfiguration, Summary, TopTrial
from hpo_batch.findings.best.optimism import Optimism
from hpo_batch.findings.budgets.numbers import BudgetRow, Budgets
from hpo_batch.findings.coverage.numbers import Coverage
from hpo_batch.findings.effects.direction import Direction
from hpo_batch.findings.effects.means import ValueRow
from hpo_batch.findings.effects.numbers import Effect
from hpo_batch.findings.elites.numbers import EliteRow, Elites
from hpo_batch.findings.elites.plotted import Axis, PlottedTrials
from hpo_batch.findings.expected.numbers import Expected
from hpo_batch.findings.health.numbers import Collapse, Suspect, Without
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.importance.numbers import Importance, ImportanceRow
from hpo_batch.findings.metrics.numbers import OtherMetric
from hpo_batch.findings.noise.numbers import Noise
from hpo_batch.findings.pooled.numbers import Pooled, TopShares
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.relations.correlations import Correlation
from hpo_batch.findings.relations.interactions import Interaction
from hpo_batch.findings.trials.rows import Reported
from hpo_batch.records import Answer, Estimate
from hpo_batch.text.lines import printable, shell_word


def estimate(value: float, half: float = 0.01, n: int = 50) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half, method="OLS on ranks, HC3", n=n)


def effect(
    name: str, *, p_holm: float = 0.02, trend: str = "increasing", curve: bool = False, label: str = "0.1"
) -> Effect:
    rows = tuple(
        ValueRow(
            label=text,
            value=value,
            n=n,
            mean=mean,
            std=0.01,
            min=0.68,
            max=0.73,
            adjusted=adjusted,
            share=n / 50,
            top_share=0.3,
            underpowered=n < 5,
        )
        for text, value, n, mean, adjusted in (
            (label, 0.1, 20, 0.70, estimate(0.701)),
            ("0.3", 0.3, 27, 0.71, estimate(0.712)),
            ("0.5", 0.5, 3, 0.72, None),
        )
    )
    points = tuple((x / 10, estimate(0.70 + x / 500)) for x in range(10)) if curve else ()
    return Effect(
        parameter=name,
        kind="continuous" if curve else "levels",
        varied=True,
        rows=rows,
        naive_trend="increasing",
        trend=trend,
        p=0.004,
        p_holm=p_holm,
        effect_size=0.12,
        detectable=0.008,
        without_outliers=0.3,
        curve=points,
        eta_squared=0.2,
        seed_formula=0.196,
        method="rank OLS with HC3",
        rows_without=rows,
        direction=Direction(
            better=0.3,
            worse=0.1,
            better_label="0.3",
            worse_label=label,
            probability=0.97,
            difference=estimate(0.011),
            gain=0.004,
            trials_to_tell=None if trend == "increasing" else 40,
        ),
    )


def study(label: str = "toy", name: str = "dropout", *, value: str = "cnn") -> StudyFindings:
    best = TopTrial(rank=1, number=7, value=0.7315, params={name: 0.3, "encoder": value}, count=2)
    second = TopTrial(rank=1, number=9, value=0.7315, params={name: 0.1, "encoder": value}, tied=True)
    repeat = RepeatedConfiguration(
        params={name: 0.3, "encoder": value}, count=2, numbers=(7, 8), values=(0.7315, 0.7315)
    )
    summary = Summary(
        n=50,
        states={"COMPLETE": 50, "FAIL": 3},
        unique=41,
        repeats=9,
        repeated=(repeat,),
        mean=0.7089,
        median=0.7104,
        std=0.0131,
        best=best,
        top=(best, second),
        skipped=1,
    )
    flat = effect("width", trend="no clear trend", p_holm=0.4, curve=True)
    fixed = Effect(
        parameter="epochs",
        kind="levels",
        varied=False,
        rows=(),
        naive_trend="",
        trend="no clear trend",
        p=None,
        p_holm=None,
        effect_size=None,
        detectable=None,
        without_outliers=None,
        why="not varied",
    )
    matrix = Coverage(
        label=f"{name} x width",
        parameters=(name, "width"),
        found=3,
        cells=4,
        attainable=4,
        random=estimate(2.7, 1),
        gaps=({name: 0.5, "width": 64},),
        answer=Answer.YES,
        counts=(((value, "32"), 20), ((value, "64"), 27), (("0.5", "32"), 3), (("0.5", "64"), 0)),
    )
    branch = Importance(
        rows=(ImportanceRow(parameter="kernel", value=0.8, low=0.6, high=0.9, above_null=True),),
        null_line=0.3,
        surrogate_r2=0.5,
        interpretable=Answer.YES,
        method="fANOVA, 64 trees",
        n=22,
    )
    return StudyFindings(
        label=label,
        metric="val_auc",
        direction="maximize",
        summary=summary,
        noise=Noise(
            sd=estimate(0.004, 0.001, 12), source="replicates", alarms=(repeat,), n_pairs=6, text="0.004, 6 pairs"
        ),
        coverage=(
            Coverage(
                label="architecture",
                parameters=(name, "width"),
                found=26,
                cells=75,
                attainable=50,
                random=estimate(36.7, 4.5),
                gaps=({name: 0.5, "width": 64},),
                answer=Answer.NO,
            ),
            matrix,
        ),
        effects=(effect(name, label=value), flat, fixed),
        importance=Importance(
            rows=(
                ImportanceRow(parameter=name, value=0.6, low=0.5, high=0.7, above_null=True),
                ImportanceRow(parameter="width", value=0.05, low=0.0, high=0.1, above_null=False),
            ),
            null_line=0.12,
            surrogate_r2=0.41,
            interpretable=Answer.YES,
            method="fANOVA, 64 trees",
            n=50,
            branches=((f"encoder = {value}", branch),),
        ),
        correlations=(
            Correlation(a=name, b="val_auc", pearson=-0.211, pearson_p=0.001, spearman=-0.2, spearman_p=0.002, n=50),
            Correlation(a=name, b="width", pearson=None, pearson_p=None, spearman=None, spearman_p=None, n=50),
        ),
        interactions=(
            Interaction(a=name, b="width", p=0.4, p_holm=1.0, n=50, cells=((value, "32", 20, 0.71),)),
            Interaction(a=name, b="lr", p=None, p_holm=None, n=50, cells=(), why="too few trials"),
        ),
        elites=Elites(
            n=13,
            threshold=0.72,
            rows=(
                EliteRow(
                    parameter=name, low=0.1, high=0.3, shares=((value, 0.8, 0.4),), at_edge="high", rho=0.44, rho_p=0.01
                ),
            ),
        ),
        curse=Optimism(
            best=0.7315, shrunken=estimate(0.724), held_out=None, optimism=0.0075, text="the best is probably inflated"
        ),
        collapse=Collapse(
            answer=Answer.NOT_MEASURED,
            trials=((7, Answer.NOT_MEASURED),),
            prediction_range=None,
            recall=None,
            text="no trial reports its predictions",
        ),
        suspects=(Suspect(number=3, value=0.60, why="outlier", text="far worse than the rest"),),
        baseline=Baseline(
            value=estimate(0.72),
            n_above=15,
            n=50,
            unexplained=0.004,
            text="15 of 50 above the baseline",
            pairs=(BaselinePair(parameter=name, value=0.3, difference=estimate(0.002)),),
        ),
        efficiency=Efficiency(
            gpu_hours=12.5,
            hours=12.5,
            by_outcome=(("complete", 11.0, 50), ("failed", 1.5, 3)),
            by_node=(("n1", 8.0, 30, 0), (f"n-{value}", 4.5, 23, 3)),
            failures=(("oom_gpu", "n2", 3),),
            queue_wait_s=340.0,
            text="12.5 GPU hours, 12 % of them failed",
        ),
        expected=(
            Expected(
                statement="less dropout is better",
                expression="mean(A) > mean(B)",
                answer=Answer.CANNOT_TELL,
                text="0.71 against 0.70, noise 0.004",
                then="fix it",
            ),
        ),
        history=tuple((i, 0.60 if i == 3 else 9.9 if i == 5 else 0.70 + (i % 7) / 300) for i in range(50)),
        curves={7: ((1, 0.6), (2, 0.7), (3, 0.73)), 8: ((1, 0.5), (2, float("nan")), (3, 0.7))},
        without=Without(numbers=(3,), summary=summary),
        others=(
            OtherMetric(name=f"epochs of {name}", rank_correlation=estimate(0.83, 0.1), p=1e-6, p_holm=2e-6, n=50),
            OtherMetric(name="loss", rank_correlation=None),
        ),
        fidelity=((1, estimate(0.4, 0.2, 40), 40), (2, None, 2)),
    )


def findings(*, name: str = "dropout", label: str = "toy", value: str = "cnn") -> Findings:
    first, other = study(label, name, value=value), study("other", name, value=value)
    rows = tuple(
        BudgetRow(
            label=s.label, n=50, best=estimate(0.73, 0.03), mean=0.709, params={name: 0.3}, n_params=(50_000, 650_000)
        )
        for s in (first, other)
    )
    first_action = Action(
        kind=ActionKind.EXPAND,
        study=label,
        parameter=name,
        where="low",
        command=f"hpo-batch resume {shell_word(printable(label))} --set study.trials=60",
        evidence=(f"effect.{name}",),
    )
    second_action = Action(kind=ActionKind.CONFIRM, where="bests of all studies", evidence=("budgets.order",))
    told = (
        Finding(
            key=f"effect.{name}",
            study=label,
            question=f"Does {name} matter?",
            answer=Answer.YES,
            p=0.0002,
            p_holm=0.004,
            text=f"{label}: {name} matters (increasing)",
            actions=(first_action,),
            n=50,
            method="F-test",
        ),
        Finding(
            key="budgets.order",
            study="",
            question="Can the best be ordered?",
            answer=Answer.CANNOT_TELL,
            text="the intervals overlap",
            actions=(second_action,),
            n=100,
        ),
        Finding(
            key="collapse", study=label, question="Did models collapse?", answer=Answer.NOT_MEASURED, text="no data"
        ),
        Finding(key="coverage", study=label, question="As random?", answer=Answer.NO, text=f"{label}: 26 of 75", n=50),
    )
    return Findings(
        studies=(first, other),
        findings=told,
        actions=(first_action, second_action),
        family=2,
        budgets=Budgets(
            rows=rows,
            order=Answer.CANNOT_TELL,
            order_text="toy > other, intervals overlap",
            text="no slope",
            slope=estimate(-0.002, 0.05, 2),
            consistency=((name, {label: 0.3, "other": None}, Answer.CANNOT_TELL),),
            transfer=((label, "other", estimate(0.4, 0.3), 12), (label, "x", None, 0)),
        ),
        pooled=Pooled(
            n=100,
            effects=(effect(name),),
            correlations=first.correlations,
            top=TopShares(
                k=60,
                studies=((label, 60, 0.5), ("other", 0, 0.5)),
                confounded=Answer.YES,
                unique=22,
                text="toy fills the top 60",
                groups=(("a50 / a100", "a50", 60, 0.6),),
            ),
        ),
        warnings=(f"{name}: space inferred",),
    )


def trials(label: str = "toy", name: str = "dropout", value: str = "cnn") -> PlottedTrials:
    positions = (0.0, 0.5, 1.0, None, *(0.25 for _ in range(8)))
    values = ("0.1", "0.3", "0.5", "-", *("0.2" for _ in range(8)))
    kinds = (value, "b") * 6
    axes = (
        Axis(name=name, positions=positions, values=values, ticks=((0.0, "0.1"), (1.0, "0.5"))),
        Axis(name="width", positions=(0.0, 1.0) * 6, values=("32", "64") * 6, ticks=((0.0, "32"), (1.0, "64"))),
        Axis(name="encoder", positions=(0.0, 1.0) * 6, values=kinds, ticks=((0.0, value), (1.0, "b"))),
    )
    metric = tuple(0.7 + (i % 5) / 100 for i in range(12))
    rows = [(str(i), "complete", f"{metric[i]:.3f}", values[i], ("32", "64")[i % 2], kinds[i]) for i in range(12)]
    rows.append(("12", "pruned at step 3", "0.61", "0.1", "32", value))
    every = Reported(
        columns=("trial", "state", "val_auc", name, "width", "encoder"),
        texts=frozenset({"state", "encoder"}),
        numbers=tuple(range(13)),
        rows=tuple(rows),
        n_all=14,
        states=dict.fromkeys(range(12), "complete") | {12: "pruned", 13: "failed"},
        others={f"epochs of {name}": {i: 10.0 + i for i in range(12)}},
    )
    return PlottedTrials(label=label, numbers=tuple(range(12)), values=metric, axes=axes, every=every)


def empty(label: str = "nothing") -> Findings:
    """A study in which only failures are: nothing can be computed."""
    summary = Summary(
        n=0, states={"FAIL": 4}, unique=0, repeats=0, repeated=(), mean=None, median=None, std=None, best=None, top=()
    )
    bare = StudyFindings(
        label=label,
        metric="val_auc",
        direction="maximize",
        summary=summary,
        noise=Noise(sd=None, source="unknown"),
        coverage=(),
        effects=(),
        importance=None,
        correlations=(),
        interactions=(),
        elites=None,
        curse=None,
        collapse=Collapse(answer=Answer.NOT_MEASURED, trials=(), prediction_range=None, recall=None, text=""),
        suspects=(),
        baseline=None,
        efficiency=Efficiency(
            gpu_hours=None,
            hours=None,
            by_outcome=(),
            by_node=(),
            failures=(),
            queue_wait_s=None,
            text="",
            why="no attempts are recorded",
        ),
    )
    return Findings(studies=(bare,), findings=(), family=0)
