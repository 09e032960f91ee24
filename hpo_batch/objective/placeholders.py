"""The command line of ``[objective] command``: split first, filled after, so that no value is ever read by a shell.

``{name}`` is a parameter, ``{{`` and ``}}`` are braces. There are no formats, attributes or indices: a name is looked
up as it stands, or refused.
"""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.records import Value
from hpo_batch.text.names import listed, nearest

LISTS: Final = ("args", "hyphen_args", "overrides")
"""placeholders that become several arguments"""
FACTS: Final = (
    *("trial_number", "trial_attempt", "trial_seed"),
    *("trial_dir", "checkpoint_dir", "metrics_file", "stop_file"),
)
BUILT_IN: Final = (*LISTS, "params_json", *FACTS)

# What Hydra reads as a plain text. Everything else is quoted, and so are the words that are values of other types.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_HYDRA_KEY = re.compile(r"\+{0,2}hydra\.[\w./@]+=")
_HYDRA_VALUE = re.compile(r"[A-Za-z0-9_./-]*")
_HYDRA_WORDS = frozenset({"true", "false", "null", "nan", "inf"})


@dataclass(frozen=True)
class _Placeholder:
    name: str


@dataclass(frozen=True, kw_only=True)
class Template:
    """A command line, checked and ready to be filled."""

    items: tuple[tuple[str | _Placeholder, ...], ...]

    @classmethod
    def parse(cls, command: str | Sequence[str]) -> Template:
        """Raises UserError for unbalanced quotes or braces, and for ``{args}`` inside of an argument."""
        items = tuple(tuple(_parts(item)) for item in split(command))
        if not items:
            raise UserError("the command is empty")
        for text, item in zip(split(command), items, strict=True):
            lists = [part.name for part in item if isinstance(part, _Placeholder) and part.name in LISTS]
            if lists and len(item) > 1:
                message = f"command: '{{{lists[0]}}}' becomes several arguments and must be one of its own"
                raise UserError(f"{message}, but stands in '{text}'")
        return cls(items=items)

    @property
    def names(self) -> set[str]:
        return {part.name for item in self.items for part in item if isinstance(part, _Placeholder)}

    def fill(self, params: Mapping[str, Value], facts: Mapping[str, str]) -> list[str]:
        """The arguments for one trial. ``facts`` are the values of ``FACTS``.

        Raises:
            UserError: a placeholder names nothing that this trial has.
        """
        texts = {
            **{name: as_text(value) for name, value in params.items()},
            "params_json": json.dumps(dict(params), ensure_ascii=False),
            **facts,
        }
        argv: list[str] = []
        for item in self.items:
            match item:
                case (_Placeholder("args"),):
                    argv += as_args(params)
                case (_Placeholder("hyphen_args"),):
                    argv += as_args({name.replace("_", "-"): value for name, value in params.items()})
                case (_Placeholder("overrides"),):
                    argv += as_overrides(params)
                case _:
                    text = "".join(part if isinstance(part, str) else _look_up(part.name, texts) for part in item)
                    argv.append(_quoted_for_hydra(text) if _HYDRA_KEY.match(str(item[0])) else text)
        return argv


def split(command: str | Sequence[str]) -> tuple[str, ...]:
    """The arguments as written: a string is split as a shell would, and never after."""
    if not isinstance(command, str):
        return tuple(command)
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise UserError(f"command {command!r} cannot be split: {error}; write it as a list of arguments") from None


def placeholders(command: str | Sequence[str]) -> set[str]:
    """All names in braces.

    Raises:
        UserError: the command cannot be read.
    """
    return Template.parse(command).names


def check_placeholders(
    command: str | Sequence[str], known: Collection[str], maybe_inactive: Collection[str]
) -> list[str]:
    """What is wrong with the placeholders of a command, one message each.

    Args:
        command: as in ``[objective] command``.
        known: names of all parameters, fixed and derived ones included.
        maybe_inactive: those that some trials do not have.
    """
    try:
        names = placeholders(command)
    except UserError as error:
        return [str(error)]
    mistakes = []
    if "hyphen_args" in names:
        same = Counter(name.replace("_", "-") for name in known)
        mistakes += [
            f"command: {{hyphen_args}} makes one option --{one} of several" for one, n in same.items() if n > 1
        ]
    for name in sorted(names):
        if name in known and name in BUILT_IN:
            mistakes.append(f"command: '{{{name}}}' has a meaning of its own: give the parameter '{name}' another name")
        elif name not in known and name not in BUILT_IN:
            mistakes.append(_unknown(name, known))
        elif name in maybe_inactive and name not in BUILT_IN:
            mistakes.append(
                f"command: '{{{name}}}' is inactive in some trials and cannot be filled there; {{args}}, {{overrides}} "
                "and {params_json} leave out what is inactive"
            )
    return mistakes


def as_text(value: Value) -> str:
    """A value as an argument: text as it is, numbers exact, true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def as_args(params: Mapping[str, Value]) -> list[str]:
    """``--name value`` for each parameter; true is a bare flag, false is left out."""
    argv: list[str] = []
    for name, value in params.items():
        if isinstance(value, bool):
            argv += [f"--{name}"] if value else []
        elif (text := as_text(value)).startswith("-"):
            # argparse takes "-1e-05" or "-x" after a blank for an option (until Python 3.14)
            argv.append(f"--{name}={text}")
        else:
            argv += [f"--{name}", text]
    return argv


def as_overrides(params: Mapping[str, Value]) -> list[str]:
    """``name=value`` for each parameter, in the grammar of Hydra's command line."""
    return [
        f"{name}={_hydra_text(value) if isinstance(value, str) else as_text(value)}" for name, value in params.items()
    ]


def _quoted_for_hydra(text: str) -> str:
    """``hydra.run.dir={trial_dir}``: a folder with signs that Hydra's grammar reads becomes a quoted text."""
    key, _, value = text.partition("=")
    if _HYDRA_VALUE.fullmatch(value) or value[:1] in ("'", '"', "[", "{"):
        return text
    return (
        f"{key}='"
        + re.sub(r"(?<!\\)(\\*+)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), value)
        + "'"
    )


def _hydra_text(text: str) -> str:
    if _PLAIN.match(text) and text.lower() not in _HYDRA_WORDS:
        return text
    # "${" is an interpolation also inside quotes. Backslashes count only before "${" and before a quote.
    text = re.sub(r"(?<!\\)(\\*+)\$\{", r"\1\1\\${", text)
    text = re.sub(r"(?<!\\)(\\*+)('|\Z)", lambda found: found[1] * 2 + ("\\'" if found[2] else ""), text)
    return f"'{text}'"


def _parts(item: str) -> Iterator[str | _Placeholder]:
    """The literal texts and the placeholders of one argument."""
    literal = ""
    i = 0
    while i < len(item):
        character = item[i]
        if character not in "{}":
            literal += character
        elif item[i : i + 2] == character * 2:
            literal += character
            i += 1
        elif character == "}":
            raise UserError(f"command: '}}' without '{{' in '{item}'; a brace itself is written '}}}}'")
        else:
            end = item.find("}", i)
            name = item[i + 1 : end]
            if end < 0 or "{" in name:
                raise UserError(f"command: '{{' without '}}' in '{item}'; a brace itself is written '{{{{'")
            if literal:
                yield literal
                literal = ""
            yield _Placeholder(name)
            i = end
        i += 1
    if literal or not item:
        yield literal


def _look_up(name: str, texts: Mapping[str, str]) -> str:
    if name not in texts:
        raise UserError(_unknown(name, texts))
    return texts[name]


def _unknown(name: str, known: Collection[str]) -> str:
    names = [*known, *(b for b in BUILT_IN if b not in known)]
    guess = nearest(name, names)
    hint = f"did you mean '{{{guess}}}'?" if guess else f"known are {listed(names, most=20)}"
    return f"command: '{{{name}}}' is not a parameter; {hint}; for the braces themselves write '{{{{{name}}}}}'"
