"""Whatever parser a script has: the written sweep passes check, and the script takes all that it proposes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from hpo_batch.init.write import Started, from_script
from hpo_batch.launch.check import check
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.variables import placeholder_values
from hpo_batch.records import Value
from hpo_batch.space.parameters import Choices, Integer, Real
from hpo_batch.sweep.load import load
from hpo_batch.sweep.schema import Sweep
from tests.helpers import needs
from tests.init.scripts import CONFIG, GROUP, NEEDS, SCRIPTS, SEARCHED


def started(folder: Path, script: str) -> Started:
    (folder / "train.py").write_text(script)
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    made.write()
    return made


def ends(sweep: Sweep) -> list[dict[str, Value]]:
    """Configurations that have each choice, and both ends of each range."""
    values: dict[str, list[Value]] = {}
    for one in sweep.space.searched:
        match one:
            case Choices():
                values[one.name] = list(one.values)
            case Integer() | Real():
                values[one.name] = [one.low, one.high]
    count = max(map(len, values.values()))
    return [{name: some[i % len(some)] for name, some in values.items()} for i in range(count)]


def run(sweep: Sweep, params: Mapping[str, Value], folder: Path) -> tuple[dict[str, object], str]:
    """What the script was given, and its output, of one trial."""
    facts = placeholder_values(folder=folder, checkpoint=folder / "checkpoint", number=3, attempt=1, seed=17)
    assert sweep.objective.command is not None
    argv = Template.parse(sweep.objective.command).fill(params, facts)
    env = {**os.environ, "PYTHONWARNINGS": "ignore"}
    done = subprocess.run(argv, capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr
    return json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{"))), done.stdout


def flat(given: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    found: dict[str, object] = {}
    for key, value in given.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found


def meant(params: Mapping[str, Value]) -> dict[str, object]:
    """What the script should have got: ``no_norm = true`` is norm = False."""
    found: dict[str, object] = {}
    for name, value in params.items():
        plain = name.replace("-", "_")
        last = plain.rpartition(".")[2]
        if last.startswith("no_"):
            found[plain.removesuffix(last) + last.removeprefix("no_")] = not value
        else:
            found[plain] = {"true": True, "false": False}.get(str(value), value) if plain == "use_norm" else value
    return found


@pytest.mark.parametrize("kind", SCRIPTS)
def test_the_sweep_passes_check_and_the_script_takes_what_it_proposes(folder: Path, kind: str) -> None:
    if kind in NEEDS:
        needs(NEEDS[kind])
    if kind == "LightningCLI":
        needs("jsonargparse")
    (folder / "conf" / "model").mkdir(parents=True)
    (folder / "conf" / "config.yaml").write_text(CONFIG)
    for name, text in GROUP.items():
        (folder / "conf" / "model" / f"{name}.yaml").write_text(text)
    made = started(folder, SCRIPTS[kind])
    assert made.steps == ()
    (checked,) = check(Path("sweep.toml"), root=folder / "logs")
    assert (checked.errors, checked.warnings) == ((), ())
    (sweep,) = load(Path("sweep.toml"))
    assert {one.name for one in sweep.space.searched} == SEARCHED[kind]
    if kind == "LightningCLI":  # or else trials would find each other's config.yaml
        assert " --trainer.default_root_dir {trial_dir} " in str(sweep.objective.command)
    for params in ends(sweep)[: 1 if kind in ("LightningCLI", "HfArgumentParser") else None]:
        given, output = run(sweep, params, folder)
        got = flat(given)
        assert {name: got[name] for name in meant(params)} == meant(params)
        assert f"RESULT: {sweep.study.metric[0]}=" in output
        assert got.get("seed", 17) == 17
        assert got.get("output_dir", str(folder)) == str(folder)


def test_nothing_is_run_if_the_source_says_all(folder: Path) -> None:
    started(folder, "open('ran', 'w')\n" + SCRIPTS["argparse"])
    assert not (folder / "ran").exists()
