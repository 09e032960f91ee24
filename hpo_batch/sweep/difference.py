"""Compares a study's sweep with the one being submitted.

Changes are allowed as long as finished trials stay comparable.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from msgspec import Struct

from hpo_batch.space.parameters import Fixed, Integer, Real
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from hpo_batch.text.secrets import MASK, looks_secret
from hpo_batch.text.values import toml_line

MEANING = ("study.metric", "study.direction", "metrics", "objective.function", "objective.command")
"""keys that must not change: trials with another metric, direction or objective are not comparable"""


class Change(Struct, frozen=True, kw_only=True):
    """The differences; empty if nothing changed."""

    created: bool = False
    """the study is new"""
    lines: tuple[str, ...] = ()
    """each changed key with its old and new value, ready to print"""
    against: tuple[str, ...] = ()
    """changes that make old trials incompatible with the new sweep"""
    stays: str = ""
    """which trials the sampler keeps using, in words; empty if the space is unchanged, or there are no trials"""


def difference(old: Sweep, new: Sweep, *, has_trials: bool = True, had: Collection[str] = ()) -> Change:
    """Compare two sweeps.

    Args:
        old: the study's sweep.
        new: the sweep being submitted.
        has_trials: whether there are trials, which would have no value for a new parameter.
        had: parameters that some of them have, even if not in ``old``.
    """
    before, after = (_flat(to_raw(sweep)) for sweep in (old, new))
    lines: list[str] = []
    against: list[str] = []
    # sorted: the order of keys in the file is not a change
    for key in sorted(before.keys() | after.keys()):
        if repr(before.get(key)) == repr(after.get(key)):  # not `==`: 1, 1.0 and true are different values
            continue
        line = f"{key}: {_shown(before.get(key), key)} -> {_shown(after.get(key), key)}"
        if has_trials and key.startswith("objective.printed.") and key in before:  # may be a repair, or another number
            line += "; the values that trials have were found by the old text"
        (against if key.startswith(MEANING) else lines).append(line)
    if has_trials:
        known = {*old.space.by_name, *had}
        added = [p.name for p in new.space.parameters if p.name not in known and p.before is None]
        # a new parameter needs `before`: samplers cannot use trials that lack a value
        against += [
            f"space.{name} is new, and existing trials have no value for it; set the value to assume for them, "
            f"such as {_with_before(new, name)}"
            for name in added
        ]
    return Change(lines=tuple(lines), against=tuple(against))


def _with_before(sweep: Sweep, name: str) -> str:
    """The declaration of a parameter with an example for ``before``, ready to paste."""
    raw, parameter = sweep.space_table[name], sweep.space.by_name[name]
    first = parameter.value if isinstance(parameter, Fixed) else getattr(parameter, "values", [None])[0]
    before = parameter.low if isinstance(parameter, Integer | Real) else first
    table = raw if isinstance(raw, Mapping) else {"choices" if isinstance(raw, list | tuple) else "value": raw}
    return toml_line(name, {**table, "before": before})


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        # parameters and trials are shown as a whole: single keys of them mean little
        if isinstance(value, Mapping) and not name.startswith("space."):
            flat |= _flat(value, f"{name}.")
        elif name == "trial":
            flat |= {f"trial.{trial['name']}": trial for trial in value}
        else:
            flat[name] = value
    return flat


def _shown(value: Any, key: str) -> str:
    if value is None:
        return "(nothing)"
    # these lines are printed, also to logs of jobs
    is_secret = key.startswith("objective.env.") and looks_secret(key.rpartition(".")[2], str(value))
    return MASK if is_secret else str(value)
