"""All that a study knows of one trial, in words: where it came from, who ran it, what happened, how to run it again."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from hpo_batch.errors import UserError
from hpo_batch.journal.attributes import ADOPTED
from hpo_batch.journal.state import JournalState
from hpo_batch.monitor.output import last_lines, streams, worker_log
from hpo_batch.objective.command import contract, facts_of
from hpo_batch.objective.placeholders import Template
from hpo_batch.records import Attempt, Cause, Reason, TrialRecord, TrialState, Value
from hpo_batch.store.attempt_archive import command_end
from hpo_batch.store.attempt_folder import CHECKPOINT, STREAMS
from hpo_batch.store.frozen import read_frozen, setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, workdir_of
from hpo_batch.text.lines import one_line, shell_word

SCHEMA_VERSION: Final = 1
LAST_LINES: Final = 10
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS: Final = frozenset(
    ("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "select", "time")
)
"""of the study: where imported trials are from"""
ENDINGS: Final = {
    "complete": "complete",
    "pruned": "pruned",
    Cause.TIME_LIMIT.value: "given back before the time limit",
    Cause.PREEMPTED.value: "given back: preempted",
    Cause.DRAINED.value: "given back: drained",
    Cause.CANCELLED.value: "given back: cancelled",
    Cause.CHECKPOINTED.value: "given back: exit code 75, to go on later",
    Cause.STORAGE.value: "given back: its files could not be written",
    Reason.LOST.value: "lost: its worker ended without a word",
}
"""others are failures, told by their reason"""


@dataclass(frozen=True, kw_only=True)
class AttemptStory:
    """One attempt, as told."""

    number: int
    worker: str
    job: str
    node: str
    gpus: tuple[str, ...]
    """that its worker saw; of several ranks the first one's"""
    gpu_count: float
    """that it held: of all its ranks, on all nodes; 1/k of one that k workers shared"""
    started: float
    """seconds since the epoch"""
    ended: float | None
    how: str
    """as in the journal; empty while it runs"""
    told: str
    """the same in words"""
    handed_on: bool
    """whether it left a newer checkpoint than it took over"""
    folder: str
    log: str
    """of its worker; empty if there is none any more"""


@dataclass(frozen=True, kw_only=True)
class ByHand:
    """Shell lines that run the trial again, outside the study."""

    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """what they cannot know"""


@dataclass(frozen=True, kw_only=True)
class Explanation:
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
    """the same in words, first to last"""
    revision: int
    """of the sweep, under which it was made"""
    current_revision: int
    repeats: int | None
    """the finished trial that it was answered from"""
    repeated_by: tuple[int, ...]
    """other trials with the same configuration"""
    attempts: tuple[AttemptStory, ...]
    reason: str | None
    message: str | None
    happened: tuple[str, ...]
    last_lines: tuple[str, ...]
    """of its stderr, else of its stdout, if it did not finish; empty if it printed nothing"""
    by_hand: ByHand

    def as_json(self) -> dict[str, Any]:
        return {"schema_version": SCHEMA_VERSION, **asdict(self)}


def explain(
    home: StudyHome,
    state: JournalState,
    number: int,
    *,
    submissions: Sequence[Submission],
    directory: str | None = None,
) -> Explanation:
    """The story of a trial.

    Args:
        state: with metrics.
        directory: where the trial is to write if it is run again; left out: a folder for temporary files.
    """
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
        by_hand=_by_hand(home, record, frozen, submissions, directory),
    )


def _attempt(
    home: StudyHome, trial: int, attempt: Attempt, submissions: Sequence[Submission], ending: Mapping[str, Any]
) -> AttemptStory:
    how = attempt.ending
    log = worker_log(home, attempt, submissions)
    return AttemptStory(
        number=attempt.number,
        worker=attempt.worker,
        job=attempt.job,
        node=attempt.host,
        gpus=attempt.gpus,
        gpu_count=attempt.gpu_count,
        started=attempt.started,
        ended=attempt.ended,
        how=how,
        told=ENDINGS.get(how, f"failed: {how}") if how else "still open",
        handed_on=bool(ending.get("moved")),
        folder=str(home.attempt(trial, attempt.number)),
        log=str(log) if log else "",
    )


def _came_from(record: TrialRecord, facts: Mapping[str, Any], frozen: Mapping[str, Any] | None) -> list[str]:
    told = [_origin(record, facts, frozen)] if record.origin != "import" else []
    if record.note:
        told.append(f"note: {record.note}")
    if facts.get("retry_of") is not None:
        told.insert(0, f"a retry of trial {facts['retry_of']}, with the same configuration")
    if facts.get("repeats") is not None:
        told.append(f"trial {facts['repeats']} has the same configuration: answered from it, not trained again")
    drawn = record.origin not in ("list", "baseline", "optuna", "enqueued", "import")
    told += _weights(record, frozen) if drawn else []
    return told


def _origin(record: TrialRecord, facts: Mapping[str, Any], frozen: Mapping[str, Any] | None) -> str:
    origin = record.origin
    if origin == "list":
        group = f", set {record.set}" if record.set else ""
        return f"given by hand: [[trial]] '{record.name}'{group}"
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
    """Of an imported trial, the file that it is from and what its columns were taken for."""
    if "adopted" not in facts:
        return []
    row, files = facts["adopted"], attrs.get(ADOPTED, {}).get("files", [])
    if row["file"] >= len(files):  # of a copy that somebody has made of the trials alone
        return [f"imported: trial {row['number']} of a file that is not known any more"]
    one = files[row["file"]]
    digest = f" (sha256 {one['sha256']})" if one["sha256"] else ""
    columns = ", ".join(f"{ours} from column {theirs}" for ours, theirs in one["columns"].items())
    return [f"imported: trial {row['number']} of {one['source']}{digest}", *([columns] if columns else [])]


def _weights(record: TrialRecord, frozen: Mapping[str, Any] | None) -> list[str]:
    """The quotas that the trial's values belong to."""
    told = []
    for name, table in ((frozen or {}).get("space") or {}).items():
        if isinstance(table, dict) and table.get("weights") and name in record.params:
            weights = dict(zip(map(repr, table["choices"]), table["weights"], strict=False))
            weight = weights.get(repr(record.params[name]))
            if weight is not None:
                share = weight / sum(weights.values())
                told.append(f"{name} = {record.params[name]} has a quota of {share:.0%} of the drawn trials (weights)")
    return told


def _happened(
    home: StudyHome,
    record: TrialRecord,
    attempts: Sequence[AttemptStory],
    frozen: Mapping[str, Any] | None,
    facts: Mapping[str, Any],
) -> list[str]:
    """Sentences, in order."""
    told = []
    for earlier in attempts[:-1]:
        on = f"attempt {earlier.number} on {earlier.node}: {earlier.told}"
        kept = "; it left a checkpoint, from which the next one went on" if earlier.handed_on else ""
        told.append(on + kept + _policy(earlier.how, frozen, again=True))
    match record.state:
        case TrialState.COMPLETE:
            answered = "repeats" in facts
            told.append(f"complete, with the values of trial {facts['repeats']}" if answered else "complete")
        case TrialState.PRUNED:
            pruner = setting(frozen, "pruner", "name", "")
            told.append(f"pruned{f' by the pruner {pruner!r}' if pruner else ''}: it counts as finished")
        case TrialState.FAIL:
            reason = record.reason or "unknown"
            told.append(f"failed: {reason}: {record.message or 'no message'}{_policy(reason, frozen, again=False)}")
            told += _exit(home, record)
        case TrialState.RUNNING:
            told.append(f"attempt {attempts[-1].number} is running, or its worker was lost" if attempts else "running")
        case TrialState.WAITING:
            last = f": attempt {attempts[-1].number} was {attempts[-1].told}" if attempts else ""
            told.append(f"waits for its next attempt{last}")
    return told


def _policy(how: str, frozen: Mapping[str, Any] | None, *, again: bool) -> str:
    """What ``[failures]`` says of a reason."""
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


def _by_hand(
    home: StudyHome,
    record: TrialRecord,
    frozen: Mapping[str, Any] | None,
    submissions: Sequence[Submission],
    directory: str | None,
) -> ByHand:
    """Shell lines with the same parameters and seed, in a folder of their own: the study is not touched."""
    if frozen is None:
        return ByHand(lines=(), notes=("the frozen sweep cannot be read: what was run is not known",))
    # stands for a folder that the shell makes: one whose name can be told before may be somebody else's by then
    folder = directory or f"/{secrets.token_hex(16)}"
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", home.name)
    seed = record.seeds[0] if record.seeds else 0
    cpus = int(setting(frozen, "job", "cpus", 1))
    last = record.attempts[-1] if record.attempts else None
    lines, notes = _where(home, frozen, submissions, last)
    env = {name: str(cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    env |= {name: str(value) for name, value in (setting(frozen, "objective", "env", {}) or {}).items()}
    own = {name: value for name, value in env.items() if not _NAME.fullmatch(name)}  # no shell can export it
    lines += [f"export {name}={shell_word(value)}" for name, value in env.items() if name not in own]
    start = (
        "".join(f"{word} " for word in ("env", *(shell_word(f"{name}={value}") for name, value in own.items())))
        if own
        else ""
    )
    has_gpu = bool(last and last.gpus) or setting(frozen, "job", "device", "auto") == "cuda"
    python = setting(frozen, "job", "python", None) or shlex.quote(sys.executable)
    if setting(frozen, "job", "setup", []):
        setup = one_line("; ".join(map(str, setting(frozen, "job", "setup", []))))
        notes.append(f"on the nodes [job] setup came before: {setup}")
    if directory is None:
        lines.append(f'dir=$(mktemp -d "${{TMPDIR:-/tmp}}/hpo-batch-{readable}-{record.number}.XXXXXX")')
        lines.append('echo "in $dir" >&2')
    function = setting(frozen, "objective", "function", None)
    if function is not None:
        arguments = {
            "params": dict(record.params),
            "seed": seed,
            "number": record.number,
            "cpus": cpus,
            "device": "cuda" if has_gpu else "cpu",
            "name": record.name,
        }
        told = ", ".join(f"{name}={_literal(value)}" for name, value in arguments.items())
        imports = "import sys; from hpo_batch.objective.standalone import by_hand"
        code = f"{imports}; by_hand({_literal(function)}, {told}, dir=sys.argv[1])"
        return _in_subshell(
            [*lines, f"{start}{python} -c {shell_word(code)} {_in_folder(folder, folder, directory)}"], notes
        )
    facts = facts_of(
        folder=Path(folder), checkpoint=Path(folder) / CHECKPOINT, number=record.number, attempt=1, seed=seed
    )
    try:
        argv = Template.parse(setting(frozen, "objective", "command", "")).fill(record.params, facts)
    except UserError as error:
        return ByHand(lines=(), notes=(*notes, f"the command cannot be filled: {error}"))
    lines += [f"mkdir -p {_in_folder(f'{folder}/{CHECKPOINT}', folder, directory)}"]
    told_it = contract(facts, record.params).items()
    lines += [f"export {name}={_in_folder(value, folder, directory)}" for name, value in told_it]
    program, *words = (_in_folder(word, folder, directory) for word in argv)
    if not start and (program in _KEYWORDS or not re.fullmatch(r"[\w./-]+", program, re.ASCII)):
        program = f'"$(type -P -- {program})"'  # else an assignment, a keyword, a job
    return _in_subshell([*lines, start + " ".join((program, *words))], notes)


def _in_subshell(lines: Sequence[str], notes: Sequence[str]) -> ByHand:
    """The directory and the variables are not those of the reader's shell afterwards."""
    return ByHand(lines=("( set -e", *lines, ")"), notes=tuple(notes))


def _in_folder(text: str, folder: str, directory: str | None) -> str:
    """The same, where ``folder`` stands for the one that the lines have made."""
    if directory is not None:
        return shell_word(text)
    return '"$dir"'.join(shell_word(part) if part else "" for part in text.split(folder)) or "''"


def _literal(value: object) -> str:
    """Python source with double quotes: within the shell's single ones it stays readable."""
    if isinstance(value, str):
        return one_line(json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f"))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(inner)}" for name, inner in value.items()) + "}"
    return repr(value)


def _where(
    home: StudyHome, frozen: Mapping[str, Any], submissions: Sequence[Submission], last: Attempt | None
) -> tuple[list[str], list[str]]:
    """The line that goes to where the trial ran, and what differs there today."""
    submission = next((s for s in submissions if last is not None and s.id == last.submission), None)
    code = submission.code if submission is not None else {}
    notes = []
    if code.get("snapshot"):
        workdir: str | None = str(home.path / code["snapshot"])
    else:
        ran_in = None if submission is None else workdir_of(home, submission)
        workdir = None if ran_in is None else str(ran_in)
        commit = code.get("commit")
        if commit:
            changed = ", with uncommitted changes" if code.get("changed") else ""
            diff = f" ('{home.path / code['diff']}')" if code.get("diff") else ""
            notes.append(f"it ran with git commit {commit[:12]}{changed}{diff}; what lies there now may differ")
    if workdir is None:
        notes.append("go to the directory where the sweep was submitted first")
    cwd = setting(frozen, "objective", "cwd", None)
    return [
        f"cd {shell_word(f'./{place}' if place.startswith('-') else place)}" for place in (workdir, cwd) if place
    ], notes
