"""The history of a trial in words: where it came from, what ran it, what happened, and how to run it again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from hpo_batch.journal.attributes import ADOPTED
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.by_hand import ByHand, shell_lines
from hpo_batch.monitor.output import last_lines, streams, worker_log
from hpo_batch.monitor.reader import load_state, trial_numbers
from hpo_batch.records import Attempt, Cause, Reason, TrialRecord, TrialState, Value
from hpo_batch.store.attempt_archive import command_end
from hpo_batch.store.attempt_folder import STREAMS
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, read_submissions

# version of ``as_json``: new keys do not change it, and keys are never changed or removed
SCHEMA_VERSION: Final = 1
# enough for the end of a traceback; ``logs`` prints all of it
LAST_LINES: Final = 10
# the other endings are failures, shown by their reason
ENDINGS: Final = {
    "complete": "complete",
    "pruned": "pruned",
    Cause.TIME_LIMIT.value: "given back before the time limit",
    Cause.PREEMPTED.value: "given back: preempted",
    Cause.DRAINED.value: "given back: drained",
    Cause.CANCELLED.value: "given back: cancelled",
    Cause.CHECKPOINTED.value: "given back: exit code 75, to continue later",
    Cause.STORAGE.value: "given back: its files could not be written",
    Reason.LOST.value: "lost: its worker ended without recording why",
}


class AttemptStory(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt."""

    number: int
    worker: str
    job: str
    node: str
    gpus: tuple[str, ...]
    """the GPUs that its worker saw; with several ranks, the first one's"""
    gpu_count: float
    """GPUs it held: of all ranks on all nodes; 1/k of one shared by k workers"""
    fused: int
    """trials that its worker trained together, at most; 1: it had the worker for itself"""
    started: float
    """seconds since the epoch"""
    ended: float | None
    how: str
    """as in the journal; empty while it runs"""
    told: str
    """``how`` in words"""
    first_report_s: float | None
    """seconds from its start to its first report; None: unknown, or it has not reported"""
    handed_on: bool
    """whether it left a newer checkpoint than it started from"""
    folder: str
    log: str
    """its worker's log; empty if it is gone"""


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    study: str
    number: int
    name: str | None
    state: str
    values: tuple[float, ...] | None
    metrics: Mapping[str, float]
    params: Mapping[str, Value]
    seeds: tuple[int, ...]
    origin: str
    """as in the journal"""
    came_from: tuple[str, ...]
    """``origin`` in sentences, in order of time"""
    revision: int
    """the sweep's, when the trial was created"""
    current_revision: int
    repeats: int | None
    """the finished trial whose result was copied"""
    repeated_by: tuple[int, ...]
    """other trials with the same configuration"""
    attempts: tuple[AttemptStory, ...]
    reason: str | None
    message: str | None
    happened: tuple[str, ...]
    last_lines: tuple[str, ...]
    """of its stderr, else of its stdout, if it did not finish"""
    by_hand: ByHand

    def as_json(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, **msgspec.to_builtins(self)}


def explain(home: StudyHome, *trials: str) -> list[Explanation]:
    """Everything known about some trials.

    Args:
        trials: numbers, names or ranges (``1-3``).

    Raises:
        UserError: there is no such trial.
        StorageError: the study cannot be read.
    """
    state, submissions = load_state(home, metrics=True), read_submissions(home)
    return [_explain(home, state, number, submissions) for number in trial_numbers(state, *trials)]


def _explain(home: StudyHome, state: JournalState, number: int, submissions: Sequence[Submission]) -> Explanation:
    trial = state.trials[number]
    record = trial.record()
    frozen = read_frozen(home, record.revision or state.revision)
    attempts = tuple(_attempt(home, number, a, submissions, trial.ending(a.number)) for a in record.attempts)
    same = [t.number for t in state.trials if t.key is not None and t.key == trial.key and t.number != number]
    return Explanation(
        study=home.name,
        number=number,
        name=record.name,
        state=record.state.name,
        values=record.values,
        metrics=record.metrics,
        params=record.params,
        seeds=record.seeds,
        origin=record.origin,
        came_from=(*_adopted(trial.facts, state.attrs), *_came_from(record, trial.facts, frozen)),
        revision=record.revision,
        current_revision=state.revision,
        repeats=trial.facts.get("repeats"),
        repeated_by=tuple(same),
        attempts=attempts,
        reason=record.reason,
        message=record.message,
        happened=tuple(_happened(home, record, attempts, frozen, trial.facts)),
        last_lines=tuple(_last_lines(home, record)),
        by_hand=shell_lines(home, record, frozen, submissions),
    )


def _attempt(
    home: StudyHome, trial: int, attempt: Attempt, submissions: Sequence[Submission], ending: Mapping[str, Any]
) -> AttemptStory:
    how, used = attempt.ending, ending.get("usage")
    log = worker_log(home, attempt, submissions)
    return AttemptStory(
        number=attempt.number,
        worker=attempt.worker,
        job=attempt.job,
        node=attempt.host,
        gpus=attempt.gpus,
        gpu_count=attempt.gpu_count,
        fused=attempt.fused,
        started=attempt.started,
        ended=attempt.ended,
        how=how,
        told=ENDINGS.get(how, f"failed: {how}") if how else "still open",
        first_report_s=used.get("first_report_s") if isinstance(used, dict) else None,
        handed_on=bool(ending.get("moved")),
        folder=str(home.attempt(trial, attempt.number)),
        log=str(log) if log else "",
    )


def _came_from(record: TrialRecord, facts: Mapping[str, Any], frozen: Mapping[str, Any] | None) -> list[str]:
    sentences = [_origin(record, facts, frozen)] if record.origin != "import" else []
    if record.note:
        sentences.append(f"note: {record.note}")
    if facts.get("retry_of") is not None:
        sentences.insert(0, f"a retry of trial {facts['retry_of']}, with the same configuration")
    if facts.get("repeats") is not None:
        sentences.append(
            f"trial {facts['repeats']} has the same configuration: its result was copied, not trained again"
        )
    drawn = record.origin not in ("list", "baseline", "optuna", "enqueued", "import")
    sentences += _weights(record, frozen) if drawn else []
    return sentences


def _origin(record: TrialRecord, facts: Mapping[str, Any], frozen: Mapping[str, Any] | None) -> str:
    origin = record.origin
    if origin == "list":
        group = f", set {record.set}" if record.set else ""
        return f"listed in the sweep: [[trial]] '{record.name}'{group}"
    if origin == "baseline":
        return "the [baseline] of the sweep"
    if origin.startswith("extreme: "):
        end, _, name = origin.removeprefix("extreme: ").partition(" ")
        word = "smallest" if end == "min" else "largest"
        return f"a forced extreme ([sampler] extremes): the {word} value of {name}, the others at the middle"
    if origin == "enqueued":
        return "put into the queue with plain Optuna"
    if not facts:
        return "made with plain Optuna"
    sampler, seed = setting(frozen, "sampler", "name", ""), setting(frozen, "sampler", "seed", 0)
    covering = setting(frozen, "sampler", "coverage", [])
    if origin == sampler or not sampler:
        startup = setting(frozen, "sampler", "startup_trials", 0)
        early = origin == "tpe" and record.number < startup
        among = f"; one of the {startup} startup trials, most of which are drawn at random" if early else ""
        return f"drawn by the sampler '{origin}' (seed {seed}){among}"
    if origin == "coverage":
        return f"drawn in a cell of {', '.join(covering)} that nobody had tried ([sampler] coverage_share)"
    return f"drawn as '{origin}', for the sampler '{sampler}' (seed {seed})"


def _adopted(facts: Mapping[str, Any], attrs: Mapping[str, Any]) -> list[str]:
    """The file of an imported trial, and the meaning given to its columns."""
    if "adopted" not in facts:
        return []
    row, files = facts["adopted"], attrs.get(ADOPTED, {}).get("files", [])
    if row["file"] >= len(files):  # of a copy that somebody has made of the trials alone
        return [f"imported: trial {row['number']} of a file that is no longer known"]
    one = files[row["file"]]
    digest = f" (sha256 {one['sha256']})" if one["sha256"] else ""
    columns = ", ".join(f"{ours} from column {theirs}" for ours, theirs in one["columns"].items())
    return [f"imported: trial {row['number']} of {one['source']}{digest}", *([columns] if columns else [])]


def _weights(record: TrialRecord, frozen: Mapping[str, Any] | None) -> list[str]:
    """The quotas of the trial's values."""
    sentences = []
    for name, table in ((frozen or {}).get("space") or {}).items():
        if isinstance(table, dict) and table.get("weights") and name in record.params:
            weights = dict(zip(map(repr, table["choices"]), table["weights"], strict=False))
            weight = weights.get(repr(record.params[name]))
            if weight is not None:
                share = weight / sum(weights.values())
                sentences.append(
                    f"{name} = {record.params[name]} has a quota of {share:.0%} of the drawn trials (weights)"
                )
    return sentences


def _happened(
    home: StudyHome,
    record: TrialRecord,
    attempts: Sequence[AttemptStory],
    frozen: Mapping[str, Any] | None,
    facts: Mapping[str, Any],
) -> list[str]:
    """Sentences, in order."""
    sentences = []
    for one in attempts:
        if one.fused > 1:
            sentences.append(
                f"attempt {one.number} was one of up to {one.fused} in its process ([job] fuse); they share its output"
            )
    for earlier in attempts[:-1]:
        on = f"attempt {earlier.number} on {earlier.node}: {earlier.told}"
        kept = "; the next one continued from its checkpoint" if earlier.handed_on else ""
        sentences.append(on + kept + _policy(earlier.how, frozen, again=True))
    match record.state:
        case TrialState.COMPLETE:
            answered = "repeats" in facts
            sentences.append(f"complete, with the values of trial {facts['repeats']}" if answered else "complete")
        case TrialState.PRUNED:
            pruner = setting(frozen, "pruner", "name", "")
            sentences.append(f"pruned{f' by the pruner {pruner!r}' if pruner else ''}: it counts as finished")
        case TrialState.FAIL:
            reason = record.reason or "unknown"
            sentences.append(
                f"failed: {reason}: {record.message or 'no message'}{_policy(reason, frozen, again=False)}"
            )
            sentences += _exit(home, record)
        case TrialState.RUNNING:
            sentences.append(
                f"attempt {attempts[-1].number} is running, or its worker was lost" if attempts else "running"
            )
        case TrialState.WAITING:
            last = f": attempt {attempts[-1].number} was {attempts[-1].told}" if attempts else ""
            sentences.append(f"waiting for its next attempt{last}")
    return sentences


def _policy(how: str, frozen: Mapping[str, Any] | None, *, again: bool) -> str:
    """What ``[failures]`` says about a reason, as a remark in brackets."""
    policy = setting(frozen, "failures", how, None)
    if policy is None:
        return ""
    most = setting(frozen, "study", "max_attempts", 3)
    if policy == "retry":
        return f' ([failures] {how} = "retry", study.max_attempts = {most})'
    return "" if again else f' ([failures] {how} = "fail": not tried again; "retry" would)'


def _exit(home: StudyHome, record: TrialRecord) -> list[str]:
    """How a command ended."""
    if not record.attempts:
        return []
    facts = command_end(home.attempt(record.number, record.attempts[-1].number))
    try:
        code, signal, stopped = facts["exit_code"], facts["signal"], facts["stopped"]
    except KeyError:
        return []
    how = f"exit code {code}" if signal is None else f"signal {signal}"
    asked = f", told to stop: {stopped}" if stopped else ""
    return [f"the command ended with {how} after {facts.get('seconds', 0):.1f} s{asked}"]


def _last_lines(home: StudyHome, record: TrialRecord) -> list[str]:
    if record.state.finished or not record.attempts:
        return []
    folder = home.attempt(record.number, record.attempts[-1].number)
    for stream in reversed(STREAMS):
        for path in reversed(streams(folder)):  # of several seeds the last one that ran
            if path.name == stream and (lines := last_lines(path, LAST_LINES)):
                return lines
    return []
