"""Sweeps of every kind that a file can have, drawn at random, and trials of them that failed or repeat."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from hpo_batch.errors import HpoBatchError
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.values import toml_line
from tests.next import drawn

NAMES = ("lr", "width", "depth", "act", "drop", "flag", "model.kind", "n-heads", "warm up", "größe")
SAMPLERS = ("tpe", "tpe", "tpe", "random", "qmc", "gp", "nsga2", "grid")


def sweep_text(seed: int) -> str:
    """A valid sweep; the same for the same seed."""
    for attempt in range(2000):
        text = _text(random.Random(f"{seed} {attempt}"))
        try:
            loads(text, path=Path("any.toml"))
        except HpoBatchError:
            continue
        return text
    raise AssertionError("no valid sweep was drawn")


def _text(rng: random.Random) -> str:
    sampler = rng.choice(SAMPLERS)
    names = rng.sample(NAMES, rng.randint(1, 3 if sampler == "grid" else 7))
    space: dict[str, Any] = {}
    for name in names:
        raw = _parameter(rng, is_grid=sampler == "grid", may_weigh=sampler not in ("qmc", "grid"))
        space[name] = _under_a_condition(rng, raw, space) if rng.random() < 0.35 else raw
    lines = ["[study]", 'name = "any"', 'metric = "score"', f'direction = "{rng.choice(["maximize", "minimize"])}"']
    lines += [f"trials = {rng.randint(8, 60)}"] if sampler != "grid" else []
    lines += [f"seeds = [{rng.randint(1, 9)}, {rng.randint(10, 19)}]"] if rng.random() < 0.15 else []
    lines += ["", "[objective]", f'function = "{drawn.FUNCTION}"', "", *_space(rng, space), *_rest(rng, space, sampler)]
    return "\n".join(lines) + "\n"


def _space(rng: random.Random, space: dict[str, Any]) -> list[str]:
    lines, tables = ["[space]  # what is searched"], []
    for i, (name, raw) in enumerate(space.items()):
        if isinstance(raw, dict) and rng.random() < 0.25:
            tables += [
                "",
                f"[space.{toml_line(name, 0).removesuffix(' = 0')}]",
                *(toml_line(key, value) for key, value in raw.items()),
            ]
        else:
            lines.append(toml_line(name, raw) + (f"  # note {i}" if rng.random() < 0.4 else ""))
    lines += ["fixed = 3", *(['text = "a \'b\' \\"c\\""'] if rng.random() < 0.2 else [])]
    return [*lines, *tables, *_constraints(rng, space)]


def _constraints(rng: random.Random, space: dict[str, Any]) -> list[str]:
    numeric = [name for name, raw in space.items() if _numbers(raw)]
    if not numeric or rng.random() < 0.6:
        return []
    name = rng.choice(numeric)
    lowest, highest = min(_numbers(space[name])), max(_numbers(space[name]))
    cut = lowest + rng.choice([0.5, 0.8, 1.0]) * (highest - lowest)
    lines = ["", "[space.derived]", toml_line("twice", f"`{name}` * 2"), "", "[space.constraints]"]
    lines.append(toml_line("bound", f"twice <= {2 * cut!r}"))
    if len(numeric) > 1:
        a, b = rng.sample(numeric, 2)
        lines.append(toml_line("pair", f"`{a}` <= `{b}` or `{a}` < {highest!r}"))
    return lines


def _rest(rng: random.Random, space: dict[str, Any], sampler: str) -> list[str]:
    lines = ["", "[sampler]", f'name = "{sampler}"']
    if sampler != "grid" and rng.random() < 0.3:
        lines.append(toml_line("extremes", rng.sample(list(space), 1)))
    if sampler == "tpe" and rng.random() < 0.2:
        lines.append(
            toml_line(
                "coverage", [rng.choice([n for n, raw in space.items() if not isinstance(raw, dict)] or ["fixed"])]
            )
        )
    if rng.random() < 0.4:
        lines += ["", "[baseline]"]
        lines += [toml_line(name, _value(rng, raw)) for name, raw in space.items() if rng.random() < 0.5]
    lines += ["", "[job]", 'template = "local"', f"workers = {rng.randint(1, 4)}"]
    if rng.random() < 0.3 and sampler != "grid":
        params = {name: _value(rng, raw) for name, raw in space.items()}
        lines += ["", "[[trial]]", 'name = "own"', 'set = "mine"', toml_line("params", params)]
    return lines


def _under_a_condition(rng: random.Random, raw: Any, space: dict[str, Any]) -> Any:
    """The parameter, active only for some values of one that stands before it."""
    if not space:
        return raw
    parent = rng.choice(list(space))
    held = space[parent]
    values = held if isinstance(held, list) else held.get("choices", [])
    if values and isinstance(values[0], bool):
        when = f"`{parent}`"
    elif values:
        some = rng.sample(values, rng.randint(1, len(values)))
        when = f"`{parent}` == {some[0]!r}" if len(some) == 1 else f"`{parent}` in {some!r}"
    else:
        when = f"`{parent}` >= {(held['low'] + held['high']) / 2!r}"
    table = {k: v for k, v in raw.items() if k != "weights"} if isinstance(raw, dict) else {"choices": raw}
    return {**table, "when": when}


def _parameter(rng: random.Random, *, is_grid: bool, may_weigh: bool) -> Any:
    kinds = ["text", "ordered", "numbers", "limited", "flag", "integer", "step"]
    kind = rng.choice(kinds if is_grid else [*kinds, "real", "log", "whole log", "one"])
    limited = rng.random() < 0.4
    if kind == "text":
        values: list[Any] = ["relu", "gelu", "tanh", "it's"][: rng.randint(2, 4)]
        return {"choices": values, "weights": [rng.randint(1, 3) for _ in values]} if may_weigh and limited else values
    if kind == "ordered":
        return {"choices": ["s", "m"], "ordered": True, **({"limits": ["xs", "s", "m", "l"]} if limited else {})}
    if kind == "numbers":
        return rng.choice([[16, 32, 64], [3, 1, 2], [0.1, 0.2, 0.5], [8, 16], [1e-4, 1e-3, 1e-2], [64, 32], [0.0, 0.3]])
    if kind == "limited":
        return {
            "choices": [16, 32, 64],
            "limits": rng.choice([[8, 16, 32, 64, 128], [16, 32, 64], [1, 2, 16, 32, 48, 64]]),
        }
    if kind == "flag":
        return [True, False]
    if kind == "integer":
        low = rng.choice([0, 1, 2, -3])
        step = rng.choice([1, 1, 2])
        high = low + step * rng.randint(1, 6)
        return {"low": low, "high": high, "step": step, **({"limits": [low - 1, high + 2]} if limited else {})}
    if kind == "step":
        return {"low": 0.0, "high": 0.5, "step": 0.05, **({"limits": [0.0, 0.6]} if limited else {})}
    return _endless(rng, kind, limited=limited)


def _endless(rng: random.Random, kind: str, *, limited: bool) -> dict[str, Any]:
    if kind == "log":
        return {"low": 1e-5, "high": 1e-2, "log": True, **({"limits": [1e-6, 2e-2]} if limited else {})}
    if kind == "whole log":
        return {"low": 1, "high": 256, "log": True, **({"limits": [1, 300]} if limited else {})}
    if kind == "one":
        return {"low": 2, "high": 2}
    low, high = rng.choice([(0.0, 1.0), (0.1, 0.9), (-2.0, 3.0), (1.0, 30.0), (-3.0, -1.0)])
    return {"low": low, "high": high, **({"limits": [low, high]} if limited else {})}


def _numbers(raw: Any) -> list[float]:
    values = raw if isinstance(raw, list) else raw.get("choices") or [raw["low"], raw["high"]]
    return [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)] if values else []


def _value(rng: random.Random, raw: Any) -> Any:
    if isinstance(raw, list) or "choices" in raw:
        return rng.choice(raw if isinstance(raw, list) else raw["choices"])
    return raw[rng.choice(["low", "high"])]


def table_of(sweep: Sweep, *, n: int, seed: int) -> TrialsTable:
    """Trials of a sweep: some failed, some repeat another one; a value of a choice may always fail."""
    rng = random.Random(seed)
    whole = drawn.table_of(sweep, n=n, seed=seed, noise=rng.choice([0.0, 0.05, 1.0]))
    rows, states = _trials(whole), ["COMPLETE"] * n
    broken = rng.choice([None, *[p for p in sweep.space.searched if p.count is not None and p.count > 1]])
    for i, (params, _) in enumerate(rows):
        fails = broken is not None and params.get(broken.name) == broken.high and rng.random() < 0.9
        if (fails and rng.random() < 0.7) or rng.random() < 0.08:
            states[i], rows[i] = "FAIL", (params, None)
        elif i and rng.random() < 0.1:
            rows[i] = (rows[i - 1][0], rows[i][1])
    return drawn.as_table(rows, sweep, states=states, source="any.csv")


def _trials(table: TrialsTable) -> list[tuple[dict[str, Any], float | None]]:
    names = {f"params_{name}": name for name in table.parameters}
    return [
        ({names[c]: row[c] for c in names if row[c] is not None and row[c] == row[c]}, row["value"])
        for row in table.trials.to_dict("records")
    ]
