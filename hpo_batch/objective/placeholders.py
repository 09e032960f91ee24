"""Fills the placeholders of ``[objective] command``, after splitting it, so that values are never parsed as shell text.

``{name}`` is a parameter, ``{{`` and ``}}`` are literal braces. Unlike ``str.format``, there are no formats, attributes
or indices, which would give access to internals of objects.
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
"""placeholders that expand to several arguments"""
FACTS: Final = (
    *("trial_number", "trial_attempt", "trial_seed"),
    *("trial_dir", "checkpoint_dir", "metrics_file", "stop_file"),
)
BUILT_IN: Final = (*LISTS, "params_json", *FACTS)

# Hydra reads this as unquoted text; everything else is quoted, as are words that Hydra reads as other types:
# https://hydra.cc/docs/advanced/override_grammar/basic/
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]*\Z")
_HYDRA_KEY = re.compile(r"\+{0,2}hydra\.[\w./@]+=")
_HYDRA_VALUE = re.compile(r"[A-Za-z0-9_./-]*")
_HYDRA_WORDS = frozenset({"true", "false", "null", "nan", "inf"})


@dataclass(frozen=True)
class _Placeholder:
    name: str


@dataclass(frozen=True, kw_only=True)
class Template:
    """A parsed command line."""

    items: tuple[tuple[str | _Placeholder, ...], ...]

    @classmethod
    def parse(cls, command: str | Sequence[str]) -> Template:
        """Parse a command; raises UserError for unbalanced quotes or braces, and for ``{args}`` within an argument."""
        items = tuple(tuple(_parts(item)) for item in split(command))
        if not items:
            raise UserError("the command is empty")
        for text, item in zip(split(command), items, strict=True):
            lists = [part.name for part in item if isinstance(part, _Placeholder) and part.name in LISTS]
            if lists and len(item) > 1:
                message = f"command: '{{{lists[0]}}}' expands to several arguments and must be a separate argument"
                raise UserError(f"{message}, but is part of '{text}'")
        return cls(items=items)

    @property
    def names(self) -> set[str]:
        return {part.name for item in self.items for part in item if isinstance(part, _Placeholder)}

    def fill(self, params: Mapping[str, Value], facts: Mapping[str, str]) -> list[str]:
        """The arguments for one trial. ``facts`` are the values of ``FACTS``.

        Raises:
            UserError: this trial has no value for a placeholder.
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
    """Split a command into arguments, like a shell would."""
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
    """Mistakes in the placeholders of a command, one message each.

    Args:
        command: as in ``[objective] command``.
        known: names of all parameters, including fixed and derived ones.
        maybe_inactive: conditional parameters.
    """
    try:
        names = placeholders(command)
    except UserError as error:
        return [str(error)]
    mistakes = []
    if "hyphen_args" in names:
        # a_b and a-b become the same option
        same = Counter(name.replace("_", "-") for name in known)
        mistakes += [
            f"command: with {{hyphen_args}} several parameters become --{one}" for one, n in same.items() if n > 1
        ]
    for name in sorted(names):
        if name in known and name in BUILT_IN:
            mistakes.append(f"command: '{{{name}}}' is a built-in placeholder: rename the parameter '{name}'")
        elif name not in known and name not in BUILT_IN:
            mistakes.append(_unknown(name, known))
        elif name in maybe_inactive and name not in BUILT_IN:
            mistakes.append(
                f"command: '{{{name}}}' is inactive in some trials and has no value there; {{args}}, {{overrides}} "
                "and {params_json} omit inactive parameters"
            )
    return mistakes


def as_text(value: Value) -> str:
    """A value as an argument: text unchanged, numbers exact, booleans as true and false."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value if isinstance(value, str) else repr(value)


def as_args(params: Mapping[str, Value]) -> list[str]:
    """``--name value`` for each parameter; true becomes a flag, false is omitted."""
    argv: list[str] = []
    for name, value in params.items():
        if isinstance(value, bool):
            # like store_true in argparse
            argv += [f"--{name}"] if value else []
        elif (text := as_text(value)).startswith("-"):
            # argparse takes a separate "-1e-05" or "-x" for an option (until Python 3.14)
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
    """Quote the value of ``hydra.run.dir={trial_dir}`` if it has special characters of Hydra's grammar."""
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
    # "${" is an interpolation even inside quotes; backslashes are special only before "${" and before a quote
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
