"""GPUs that were slowed down or faulty: which trials they had, and what that makes of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from hpo_batch.extras import install
from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.gpus.numbers import GpuHealth
from hpo_batch.findings.phrases import some
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer
from hpo_batch.text.numbers import count

METHOD: Final = "samples of NVML during each attempt"


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    gpus = study.gpus
    if gpus is None:
        return
    if gpus.memory_errors:
        yield Ranked(Place.SUSPECT, _memory_errors(study, gpus))
    if gpus.throttled:
        yield Ranked(Place.WARNING, _throttled(study, gpus))
    if not gpus.memory_errors and not gpus.throttled:
        yield Ranked(Place.DETAIL, _nothing(study, gpus))


def _memory_errors(study: StudyFindings, gpus: GpuHealth) -> Finding:
    numbers = [number for number, _ in gpus.memory_errors]
    errors = count(sum(n for _, n in gpus.memory_errors), "uncorrected memory error")
    return Finding(
        key="gpus.memory-errors",
        study=study.label,
        question="Did GPUs have memory errors?",
        answer=Answer.YES,
        text=f"{study.label}: {errors} of GPUs{_on(gpus.memory_errors_on)} during {_trials(numbers)}: their values may "
        "be wrong",
        actions=(
            Action(kind=ActionKind.INSPECT, trials=tuple(numbers)),
            *_exclude(gpus.memory_errors_on, of=gpus.nodes),
        ),
        n=gpus.measured,
        method=METHOD,
    )


def _throttled(study: StudyFindings, gpus: GpuHealth) -> Finding:
    most = max(share for _, share in gpus.throttled)
    numbers = [number for number, _ in gpus.throttled]
    return Finding(
        key="gpus.throttled",
        study=study.label,
        question="Were GPUs slowed down?",
        answer=Answer.YES,
        text=f"{study.label}: GPUs{_on(gpus.throttled_on)} were slowed down by heat or power supply during "
        f"{_trials(numbers)}, for up to {100 * most:.0f} % of the time: do not compare their durations with others",
        actions=_exclude(gpus.throttled_on, of=gpus.nodes),
        n=gpus.measured,
        method=METHOD,
    )


def _nothing(study: StudyFindings, gpus: GpuHealth) -> Finding:
    of = f"{gpus.measured} of {count(gpus.trials, 'trial')} with a GPU"
    if not gpus.measured:
        answer = Answer.NOT_MEASURED
        text = f"throttling and memory errors of GPUs were not measured: {install('pynvml')} where workers run"
    elif gpus.measured < gpus.trials / 2:
        answer = Answer.CANNOT_TELL
        text = f"GPUs were neither slowed down nor had memory errors, but only {of} tell"
    else:
        answer = Answer.NO
        text = f"GPUs were neither slowed down by heat or power supply nor had memory errors ({of} measured)"
    return Finding(
        key="gpus",
        study=study.label,
        question="Were GPUs slowed down, or did they have memory errors?",
        answer=answer,
        text=f"{study.label}: {text}",
        n=gpus.measured,
        method=METHOD,
    )


def _trials(numbers: Sequence[int]) -> str:
    return f"trial{'s' if len(numbers) > 1 else ''} {some(numbers)}"


def _on(nodes: Sequence[str]) -> str:
    return f" on {', '.join(nodes)}" if 0 < len(nodes) <= 3 else ""


def _exclude(nodes: Sequence[str], *, of: int) -> tuple[Action, ...]:
    """Where it is one node of several, the others may do better."""
    return (Action(kind=ActionKind.EXCLUDE_NODE, where=nodes[0]),) if len(nodes) == 1 < of else ()
