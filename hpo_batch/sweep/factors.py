"""What differs between sweeps in how they train one and the same configuration: the budget, as it really is.

Parameters that one of them searches are no part of it, whatever their values: they belong to a configuration, and go
with it. Names of studies and budgets, samplers, jobs, and constraints change nothing that a training sees.
"""

from __future__ import annotations

import itertools
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from msgspec import Struct

from hpo_batch.records import Value, is_number
from hpo_batch.space.parameters import Fixed, same
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import label
from hpo_batch.text.secrets import looks_secret, masked_words

OBJECTIVE: Final = "[objective] "
"""begins the name of a factor that is a setting, not a parameter"""


class Factor(Struct, frozen=True, kw_only=True):
    """A fixed parameter, a derived one, or a setting of the objective that is not the same in all sweeps."""

    name: str
    """of the parameter, or ``[objective] command``"""
    values: tuple[Value | None, ...]
    """one for each sweep; of a derived parameter its expression, of a command the words that differ. None: not set"""


def factors(sweeps: Sequence[Sweep]) -> tuple[Factor, ...]:
    """The factors in which sweeps differ, parameters first; none if they would all train alike."""
    return (*_parameters(sweeps), *_settings(sweeps))


def factor_text(name: str, values: Mapping[str, Value | None]) -> str:
    """``epochs (2M: 12, 20M: 50)``, from the values by budget."""
    told = (f"{budget}: {'not set' if value is None else label(value)}" for budget, value in values.items())
    return f"{name} ({listed(told)})"


def travelling(sweeps: Sequence[Sweep]) -> tuple[str, ...]:
    """Names of the parameters that at least one of the sweeps searches: they make up a configuration."""
    return tuple(dict.fromkeys(parameter.name for sweep in sweeps for parameter in sweep.space.searched))


def settings_differ(a: Sweep, b: Sweep) -> bool:
    """Whether two sweeps have different objectives."""
    return any(True for _ in _settings((a, b)))


def alike(a: Value | None, b: Value | None) -> bool:
    """Whether a training sees the same: ``50`` and ``50.0`` are."""
    if a is None or b is None:
        return a is b
    return same(a, b) or (is_number(a) and is_number(b) and a == b)


def _parameters(sweeps: Sequence[Sweep]) -> Iterator[Factor]:
    searched = set(travelling(sweeps))
    names = dict.fromkeys(name for sweep in sweeps for name in (*sweep.space.by_name, *sweep.space.derived))
    for name in names:
        if name not in searched:
            values = tuple(_declared(sweep, name) for sweep in sweeps)
            if not _all_alike(values):
                yield Factor(name=name, values=values)


def _declared(sweep: Sweep, name: str) -> Value | None:
    if name in sweep.space.derived:
        return sweep.space.derived[name].text
    parameter = sweep.space.by_name.get(name)
    return parameter.value if isinstance(parameter, Fixed) else None


def _settings(sweeps: Sequence[Sweep]) -> Iterator[Factor]:
    objectives = [sweep.objective for sweep in sweeps]
    lines = [_words(objective.command) for objective in objectives]
    if any(line != lines[0] for line in lines):
        yield Factor(name=f"{OBJECTIVE}command", values=_different_words(lines))
    for name, values in (
        ("function", tuple(objective.function for objective in objectives)),
        ("cwd", tuple(objective.cwd for objective in objectives)),
    ):
        if not _all_alike(values):
            yield Factor(name=f"{OBJECTIVE}{name}", values=values)
    yield from _variables([objective.env for objective in objectives])


def _variables(every: Sequence[Mapping[str, str]]) -> Iterator[Factor]:
    for name in dict.fromkeys(itertools.chain(*every)):
        values = tuple(env.get(name) for env in every)
        # a key or a password is whose training it is, not what is trained
        if not _all_alike(values) and not any(looks_secret(name, value or "") for value in values):
            yield Factor(name=f"{OBJECTIVE}env.{name}", values=values)


def _words(command: str | tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Secrets are masked: whose they are changes no training."""
    if command is None:
        return None
    return masked_words(shlex.split(command) if isinstance(command, str) else command)


def _different_words(lines: Sequence[tuple[str, ...] | None]) -> tuple[str | None, ...]:
    """The commands without the words at their beginning and end that are the same in all."""
    given = [line for line in lines if line is not None]
    if len(given) < len(lines):
        return tuple(None if line is None else shlex.join(line) for line in lines)
    front = _common(given)
    back = _common([line[front:][::-1] for line in given])
    if front and given[0][front - 1].startswith("-"):
        front -= 1  # the option whose value it is
    return tuple(shlex.join(line[front : len(line) - back]) for line in given)


def _common(lines: Sequence[Sequence[str]]) -> int:
    """How many words all lines begin with."""
    same_words = (len(set(words)) == 1 for words in zip(*lines, strict=False))
    return sum(1 for _ in itertools.takewhile(bool, same_words))


def _all_alike(values: Sequence[Value | None]) -> bool:
    return all(alike(value, values[0]) for value in values)
