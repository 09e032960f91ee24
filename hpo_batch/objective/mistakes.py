"""Errors and warnings about ``[objective]``, for ``check`` and ``submit``.

Most are about text that looks as if it were expanded but is not: no shell runs the command, only the command has
placeholders, and some variables are read before they could be set.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from hpo_batch.envvars import EnvVar
from hpo_batch.errors import UserError
from hpo_batch.expressions import parse
from hpo_batch.objective.labels import STEP, Label
from hpo_batch.objective.placeholders import (
    BUILT_IN,
    LISTS,
    as_args,
    check_placeholders,
    placeholders,
    split,
)
from hpo_batch.objective.variables import VARIABLES
from hpo_batch.text.names import nearest

if TYPE_CHECKING:
    from hpo_batch.sweep.schema import Objective, Sweep

AS_LIST: Final = 'command = ["sh", "-c", "..."]'
AT_START: Final = (
    *("PYTHONPATH", "PYTHONHASHSEED", "PYTHONOPTIMIZE", "PYTHONIOENCODING", "PYTHONUTF8", "PYTHONUNBUFFERED"),
    *("PYTHONWARNINGS", "PYTHONMALLOC", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONFAULTHANDLER"),
    *("LD_LIBRARY_PATH", "LD_PRELOAD", "MALLOC_ARENA_MAX", "GLIBC_TUNABLES"),
)
"""variables that a process reads only at start"""
OF_RANKS: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
_SCRIPT_BYTES: Final = 1 << 20
# bounds on what a check reads of the user's files
_MOST_CONFIGS: Final = 200

_OURS = re.compile(r"\$(?:\{\{?)?(HPO_BATCH_\w*)")
_OTHERS = re.compile(r"\$(?:\{\{?)?([A-Z][A-Z0-9_]+)\b")
_QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.")
_OPERATOR = re.compile(r"(?:^|\s)(&&|\|\|?|;|\d?>>?(?:&\d|\S*)|<|&>?)(?=\s|$)")
_BRACES = re.compile(r"(?<!\{)\{([A-Za-z_][\w.]*)\}(?!\})")


def mistakes(sweep: Sweep) -> list[str]:
    """Errors, one message each."""
    objective = sweep.objective
    names = {p.name for p in sweep.space.parameters} | set(sweep.space.derived)
    in_env = [f"objective.{text}" for text in _env_mistakes(objective, names, ranks=sweep.job.ranks)]
    in_env += [f"objective.{text}" for text in _printed_mistakes(objective)]
    if objective.command is None:
        return in_env
    optional = {p.name for p in sweep.space.parameters if p.when is not None}
    in_command = check_placeholders(objective.command, names, optional)
    in_command += _shell_mistakes(objective.command)
    if sweep.job.ranks > 1 and _program(split(objective.command)) == "srun":
        in_command.append("command: each rank of a worker runs the command already: remove srun")
    return [
        *(f"objective.{text}" if text.startswith("command") else f"objective.command: {text}" for text in in_command),
        *in_env,
    ]


def doubts(sweep: Sweep) -> list[str]:
    """Warnings, one message each."""
    objective = sweep.objective
    warnings = [
        f"env.{name}: each worker gets its own GPUs; this gives all workers the same"
        for name in objective.env
        if name == "CUDA_VISIBLE_DEVICES"
    ]
    if objective.command is not None:
        warnings += _command_doubts(sweep, objective)
    return [f"objective.{text}" for text in warnings]


def _printed_mistakes(objective: Objective) -> Iterator[str]:
    if objective.printed and objective.command is None:
        yield "printed is for commands; a function returns its result"
        return
    for name, text in objective.printed.items():
        try:
            Label.parse(text)
        except UserError as error:
            yield f"printed.{name}: {error}"
    names = {" ".join(text.split()): name for name, text in objective.printed.items()}  # the last one with each text
    for name, text in objective.printed.items():
        other = names[" ".join(text.split())]
        if other != name:
            yield f"printed.{name}: '{text}' finds the same number as printed.{other}"
    if objective.printed.keys() == {STEP}:
        yield "printed has a step and no metric"


def _env_mistakes(objective: Objective, names: set[str], *, ranks: int) -> Iterator[str]:
    known = {*names, *BUILT_IN}
    for name, value in objective.env.items():
        key = f"env.{name}"
        if not name or "=" in name or "\0" in name + value:
            yield f"{key}: not a valid name or value for an environment variable"
        elif name.startswith("HPO_BATCH_"):
            yield f"{key} has no effect: hpo-batch sets the variables with this prefix for each trial"
        elif objective.function is not None and name in AT_START:
            yield (
                f"{key} has no effect: a function runs in the worker, which reads it only when it starts; "
                f"set it in job.setup, or in the shell that submits"
            )
        elif ranks > 1 and name in OF_RANKS:
            yield f"{key} breaks the ranks: each has its own value"
    for key, value in (
        *((f"env.{name}", value) for name, value in objective.env.items()),
        ("cwd", objective.cwd or ""),
    ):
        filled = [name for name in _BRACES.findall(value) if name in known]
        if filled:
            variable = next((v for v, p in VARIABLES.items() if p == filled[0]), "")
            instead = f"the command can read ${variable}" if variable else "pass it to the command"
            yield f"{key}: '{{{filled[0]}}}' is not replaced, since only the command has placeholders; {instead}"
        ours = _OURS.search(value)
        if ours is not None:
            yield f"{key}: '${ours[1]}' is not expanded here"


def _shell_mistakes(command: str | Sequence[str]) -> Iterator[str]:
    """Shell syntax in a command, which is run without a shell."""
    try:
        words = split(command)
    except UserError:
        return
    for i, word in enumerate(words):
        # the argument of `sh -c` or `python -c` is code, where variables are expanded
        is_code = i > 0 and re.fullmatch(r"-[A-Za-z]*[ce]", words[i - 1]) is not None
        for name in dict.fromkeys(_OURS.findall(word)):
            if name not in VARIABLES:
                guess = nearest(name, VARIABLES)
                hint = f"did you mean '${guess}'?" if guess else f"there are {', '.join(VARIABLES)}"
                yield f"command: '${name}' has no value; {hint}"
            elif not is_code:
                placeholder = VARIABLES[name]
                hint = f"write {{{placeholder}}}, or {AS_LIST}" if placeholder else f"write {AS_LIST}"
                yield f"command: '${name}' is not expanded, since no shell runs the command; {hint}"
    if words and re.match(r"[A-Za-z_]\w*=", words[0]):
        name = words[0].partition("=")[0]
        yield f"command: '{words[0]}' is not a program; put {name} into [objective] env"
    if isinstance(command, str):
        for operator in dict.fromkeys(_OPERATOR.findall(_QUOTED.sub("Q", command))):
            yield f"command: '{operator}' is passed as an argument, since no shell runs the command; write {AS_LIST}"


def _command_doubts(sweep: Sweep, objective: Objective) -> Iterator[str]:
    assert objective.command is not None
    try:
        words, used = split(objective.command), placeholders(objective.command)
    except UserError:
        return
    names = [_file_of(word) if i and words[i - 1] == "-m" else word for i, word in enumerate(words[:4])]
    texts = {name: _script(name, objective.cwd) for name in names}
    script, text = next(((word, text) for word, text in texts.items() if text), ("", ""))
    yield from _hydra_doubts(words, used, script, text, objective.cwd)
    yield from _hyphen_doubts(sweep, used, script, text)
    yield from _unused_doubts(sweep, used, text)
    ways = ("RESULT", "hpo_batch", "METRICS_FILE")
    is_told = any(way in part for part in (text, *words) for way in ways)  # a word may add a callback of ours
    if script.endswith(".py") and text and "metrics_file" not in used and not is_told:
        yield from _printed_doubts(sweep, objective, script) if objective.printed else _report_doubts(script)
    for i, word in enumerate(words):
        if i > 0 and re.fullmatch(r"-[A-Za-z]*[ce]", words[i - 1]):
            continue
        for name in dict.fromkeys(_OTHERS.findall(word)):
            if not name.startswith("HPO_BATCH_"):
                yield f"command: '${name}' is not expanded, since no shell runs the command; or write {AS_LIST}"
        if word.startswith("~/"):
            yield f"command: '{word}' is not expanded, since no shell runs the command; write the whole path"
    if _program(words) == "srun" and sweep.job.is_local:
        yield "command: outside a job, srun requests one from SLURM for each trial and waits until it starts"


def _hydra_doubts(words: Sequence[str], used: set[str], script: str, text: str, cwd: str | None) -> Iterator[str]:
    imports = re.search(r"^\s*(?:import|from)\s+hydra\b", text, re.MULTILINE) is not None
    is_other = script.endswith(".py") and "hydra" not in text
    if not imports and ("overrides" not in used or is_other):
        return
    key = "hydra.sweep.dir" if {"-m", "--multirun"} & set(words[2:]) else "hydra.run.dir"
    if any(re.match(rf"\+{{0,2}}{re.escape(key)}=", word) for word in words) or _configs_mention_us(script, cwd):
        return
    yield (
        "command: Hydra names its folder outputs/DATE/TIME to the second, so trials that start together share one: "
        f"add {key}={{trial_dir}}"
    )


def _hyphen_doubts(sweep: Sweep, used: set[str], script: str, text: str) -> Iterator[str]:
    if "args" not in used:
        return
    for name in (p.name for p in sweep.space.parameters if "_" in p.name):
        hyphen = name.replace("_", "-")
        if _has_option(text, hyphen) and not _has_option(text, name):
            option = as_args({name: 1})[0]
            yield f"command: {{args}} passes {option}, but {script} takes --{hyphen}: write {{hyphen_args}}"


def _has_option(text: str, name: str) -> bool:
    return re.search(rf"[\"']--{re.escape(name)}[\"']", text) is not None


def _unused_doubts(sweep: Sweep, used: set[str], text: str) -> Iterator[str]:
    """Searched parameters that are not passed to the command."""
    if used & {*LISTS, "params_json"} or EnvVar.PARAMS in text:
        return
    if any(EnvVar.PARAMS in word for word in split(sweep.objective.command or "")):
        return
    inner = {name for expression in sweep.space.derived.values() for name in expression.names}
    unused = [p.name for p in sweep.space.searched if p.name not in used | inner]
    if unused:
        some = ", ".join(f"'{name}'" for name in unused[:8])
        yield f"command: it does not get {some}, unless it reads $HPO_BATCH_PARAMS"


def _report_doubts(script: str) -> Iterator[str]:
    """A script that looks as if no result came from it, as before anybody has told it of hpo-batch."""
    yield (
        f"command: {script} reports no result, unless a module that it imports does: call hpo_batch.report, or "
        "print a line 'RESULT: name=value'"
    )


def _printed_doubts(sweep: Sweep, objective: Objective, script: str) -> Iterator[str]:
    """What is missing if the printed numbers are all that comes from a script."""
    inputs = {name for text in sweep.metrics.values() for name in parse(text).names}
    missing = sorted({*sweep.study.metric, *inputs} - sweep.metrics.keys() - objective.printed.keys())
    if missing:
        some = ", ".join(f"'{name}'" for name in missing[:8])
        yield f"printed: it has no text for {some}, and {script} reports nothing, unless a module that it imports does"
    if sweep.pruner.name != "none" and STEP not in objective.printed:
        yield 'printed: without a step there is nothing to prune by: add step = "epoch {}", as the script prints it'


def _program(words: Sequence[str]) -> str:
    return Path(words[0]).name if words else ""


def _file_of(module: str) -> str:
    """The file of ``python -m package.module``."""
    return module.replace(".", "/") + ".py"


def _script(word: str, cwd: str | None) -> str:
    path = Path(cwd or ".") / word
    try:
        if path.suffix not in (".py", ".sh", ".bash") or not path.is_file():
            return ""
        with path.open("rb") as file:
            return file.read(_SCRIPT_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""


def _configs_mention_us(script: str, cwd: str | None) -> bool:
    """Whether a configuration file near a script uses one of our variables, for example for ``hydra.run.dir``."""
    if not script:
        return False
    folder = (Path(cwd or ".") / script).parent
    configs = [path for depth in ("*", "*/*", "*/*/*") for path in folder.glob(f"{depth}.y*ml")]
    for path in configs[:_MOST_CONFIGS]:
        try:
            if "HPO_BATCH_" in path.read_text(encoding="utf-8", errors="replace"):
                return True
        except OSError:
            continue
    return False
