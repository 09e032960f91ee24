"""Sweeps drawn at random, as files, and trials of them: what refine may meet."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hpo_batch.records import Configuration, Counts
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.draw import at_random
from hpo_batch.space.parameters import Choices, Searched
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.values import toml_line
from tests.findings import simulate

NAMES = ("lr", "width", "depth", "act", "drop", "flag")
FUNCTION = "tests.cli.toys:quadratic"


def sweep_text(seed: int, *, name: str = "drawn") -> str:
    """A valid sweep with comments, conditions, constraints, weights and limits."""
    for attempt in range(1000):
        text = _text(random.Random(seed * 1000 + attempt), name)
        try:
            loads(text, path=Path("drawn.toml"))
        except Exception:
            continue
        return text
    raise AssertionError("no valid sweep was drawn")


def _text(rng: random.Random, name: str) -> str:
    names = rng.sample(NAMES, rng.randint(1, 5))
    sampler = rng.choice(["tpe", "tpe", "random", "qmc", "gp", "nsga2"])
    lines, flags, integers = [], [], []
    for i, parameter in enumerate(names):
        raw = _parameter(rng, may_weigh=sampler != "qmc")
        if flags and rng.random() < 0.3:
            parent, value = rng.choice(flags)
            table: dict[str, Any] = dict(raw) if isinstance(raw, dict) else {"choices": raw}
            table.pop("weights", None)
            raw = {**table, "when": f"{parent} == {value!r}"}
        elif isinstance(raw, list) and all(isinstance(v, str) for v in raw):
            flags.append((parameter, raw[0]))
        elif isinstance(raw, dict) and isinstance(raw.get("low"), int):
            integers.append((parameter, raw["high"]))
        lines.append(toml_line(parameter, raw) + (f"  # note {i}" if rng.random() < 0.5 else ""))
        if rng.random() < 0.2:
            lines.append("# a line of its own")
    lines.append("fixed = 3")
    if integers and rng.random() < 0.5:
        parameter, high = rng.choice(integers)
        lines += ["[space.derived]", f'twice = "{parameter} * 2"']
        lines += ["[space.constraints]", f'bound = "twice <= {2 * high}"']
    head = ["# a sweep", "[study]", f'name = "{name}"', 'metric = "score"']
    head += [f'direction = "{rng.choice(["maximize", "minimize"])}"', f"trials = {rng.randint(10, 60)}  # so many", ""]
    tail = ["[objective]", f'function = "{FUNCTION}"', "", "[sampler]", f'name = "{sampler}"', "", "[job]"]
    tail += ['template = "local"']
    return "\n".join([*head, "[space]", *lines, "", *tail]) + "\n"


def _parameter(rng: random.Random, *, may_weigh: bool) -> Any:
    kind = rng.choice(["text", "numbers", "flag", "integer", "real", "log", "step"])
    if kind == "text":
        values: list[Any] = ["relu", "gelu", "tanh", "silu"][: rng.randint(2, 4)]
        weighs = may_weigh and rng.random() < 0.3
        return {"choices": values, "weights": [rng.randint(1, 3) for _ in values]} if weighs else values
    if kind == "numbers":
        return rng.choice([[16, 32, 64, 128], [1, 2, 3], [0.1, 0.2, 0.3, 0.5], [8, 16], [1e-4, 1e-3, 1e-2]])
    if kind == "flag":
        return [True, False]
    limits = rng.random() < 0.4
    if kind == "integer":
        low = rng.choice([0, 1, 2, -3])
        high = low + rng.randint(2, 8)
        return {"low": low, "high": high, **({"limits": [low - 1, high + 1]} if limits else {})}
    if kind == "log":
        return {"low": 1e-5, "high": 1e-2, "log": True, **({"limits": [1e-6, 2e-2]} if limits else {})}
    if kind == "step":
        return {"low": 0.0, "high": 0.5, "step": 0.05, **({"limits": [0.0, 0.6]} if limits else {})}
    low_, high_ = rng.choice([(0.0, 1.0), (0.1, 0.9), (-2.0, 3.0), (1.0, 30.0)])
    return {"low": low_, "high": high_, **({"limits": [low_, high_]} if limits else {})}


def table_of(sweep: Sweep, *, n: int, seed: int, noise: float = 0.05, source: str = "drawn.csv") -> TrialsTable:
    """Random trials of a sweep; each parameter has one good place, often at an end."""
    rng = random.Random(seed)
    best = {p.name: rng.choice([0.0, 0.3, 1.0, 1.0]) for p in sweep.space.searched}
    weight = {p.name: rng.choice([0.0, 0.3, 1.0, 3.0]) for p in sweep.space.searched}
    sign = 1.0 if sweep.study.direction[0] == "maximize" else -1.0
    rows = []
    while len(rows) < n:
        configuration = at_random(sweep.space, rng)
        if sweep.space.why_invalid(configuration) is None:
            rows.append(
                (
                    dict(configuration.searched),
                    sign * (_value(sweep, configuration, best, weight) + noise * rng.gauss(0, 1)),
                )
            )
    return as_table(rows, sweep, source=source)


def as_table(
    rows: Sequence[tuple[Mapping[str, Any], float | None]],
    sweep: Sweep,
    *,
    source: str = "v1.csv",
    states: Sequence[str] | None = None,
) -> TrialsTable:
    """A file's trials, with the sweep that they are of."""
    made = simulate.table(
        rows,
        direction=sweep.study.direction[0],
        states=states,
        sweep=sweep,
        space=sweep.space,
        baseline=sweep.baseline,
    )
    found = Counter(states or ["COMPLETE"] * len(rows))
    counts = Counts(target=len(rows), complete=found["COMPLETE"], failed=found["FAIL"], running=found["RUNNING"])
    return replace(made, source=source, label=source, counts=counts)


def _value(sweep: Sweep, configuration: Configuration, best: dict[str, float], weight: dict[str, float]) -> float:
    return -sum(
        weight[p.name] * (place(p, configuration.searched[p.name]) - best[p.name]) ** 2
        for p in sweep.space.searched
        if p.name in configuration.searched
    )


def place(parameter: Searched, value: Any) -> float:
    """Between 0 and 1, within the parameter's range."""
    if isinstance(parameter, Choices):
        return parameter.values.index(value) / max(1, parameter.count - 1)
    if parameter.low == parameter.high:
        return 0.0
    scale = math.log if parameter.log else float
    return (scale(value) - scale(parameter.low)) / (scale(parameter.high) - scale(parameter.low))
