"""Whether the metric repeats itself, and how much of what is seen is chance."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.best.numbers import RepeatedConfiguration, is_constant
from hpo_batch.findings.noise.numbers import RANKING, SHARES
from hpo_batch.findings.phrases import MOST_NUMBERS, fixed, some, spread_of
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    blamed = {s.number for s in study.suspects if s.why != "conflicts with its twin"}
    open_: list[RepeatedConfiguration] = []
    explained: list[RepeatedConfiguration] = []
    for alarm in study.noise.alarms:
        (explained if blamed & set(alarm.numbers) else open_).append(alarm)
    for alarms, place in ((open_, Place.NOT_DETERMINISTIC), (explained, Place.NOT_DETERMINISTIC_BY_SUSPECTS)):
        if alarms:
            yield Ranked(place, _not_deterministic(study, alarms))
    sd = study.noise.sd
    known = sd is not None
    if _is_all_noise(study):
        yield Ranked(Place.ALL_NOISE, _all_noise(study))
    text = study.noise.text or ("noise floor unknown, so no ranking can be tested" if not known else "")
    actions = () if known or is_constant(study.summary) else (_measure(study),)
    yield Ranked(
        Place.NOISE_FLOOR,
        Finding(
            key="noise.floor",
            study=study.label,
            question="Is it known how much the metric moves by chance?",
            answer=Answer.YES if known else Answer.NOT_MEASURED,
            text=f"{study.label}: {text}",
            actions=actions,
            estimate=sd,
            method=study.noise.source,
            n=study.noise.n_pairs,
        ),
    )


def _measure(study: StudyFindings) -> Action:
    """How the noise floor can become known: by the size of the validation set, else by seeds."""
    name = study.metric.lower()
    if any(word in name for word in RANKING):
        return Action(kind=ActionKind.REPORT_N_EVAL, metrics=("n_eval", "n_pos"))
    if any(word in name for word in SHARES):
        return Action(kind=ActionKind.REPORT_N_EVAL, metrics=("n_eval",))
    best = study.summary.top[:3]
    return Action(kind=ActionKind.REPLICATE, trials=tuple(trial.number for trial in best), seeds=2)


def _is_all_noise(study: StudyFindings) -> bool:
    """Whether all trials together vary no more than one configuration does from seed to seed."""
    sd, spread = study.noise.sd, study.summary.std
    return study.noise.source == "replicates" and sd is not None and spread is not None and 0 < spread <= sd.value


def _all_noise(study: StudyFindings) -> Finding:
    noise = study.noise.sd.value if study.noise.sd is not None else None
    spread = study.summary.std
    return Finding(
        key="noise.share",
        study=study.label,
        question="Do configurations differ by more than chance?",
        answer=Answer.CANNOT_TELL,
        text=f"{study.label}: all {study.summary.n} trials vary by {fixed(spread, spread)} (standard deviation), "
        f"no more than one configuration does from seed to seed ({fixed(noise, spread)}): chance explains all "
        "differences",
        actions=(Action(kind=ActionKind.REDUCE_NOISE),),
        n=study.summary.n,
        method="standard deviation of all trials beside the pooled one within configurations",
    )


def _not_deterministic(study: StudyFindings, alarms: Sequence[RepeatedConfiguration]) -> Finding:
    widest = max(alarms, key=lambda alarm: max(alarm.values) - min(alarm.values))
    trials, values = some(widest.numbers), ", ".join(fixed(v, spread_of(study)) for v in widest.values[:MOST_NUMBERS])
    values += ", ..." if len(widest.values) > MOST_NUMBERS else ""
    one = f"trials {trials} have one configuration and no seeds that differ, but {values}"
    many = (
        f"{count(len(alarms), 'configuration')} ran more than once without seeds that differ, and gave different "
        f"values, by up to {max(widest.values) - min(widest.values):.3g} (trials {trials}: {values})"
    )
    return Finding(
        key=f"noise.alarm-{alarms[0].numbers[0]}" if len(alarms) == 1 else "noise.alarms",
        study=study.label,
        question="Is training deterministic?",
        answer=Answer.NO,
        n=sum(alarm.count for alarm in alarms),
        text=f"{study.label}: {one if len(alarms) == 1 else many}",
        actions=(Action(kind=ActionKind.RECORD_SEEDS, trials=tuple(n for alarm in alarms for n in alarm.numbers)),),
        method="trials with equal configuration",
    )
