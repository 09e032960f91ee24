"""What changed between the sweep a study was made from and the sweep that is submitted now.

Everything may change that leaves finished trials comparable; what changes their meaning is irreconcilable.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hpo_batch.sweep.schema import Sweep

MEANING = ("study.metric", "study.direction", "metrics", "objective.function", "objective.command")
"""finished trials of another metric, direction or objective say nothing about the new one"""


@dataclass(frozen=True, kw_only=True)
class Change:
    """Empty if nothing changed."""

    created: bool = False
    """the study is new"""
    lines: tuple[str, ...] = ()
    """each changed key with its old and new value, ready to print"""
    against: tuple[str, ...] = ()
    """why old trials and new sweep do not belong together"""


def difference(old: Sweep, new: Sweep) -> Change:
    before, after = (_flat(sweep.model_dump(mode="json", by_alias=True, exclude_none=True)) for sweep in (old, new))
    lines: list[str] = []
    against: list[str] = []
    for key in sorted(before.keys() | after.keys()):
        if repr(before.get(key)) == repr(after.get(key)):  # not `==`: 1, 1.0 and true are different values
            continue
        line = f"{key}: {_shown(before.get(key))} -> {_shown(after.get(key))}"
        (against if key.startswith(MEANING) else lines).append(line)
    added = [p.name for p in new.space.parameters if p.name not in old.space.by_name]
    against += [f"space.{name} is new: finished trials have no value for it" for name in added]
    return Change(lines=tuple(lines), against=tuple(against))


def _flat(node: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        # a parameter, a trial: shown whole, since its keys mean nothing apart
        if isinstance(value, Mapping) and not name.startswith("space."):
            flat |= _flat(value, f"{name}.")
        elif name == "trial":
            flat |= {f"trial.{trial['name']}": trial for trial in value}
        else:
            flat[name] = value
    return flat


def _shown(value: Any) -> str:
    return "(nothing)" if value is None else str(value)
