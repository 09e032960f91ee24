"""Shell lines that run a trial again outside its study, with the same parameters and seed, in a separate folder."""

from __future__ import annotations

import json
import re
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from hpo_batch.errors import UserError
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.variables import environment, placeholder_values
from hpo_batch.records import Attempt, TrialRecord
from hpo_batch.store.attempt_folder import CHECKPOINT
from hpo_batch.store.frozen import setting
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import Submission, workdir_of
from hpo_batch.text.lines import one_line, shell_word

# what bash can export: https://www.gnu.org/software/bash/manual/html_node/Definitions.html ("name")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# bash's reserved words; a program of such a name must not stand first in a command
_KEYWORDS: Final = frozenset(
    ("if", "then", "else", "elif", "fi", "for", "while", "until", "do", "done", "case", "esac", "in", "select", "time")
)


class ByHand(Struct, frozen=True, kw_only=True):
    """Shell lines that run the trial again, outside the study."""

    lines: tuple[str, ...]
    notes: tuple[str, ...] = ()
    """differences from the original run"""


def shell_lines(
    home: StudyHome,
    record: TrialRecord,
    frozen: Mapping[str, Any] | None,
    submissions: Sequence[Submission],
) -> ByHand:
    """The lines, for bash. The trial writes into a new temporary folder; the study is not touched."""
    if frozen is None:
        return ByHand(lines=(), notes=("the frozen sweep cannot be read, so the command is unknown",))
    # stands for the folder that the shell creates with mktemp, since anybody may take a predictable name in /tmp first
    folder = _Folder(name=f"/{secrets.token_hex(16)}")
    last = record.attempts[-1] if record.attempts else None
    lines, notes = _where(home, frozen, submissions, last)
    exports, start = _environment(frozen)
    lines += exports
    if setting(frozen, "job", "setup", []):
        setup = one_line("; ".join(map(str, setting(frozen, "job", "setup", []))))
        notes.append(f"on the nodes [job] setup ran first: {setup}")
    readable = re.sub(r"[^A-Za-z0-9._-]", "-", home.name)
    lines.append(f'dir=$(mktemp -d "${{TMPDIR:-/tmp}}/hpo-batch-{readable}-{record.number}.XXXXXX")')
    lines.append('echo "in $dir" >&2')
    try:
        if setting(frozen, "objective", "function", None) is not None:
            lines.append(start + _function_line(record, frozen, folder))
        else:
            lines += _command_lines(record, frozen, folder, start)
    except UserError as error:
        return ByHand(lines=(), notes=(*notes, f"the command cannot be filled: {error}"))
    # in a subshell, so that the user's shell keeps its directory and variables, and does not end with set -e
    return ByHand(lines=("( set -e", *lines, ")"), notes=tuple(notes))


class _Folder(Struct, frozen=True, kw_only=True):
    """Where the trial writes: ``$dir`` in the shell, ``name`` in our texts until they are quoted."""

    name: str

    def quoted(self, text: str) -> str:
        """A word for the shell, with ``$dir`` in place of the name."""
        return '"$dir"'.join(shell_word(part) if part else "" for part in text.split(self.name)) or "''"


def _environment(frozen: Mapping[str, Any]) -> tuple[list[str], str]:
    """Lines that export the trial's variables, and the prefix of its command for those that no shell can export."""
    cpus = int(setting(frozen, "job", "cpus", 1))
    env = {name: str(cpus) for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")}
    env |= {name: str(value) for name, value in (setting(frozen, "objective", "env", {}) or {}).items()}
    # env(1) sets any name, such as "X.2", which is no identifier in bash
    exports = [f"export {name}={shell_word(value)}" for name, value in env.items() if _NAME.fullmatch(name)]
    others = [shell_word(f"{name}={value}") for name, value in env.items() if not _NAME.fullmatch(name)]
    return exports, "".join(f"{word} " for word in ("env", *others)) if others else ""


def _function_line(record: TrialRecord, frozen: Mapping[str, Any], folder: _Folder) -> str:
    last = record.attempts[-1] if record.attempts else None
    has_gpu = bool(last and last.gpus) or setting(frozen, "job", "device", "auto") == "cuda"
    arguments = {
        "params": dict(record.params),
        "seed": record.seeds[0] if record.seeds else 0,
        "number": record.number,
        "cpus": int(setting(frozen, "job", "cpus", 1)),
        "device": "cuda" if has_gpu else "cpu",
        "name": record.name,
    }
    python = setting(frozen, "job", "python", None) or shlex.quote(sys.executable)
    words = ", ".join(f"{name}={_literal(value)}" for name, value in arguments.items())
    imports = "import sys; from hpo_batch.objective.standalone import by_hand"
    function = _literal(setting(frozen, "objective", "function", None))
    code = f"{imports}; by_hand({function}, {words}, dir=sys.argv[1])"
    return f"{python} -c {shell_word(code)} {folder.quoted(folder.name)}"


def _command_lines(record: TrialRecord, frozen: Mapping[str, Any], folder: _Folder, start: str) -> list[str]:
    """Raises UserError if the command's placeholders do not fit the trial."""
    path = Path(folder.name)
    seed = record.seeds[0] if record.seeds else 0
    facts = placeholder_values(folder=path, checkpoint=path / CHECKPOINT, number=record.number, attempt=1, seed=seed)
    argv = Template.parse(setting(frozen, "objective", "command", "")).fill(record.params, facts)
    lines = [f"mkdir -p {folder.quoted(f'{folder.name}/{CHECKPOINT}')}"]
    lines += [f"export {name}={folder.quoted(value)}" for name, value in environment(facts, record.params).items()]
    program, *words = (folder.quoted(word) for word in argv)
    if not start and (program in _KEYWORDS or not re.fullmatch(r"[\w./-]+", program, re.ASCII)):
        program = f'"$(type -P -- {program})"'  # else bash reads an assignment (A=1), a keyword or a job (%1)
    return [*lines, start + " ".join((program, *words))]


def _literal(value: object) -> str:
    """Python source with double quotes, readable inside the shell's single quotes."""
    if isinstance(value, str):
        return one_line(json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f"))
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_literal(name)}: {_literal(inner)}" for name, inner in value.items()) + "}"
    return repr(value)


def _where(
    home: StudyHome, frozen: Mapping[str, Any], submissions: Sequence[Submission], last: Attempt | None
) -> tuple[list[str], list[str]]:
    """Lines that change to the directory where the trial ran, and notes on what has changed there since."""
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
            notes.append(f"it ran with git commit {commit[:12]}{changed}{diff}; the code there may have changed since")
    if workdir is None:
        notes.append("first change to the directory where the sweep was submitted")
    cwd = setting(frozen, "objective", "cwd", None)
    return [
        f"cd {shell_word(f'./{place}' if place.startswith('-') else place)}" for place in (workdir, cwd) if place
    ], notes
