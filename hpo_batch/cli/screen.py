"""The screen of ``status``: a study's status as lines of text that fit the terminal."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from hpo_batch.cli.options import hint
from hpo_batch.monitor.waiting import stuck_for
from hpo_batch.scheduler.gpus import named_gpus
from hpo_batch.store.footprint import about
from hpo_batch.store.home import Marker
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.text.lines import one_line, printable
from hpo_batch.text.numbers import count, duration, folded

if TYPE_CHECKING:
    from hpo_batch.monitor.eta import Eta
    from hpo_batch.monitor.failures import FailureGroup
    from hpo_batch.monitor.gain import Outlook
    from hpo_batch.monitor.hours import Hours
    from hpo_batch.monitor.status import StudyStatus
    from hpo_batch.monitor.usage import TrialUsage
    from hpo_batch.monitor.workers import WorkerStatus
    from hpo_batch.store.footprint import Usage
    from hpo_batch.study.stopped import Stopped

# width of the labels: the longest, "failures", and two spaces
INDENT = 10
# with more workers than fill a screen beside the other lines, only unusual ones are listed, and not all of those
MOST_LISTED = 20
MOST_ODD = 15
# parameters of the best trial: more would push everything else off the screen; ``explain`` has all
MOST_PARAMS = 12
# 18 seconds of one GPU: nobody plans with less
LEAST_HOURS = 0.005


def screen(status: StudyStatus, *, width: int | None, all_workers: bool = False) -> list[str]:
    """The lines for one study.

    Args:
        width: of the terminal, in characters; None for no wrapping.
        all_workers: list every worker, however many there are.
    """
    before = (*_overview(status), *_troubles(status))
    lines = [line for label, text in before for line in _wrapped(label, text, width)]
    lines += _workers(status, width, all_workers=all_workers)
    return lines + [line for label, text in _outlook(status) for line in _wrapped(label, text, width)]


def _overview(status: StudyStatus) -> Iterator[tuple[str, str]]:
    """How far the study is, with labels."""
    yield "study", f"{status.name}  ({status.path})"
    yield "trials", _trials(status)
    for marker in status.markers if status.stopped is None and status.counts.remaining else ():
        why: dict[str, str] = {
            Marker.CANCELLED: "cancelled: no new trials start",
            Marker.DRAIN: "drained: running trials are the last",
        }
        yield "stopped", why[marker]
    if status.best is not None and status.best.values:
        yield "best", _best(status)
    if status.front:
        some = ", ".join(map(str, status.front[:10])) + (", ..." if len(status.front) > 10 else "")
        yield "front", f"{count(len(status.front), 'trial')} on the Pareto front of {status.metric}: {some}"
    for parameter, drawn in itertools.groupby(status.shares, key=lambda share: share.parameter):
        values = ", ".join(f"{s.value} {s.realised:.0%} (weight {s.planned:.0%})" for s in drawn)
        yield "shares", f"{parameter}: {values}"
    if status.counts.remaining and status.counts.target:
        yield "eta", _eta(status.eta)
    if status.hours.used >= LEAST_HOURS:
        yield "hours", _hours(status.hours)
    if status.further is not None:
        yield "further", _further(status.further, status)
    if status.files is not None:
        yield "files", _files(status.files)
    if status.usage is not None and (text := _usage(status.usage)):
        yield "used", text


def _troubles(status: StudyStatus) -> Iterator[tuple[str, str]]:
    """What has failed, and on which nodes."""
    for i, group in enumerate(status.failure_groups):
        yield "failures" if i == 0 else "", _failures(group)
        for region in group.regions:
            yield "", f"  {region}"
    if status.usage is not None:
        yield from _bad_gpus(status.usage)
    for node in status.failing_nodes:
        advice = "; check it, or exclude it with job.exclude" if node.is_to_blame else ""
        yield "node", f"{node}{advice}"


def _outlook(status: StudyStatus) -> Iterator[tuple[str, str]]:
    """What is left to do, what could not be checked, and the next commands."""
    if status.abandoned:
        yield "left", f"{_numbers(status.abandoned)}: the worker is gone; the next worker takes it over"
    for text in status.unseen:
        yield "unseen", text
    for dead in status.dead if status.counts.remaining else ():
        yield "ended", str(dead)
    if status.stopped is not None:
        yield from stopped_lines(status.stopped, status.name)
    elif status.counts.remaining and not any(w.will_work for w in status.workers) and status.slurm != "unseen":
        remaining = status.counts.remaining
        change = f"; change {keys} first" if (keys := stuck_for(status)) else ""
        yield "stopped", f"{remaining} trial{'' if remaining == 1 else 's'} left, no workers running{change}"
        yield "go on", hint("resume", status.name)


def stopped_lines(stopped: Stopped, name: str) -> list[tuple[str, str]]:
    """Why a study has stopped, the error message, and the next commands, with labels."""
    lines = [("stopped", stopped.text)]
    if stopped.trial is not None:
        message = f": {printable(stopped.message)}" if stopped.message else ""
        lines.append(("", f"trial {stopped.trial} failed{message}"))
        lines.append(("look", hint("logs", name, str(stopped.trial))))
    lines += [("go on", hint(*words)) for words in stopped.commands]
    if stopped.trial is not None:
        # resuming by name uses the stored sweep, which does not have the edits of the file
        lines.append(("", f"if you have edited the sweep's file, use it instead: {hint('resume', 'FILE.toml')}"))
    return lines


def _trials(status: StudyStatus) -> str:
    counts = status.counts
    by_state = (
        ("running", counts.running),
        ("waiting", counts.waiting),
        ("complete", counts.complete),
        ("pruned", counts.pruned),
        ("failed", counts.failed),
    )
    states = ", ".join(f"{count} {name}" for name, count in by_state if count)
    return f"{counts.progress} finished: {states or 'none started'}"


def _best(status: StudyStatus) -> str:
    best = status.best
    assert best is not None
    assert best.values
    named = f" ({best.name})" if best.name else ""
    shown = [f"{name}={_value(value)}" for name, value in list(best.params.items())[:MOST_PARAMS]]
    more = ", ..." if len(best.params) > MOST_PARAMS else ""
    return f"{status.metric} {best.values[0]:.6g} by trial {best.number}{named}: {', '.join(shown)}{more}"


def _value(value: object) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _eta(eta: Eta) -> str:
    if eta.low_s is None or eta.high_s is None:
        return f"unknown: {eta.why_unknown}"
    low, high = _span(eta.low_s), _span(eta.high_s)
    span = low if low == high else f"{low} to {high}"
    each = f", about {_span(eta.per_trial_s)} per trial" if eta.per_trial_s is not None else ""
    workers = "1 worker" if eta.workers == 1 else f"{eta.workers} workers"
    note = "; the workers' time limits end before" if eta.ends_before else ""
    return f"{span} with the {workers} running now{each} (from the last {eta.based_on}){note}"


def _hours(hours: Hours) -> str:
    parts = (
        ("pruned", hours.pruned),
        ("failed", hours.failed),
        ("lost", hours.lost),
        ("idle", hours.idle),
    )
    texts = [f"{_hour(hours.used)} {hours.unit} hours used"]
    texts += [f"{_hour(hours.complete)} for complete trials"] if hours.complete else []
    texts += [f"{_hour(hours.running)} for unfinished trials"] if hours.running else []
    wasted = ", ".join(f"{_hour(value)} {name}" for name, value in parts if value)
    texts += [f"{_hour(hours.wasted)} without a result ({wasted})"] if wasted else []
    texts += [f"{_about_hours(hours.to_come)} to come"] if hours.to_come else []
    texts += [f"{_hour(hours.allocated)} charged by SLURM"] if hours.allocated is not None else []
    return ", ".join(texts)


def _further(further: Outlook, status: StudyStatus) -> str:
    """What further trials would gain: a suggestion, from the values alone."""
    from hpo_batch.monitor.gain import gain_text

    cost = f"; {_about_hours(further.hours)} {status.hours.unit} hours" if further.hours else ""
    told = gain_text(further.gain, status.metric, planned=further.planned)
    return f"{told}{cost}; {hint('report', status.name)} says whether that is more than noise"


def _files(files: Usage) -> str:
    to_come = f", about {about(files.expected)} when all trials have finished" if files.to_come else ""
    return f"about {about(files.now)} files and folders{to_come}"


def _usage(usage: TrialUsage) -> str:
    """Per trial: CPUs, memory, how busy and warm the GPUs were, and how soon it reported; empty if little is known."""
    parts = []
    if usage.cpus is not None:
        parts.append(f"{usage.cpus:.2g} CPUs" if usage.cpus >= 0.01 else "< 0.01 CPUs")
    if usage.memory_mb is not None and (usage.cpus is not None or usage.gpu_util is not None):
        parts.append(f"up to {_megabytes(usage.memory_mb)} of memory")
    if usage.gpu_util is not None:
        parts.append(f"GPU {usage.gpu_util:.0f} % busy")
    if usage.gpu_memory_mb is not None:
        parts.append(f"up to {_megabytes(usage.gpu_memory_mb)} of GPU memory")
    if usage.gpu_temp_c is not None:
        parts.append(f"up to {usage.gpu_temp_c:.0f} °C")
    if parts and usage.first_report_s is not None:
        seconds = usage.first_report_s
        parts.append(f"the first report after {f'{seconds:.1f} s' if seconds < 10 else duration(seconds)}")
    return f"per trial {', '.join(parts)}" if parts else ""


def _bad_gpus(usage: TrialUsage) -> Iterator[tuple[str, str]]:
    if usage.throttled:
        yield (
            "GPU",
            f"{_numbers(usage.throttled)}: slowed down by heat or power supply; do not compare times with others",
        )
    if usage.memory_errors:
        yield "GPU", f"{_numbers(usage.memory_errors)}: uncorrected memory errors; do not trust the results"


def _megabytes(mb: float) -> str:
    return f"{mb / 1000:.1f} GB" if mb >= 1000 else f"{mb:.0f} MB"


def _about_hours(hours: float) -> str:
    text = _hour(hours)
    return text if text.startswith("<") else f"about {text}"


def _hour(hours: float | None) -> str:
    return "0" if not hours else f"{hours:.1f}" if hours >= 1 else f"{hours:.2g}" if hours >= 0.001 else "<0.001"


def _failures(group: FailureGroup) -> str:
    if not group.trials:
        were = "was" if group.attempts == 1 else "were"
        attempts = count(group.attempts, "attempt")
        return f"{attempts} ended with {group.reason} and {were} retried; no trial failed with it"
    nodes = list(group.nodes.items())
    where = ", ".join(f"{count} on {node}" for node, count in nodes[:3])
    where += f", {sum(count for _, count in nodes[3:])} on {len(nodes) - 3} others" if len(nodes) > 3 else ""
    again = f", retried {_times(group.attempts - group.trials)}" if group.attempts > group.trials else ""
    newest = f"; newest: trial {group.newest}" if group.newest is not None else ""
    return f"{group.trials} {group.reason}{f' ({where})' if where else ''}{again}{newest}"


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _numbers(numbers: Sequence[int]) -> str:
    shown = ", ".join(str(number) for number in numbers[:20])
    more = f" and {len(numbers) - 20} more" if len(numbers) > 20 else ""
    return f"trial {shown}" if len(numbers) == 1 else f"trials {shown}{more}"


def _workers(status: StudyStatus, width: int | None, *, all_workers: bool) -> list[str]:
    workers = status.workers
    if not workers:
        return [f"{'workers':<{INDENT}}none"]
    counts = Counter(worker.state for worker in workers)
    summary = ", ".join(f"{count} {state}" for state, count in counts.most_common())
    head = _wrapped("workers", f"{len(workers)}: {summary}", width)
    listed: Iterable[WorkerStatus] = workers
    left_out = ""
    if len(workers) > MOST_LISTED and not all_workers:
        odd = [worker for worker in workers if _is_odd(worker)]
        head += _pending(workers, width)
        listed = odd[:MOST_ODD]
        rest = len(workers) - len(odd[:MOST_ODD])
        left_out = f"  ({rest} {'more' if odd else 'workers'}, one line each: {hint('status', status.name, '--all')})"
    rows = [_cells(worker, lease=worker.seen_s) for worker in listed]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        text = "  " + "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True) if w)
        head.append(_cut(text.rstrip(), width))
    return [*head, left_out] if left_out else head


def _is_odd(worker: WorkerStatus) -> bool:
    """Whether a worker is neither running a trial nor pending."""
    return worker.state not in ("running", "pending") or (worker.state == "running" and worker.trial is None)


def _pending(workers: Sequence[WorkerStatus], width: int | None) -> list[str]:
    """Pending workers by reason."""
    reasons = Counter((worker.reason, worker.gloss) for worker in workers if worker.state == "pending")
    lines: list[str] = []
    for (reason, gloss), n in reasons.most_common():
        lines += _wrapped("", f"{n} pending: {reason or 'no reason yet'}{f' ({gloss})' if gloss else ''}", width)
    return lines


def _cells(worker: WorkerStatus, *, lease: float | None) -> tuple[str, ...]:
    """The columns of one worker: name, state, node, GPU, trial, last sign of life, and why it is pending."""
    who = worker.worker or f"pid {worker.pid}" if worker.job == "local" else worker.job
    state = worker.state
    if worker.word and worker.word.lower() not in (state, "running", "completing"):
        state += f" {worker.word}"
    trial = ""
    if worker.trial is not None:
        again = f"/{worker.attempt}" if worker.attempt and worker.attempt > 1 else ""
        since = f" for {_span(worker.trial_s)}" if worker.trial_s is not None else ""
        trial = f"trial {worker.trial}{again}{since}"
        if (others := len(worker.trials) - 1) > 0:
            trial = f"trial {worker.trial}{again} and {others} with it{since}"
    seen = f"seen {_span(lease)} ago" if lease is not None else ""
    gloss = f" ({worker.gloss})" if worker.gloss else ""
    gpus = f"GPU {named_gpus(worker.gpus, worker.gpu_count)}" if worker.gpus else ""
    cells = (who, state, worker.node, gpus, trial, seen, worker.doubt or f"{worker.reason}{gloss}")
    return tuple(map(one_line, cells))


def _span(seconds: float | None) -> str:
    """``12 s``, else ``1:02:03``."""
    if seconds is None:
        return "?"
    return f"{seconds:.0f} s" if seconds < 60 else format_walltime(seconds)


def _wrapped(label: str, text: str, width: int | None) -> list[str]:
    text = one_line(text)
    if width is None:
        return [f"{label:<{INDENT}}{text}"]
    room = max(20, width - INDENT)
    parts = folded(text, room, indent="  " if not label else "") or [""]
    return [f"{label if i == 0 else '':<{INDENT}}{part}" for i, part in enumerate(parts)]


def _cut(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else text[: max(1, width - 1)] + "…"
