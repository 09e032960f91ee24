"""Reads the options of a script from what it prints with ``--help``: argparse, click, typer, tyro, jsonargparse."""

from __future__ import annotations

import os
import re
import signal
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.errors import CommandMissing
from hpo_batch.init.option import Kind, Option, as_value, kind_of

LIMIT_S: Final = 180.0
"""for a script to say what it takes: importing transformers took over a minute on a busy machine"""
_NO_OPTIONS: Final = ("help", "version", "h", "install-completion", "show-completion", "print_config")
"""what parsers add by themselves; jsonargparse has ``--model.help``"""
_BYTES: Final = 1 << 20
_COLUMNS: Final = 240
# wide, plain and without a GPU; COLUMNS is argparse's and rich's, TERMINAL_WIDTH typer's
_ENVIRONMENT: Final = {
    **dict.fromkeys(("COLUMNS", "TERMINAL_WIDTH"), str(_COLUMNS)),
    "NO_COLOR": "1",
    "PYTHON_COLORS": "0",
    "TERM": "dumb",
    "CUDA_VISIBLE_DEVICES": "",
    "PAGER": "cat",
}
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]{0,1000}(?:\x07|\x1b\\)|[@-Z\\^_])")
# the frames that rich draws around typer's and tyro's sections
_FRAME = re.compile("[\N{BOX DRAWINGS LIGHT HORIZONTAL}-\N{BOX DRAWINGS LIGHT DIAGONAL CROSS}]")
_DECLARED = re.compile(r"(?:\*\s+)?(-{1,2}(?:\[no\])?[A-Za-z][^\s,/|=\[{]*)")
_NUMBER: Final = r"(-?\d{1,20}(?:\.\d{0,20})?(?:e[+-]?\d{1,3})?)"
# of click, [default: 1; 1<=x<=8], and of typer, <int range> [x>=1]
_LEAST = re.compile(rf"(?<![\w.]){_NUMBER}<=?x\b|\bx>=?{_NUMBER}")
_MOST = re.compile(rf"\bx<=?{_NUMBER}")
# metavars of typer: <float range> [0<=x<=1], <list[int]>, <float,float>..., <sgd|adam>; and of click: [sgd|adam]
_ANGLES: Final = r"<[^>]+>(?:\.\.\.)?(?: \[[^\]]*\])?"
_BARS: Final = r"\[[^\]\s]+(?:\|[^\]\s]+)+\]"
_TITLE = re.compile(r"(?:[a-z]+ )?(?:options|arguments|commands|subcommands)")
_DEFAULT = re.compile(r"\bdefaults?(?: to|:| is|=)?:?\s*('[^']*'|\"[^\"]*\"|[^\s;,)\]]+)", re.IGNORECASE)
# what argparse adds at the end; an author's text may have said "default" before
_DEFAULT_OF_ARGPARSE = re.compile(r"\(default: ('[^']*'|\"[^\"]*\"|[^\s;,)\]]+)\)$")
# HfArgumentParser: a boolean with an optional value, --fp16 [FP16]
_OPTIONAL = re.compile(r"\[[A-Z][A-Z0-9_]*\](?:[\s,]+\[[A-Z][A-Z0-9_]*\])*")
# of Transformers 5: warmup_steps is a number of steps, or a share of them
_SHARE = re.compile(r"\bfloat in (?:range )?`?\[0, ?1\)")
# jsonargparse: Union[float, null], and Union[float, Untyped] for an argument with a default and no annotation
_UNION = re.compile(r"\b[Tt]ype:\s*(?:Union|Optional)\[([\w, ]{1,200})\]")
_NUMBERS: Final = frozenset(("int", "float"))
_NOTHING: Final = frozenset(("null", "None", "NoneType", "Untyped"))
# click and typer divide the values of a list so, and what else they say of a default by semicolons
_SEVERAL = re.compile(r"\[default: [^\s,;\]]+, [^\]]")
_REQUIRED = re.compile(r"[\[(;]\s*required\b", re.IGNORECASE)
_KINDS: Final = (
    (re.compile(r"\b(?:float|number|double)\b", re.IGNORECASE), Kind.REAL),
    (re.compile(r"\b(?:int|integer)\b", re.IGNORECASE), Kind.INTEGER),
    (re.compile(r"\b(?:path|file|filename|directory|dir|folder)\b", re.IGNORECASE), Kind.PATH),
    (re.compile(r"\b(?:bool|boolean)\b|\{(?:true,false|false,true)\}", re.IGNORECASE), Kind.BOOLEAN),
    (re.compile(r"\b(?:str|text|string)\b", re.IGNORECASE), Kind.TEXT),
)


@dataclass(frozen=True, kw_only=True)
class Help:
    """What a script printed."""

    options: tuple[Option, ...]
    subcommands: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class NoHelp:
    """Why there is no help message."""

    why: str


def ask(argv: Sequence[str], *, limit_s: float = LIMIT_S) -> Help | NoHelp:
    """Run a script with ``--help``, without a GPU, and end whatever it has started.

    Args:
        argv: the command, without ``--help``.
        limit_s: seconds after which it is killed.
    """
    command = [*argv, "--help"]
    with tempfile.TemporaryDirectory(prefix="hpo-batch-") as folder:
        out, err = Path(folder) / "stdout", Path(folder) / "stderr"
        try:
            process = processes.start(command, stdout=out, stderr=err, env={**os.environ, **_ENVIRONMENT})
        except (CommandMissing, OSError) as error:
            return NoHelp(why=str(error))
        try:
            code = processes.wait(process, limit_s)
        finally:
            processes.signal_group(process, signal.SIGKILL)
            processes.wait(process, limit_s)
        printed, errors = _text(out), _text(err)
    if code is None:
        return NoHelp(why=f"it had not ended after {limit_s:g} s")
    found = parse(printed if code == 0 and printed.strip() else f"{printed}\n{errors}")  # fire prints it as an error
    if not found.options and not found.subcommands:
        last = [line.strip() for line in (errors or printed).splitlines() if line.strip()][-1:]
        said = f": {last[0][:200]}" if last else ""
        return NoHelp(why=f"it ended with exit code {code}{said}" if code else "it names no options")
    return found


def parse(text: str) -> Help:
    """The options in a help message."""
    lines = [_FRAME.sub(" ", line).rstrip() for line in _ESCAPES.sub("", text).expandtabs().splitlines()]
    required = _required_in_usage(lines)
    options: dict[str, Option] = {}
    for declared, told in _entries(lines):
        option = _option(declared, told, required=required)
        if option is not None and option.name.rpartition(".")[2] not in _NO_OPTIONS:
            options.setdefault(option.flag, option)
    positional = _positional(lines)
    return Help(options=(*options.values(), *positional), subcommands=tuple(_subcommands(lines)))


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_BYTES).decode(errors="replace")


def _entries(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each option as declared, and what the message says of it, on one line each."""
    declared, told, column = "", "", 0
    for line in lines:
        indent = len(line) - len(line.lstrip())
        is_new = bool(indent) and _DECLARED.match(line.lstrip()) is not None and not (column and indent >= column)
        if is_new:
            if declared:
                yield declared, told
            declared, told, column = _split(line)
        elif declared and line.strip() and indent > 2:
            told = f"{told} {line.strip()}".strip()
            column = column or indent
        elif declared:
            yield declared, told
            declared, told, column = "", "", 0
    if declared:
        yield declared, told


def _split(line: str) -> tuple[str, str, int]:
    """The declaration, the text behind it and the column where that begins; 0 if there is none.

    Two blanks divide them, and typer's declaration has columns of its own.
    """
    parts = [(found[0], found.start()) for found in re.finditer(r"\S+(?: \S+)*", line)]
    parts = parts[1:] if parts[0][0] == "*" else parts
    count = 1
    while count < len(parts) and _is_declaration(parts[count][0]):
        count += 1
    told = parts[count:]
    declared = " ".join(text for text, _ in parts[:count]).removeprefix("* ")
    return declared, "  ".join(text for text, _ in told), told[0][1] if told else 0


def _is_declaration(part: str) -> bool:
    """A flag or a metavar in a column of its own, as typer draws them."""
    return re.fullmatch(rf"-[^\s]+(?:[ ,].*)?|[A-Z][A-Z_]{{1,20}}(?: RANGE)?|{_ANGLES}|{_BARS}", part) is not None


def _option(declared: str, told: str, *, required: frozenset[str]) -> Option | None:
    declared = re.sub(r"--\[no\]([\w.]+)", r"--\1 / --no-\1", declared) if declared.startswith("--[no]") else declared
    flags = re.findall(r"(?<![\w\]}])-{1,2}[A-Za-z][^\s,/|=\[\]{}<>]*", declared)
    if not flags:
        return None
    long = [flag for flag in flags if flag.startswith("--")] or flags
    flag = next((one for one in long if not one.startswith("--no-")), long[0])
    off = next((one for one in long if (one != flag and one.startswith(("--no-", "--no_"))) or _is_off(one, flag)), "")
    metavar = _metavar(declared, flags)
    default = _DEFAULT_OF_ARGPARSE.search(told) or _DEFAULT.search(told)
    value = as_value(default[1].rstrip(".")) if default else None
    is_flag = bool(off) or metavar in ("", "<bool>")  # which is typer's word for a flag
    choices = _choices(metavar)
    kind = _kind(metavar, told, value, choices)
    if is_flag:
        # click says [default: no-amp]
        kind, value = Kind.BOOLEAN, value if isinstance(value, bool) else value == flag.lstrip("-")
    if kind is Kind.REAL and isinstance(value, int) and not isinstance(value, bool):
        value = float(value)
    is_required = _REQUIRED.search(told) is not None or bool(required & set(flags))
    low, high = (_bound(pattern.search(f"{metavar} {told}")) for pattern in (_LEAST, _MOST))
    if _SHARE.search(told):
        low, high = 0.0, 1.0
    return Option(
        flag=flag,
        off=off,
        kind=kind,
        default=value,
        choices=choices,
        is_required=is_required,
        is_flag=is_flag,
        low=low,
        high=high,
    )


def _bound(found: re.Match[str] | None) -> float | None:
    return float(next(text for text in found.groups() if text)) if found else None


def _is_off(one: str, flag: str) -> bool:
    """tyro: ``--model.no-amp`` switches ``--model.amp`` off."""
    return one != flag and one.replace(".no-", ".").replace(".no_", ".") == flag


def _metavar(declared: str, flags: Sequence[str]) -> str:
    rest = declared
    for flag in flags:
        rest = rest.replace(flag, " ", 1)
    return rest.strip(" ,/|=*")


def _choices(metavar: str) -> tuple[bool | int | float | str, ...]:
    forms = (r"\{([^{}]+)\}", r"\[([^\[\]]+\|[^\[\]]+)\]", r"<([^<>]+\|[^<>]+)>")
    braces = next((found for form in forms if (found := re.search(form, metavar))), None)
    if braces is None:
        return ()
    # Python's True is a text: as a boolean it would be passed as `true`, which the script does not know
    parts = re.split(r"[,|]", braces[1])
    values = [part if part in ("True", "False") else as_value(part) for part in parts]
    return tuple(value for value in values if value is not None)


def _kind(metavar: str, told: str, value: object, choices: tuple[object, ...]) -> Kind:
    is_list = "..." in metavar or metavar.startswith(("<list", "<tuple")) or _SEVERAL.search(told) is not None
    is_switch = isinstance(value, bool) and _OPTIONAL.fullmatch(metavar) is not None
    if is_list or (metavar.startswith("[") and "|" not in metavar and not is_switch):
        return Kind.LIST
    union = _UNION.search(told)
    members = {one.strip() for one in union[1].split(",")} if union else set[str]()
    if members & _NUMBERS and members <= _NUMBERS | _NOTHING:
        return Kind.REAL if "float" in members else Kind.INTEGER
    typed = re.search(r"\b[Tt]ype:\s*([^,;)]+?)(?:[,;)]|\s+[Dd]efault|$)", told)  # jsonargparse, fire
    if typed and re.search(r"(?i)\b(?:list|tuple|dict|set|sequence|union|callable)\b", typed[1]):
        return Kind.LIST
    if choices and not all(isinstance(choice, bool) for choice in choices):
        first = choices[0]
        return kind_of(first) if isinstance(first, bool | int | float | str) else Kind.TEXT
    of_metavar = next((kind for pattern, kind in _KINDS if pattern.search(metavar)), Kind.UNKNOWN)
    of_text = next((kind for pattern, kind in _KINDS if typed and pattern.search(typed[1])), Kind.UNKNOWN)
    known = of_text if of_text is not Kind.UNKNOWN else of_metavar
    if known is Kind.UNKNOWN and isinstance(value, bool | int | float | str):
        return kind_of(value)
    return known


def _required_in_usage(lines: Sequence[str]) -> frozenset[str]:
    """Flags in the usage that stand outside brackets, as argparse prints those that are required."""
    usage = _usage(lines)
    before = None
    while before != usage:
        before, usage = usage, re.sub(r"\[[^\[\]]*\]", " ", usage)
    return frozenset(re.findall(r"(?<!\S)\(?(-{1,2}[A-Za-z][^\s|)\]]*)", usage))


def _usage(lines: Sequence[str]) -> str:
    start = next((i for i, line in enumerate(lines) if re.match(r"\s*usage:", line, re.IGNORECASE)), None)
    if start is None:
        return ""
    rest = lines[start + 1 :]
    end = next((i for i, line in enumerate(rest) if not line.strip() or not line.startswith(" ")), len(rest))
    return " ".join(line.strip() for line in [lines[start], *rest[:end]])[:100_000]


def _positional(lines: Sequence[str]) -> Iterator[Option]:
    """Required words in a section of arguments."""
    optional = set(re.findall(r"\[([A-Za-z_][\w-]*)\](?!\.\.\.)", _usage(lines)))
    for line in _section(lines, ("positional arguments", "arguments")):
        found = re.match(r"\s{1,6}(\*)?\s*([A-Za-z_][\w-]*)(?:\s|$)", line)
        if found and not re.match(r"\s{12,}", line):
            name = found[2]
            has_default = "default" in line.lower() and not _REQUIRED.search(line)
            is_required = name not in optional and not has_default
            yield Option(flag=name.lower(), is_positional=True, is_required=is_required, kind=Kind.UNKNOWN)


def _subcommands(lines: Sequence[str]) -> Iterator[str]:
    for line in _section(lines, ("commands", "subcommands", "available subcommands")):
        found = re.match(r"\s{1,8}([a-z][\w-]*)(?:\s|$)", line)
        if found:
            yield found[1]
    braces = re.search(r"(?<![\w-] )(?<!\w)\{([a-z][\w-]*(?:,[a-z][\w-]*)*)\}\s*\.\.\.", _usage(lines))
    if braces:
        yield from braces[1].split(",")


def _section(lines: Sequence[str], titles: Sequence[str]) -> Iterator[str]:
    """Lines below a title, up to the next one."""
    inside = False
    for line in lines:
        text = line.strip().rstrip(":").lower()
        is_title = _TITLE.fullmatch(text) is not None or (line.strip() and not line.startswith(" "))
        if is_title:
            inside = text in titles
        elif inside and not _DECLARED.match(line.strip()):
            yield line
