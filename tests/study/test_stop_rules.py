"""What status reads from a frozen sweep is what workers read through the schema, and it loads less."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError
from hpo_batch.space.cells import size
from hpo_batch.study.stop_rules import of_frozen, of_sweep

from .helpers import Text, make, sweep_of, work

PLAN = '[[trial]]\nname = "mine"\nparams = { x = 0.5, n = 3 }\n'
SWEEPS = {
    "random": Text(),
    "failures": Text(study="trials = 9\nmax_failed = 3", rest="[failures]\nstop_after = 2\n"),
    "a class of the user's": Text(sampler='name = "my.module:Sampler"'),
    "grid": Text(space="n = [1, 2, 3]\nepochs = 5", sampler='name = "grid"'),
    "list": Text(sampler='name = "list"', study="", rest=PLAN),
    "trained again": Text(sampler='name = "random"\nduplicates = "replicate"'),
    "planned": Text(sampler='name = "random"\nextremes = ["x"]', rest=f"[baseline]\nn = 2\n{PLAN}"),
    "constrained": Text(
        objective='function = "a:b"\nn_params = "a:c"', rest='[space.constraints]\nsmall = "n_params < 9"\n'
    ),
}


@pytest.mark.parametrize("name", SWEEPS)
def test_frozen_tables_say_what_the_sweep_says(root: Path, name: str) -> None:
    sweep = sweep_of(root, SWEEPS[name])
    read, frozen = of_sweep(sweep), of_frozen(json.loads(sweep.to_json()))
    for field in ("stop_after", "max_failed", "sampler", "replicates_duplicates"):
        assert getattr(frozen, field) == getattr(read, field), field
    assert frozen.planned() == read.planned()
    assert size(frozen.space).all == size(read.space).all
    assert frozen.space.constraints.keys() == read.space.constraints.keys()


@pytest.mark.parametrize(
    "change",
    [{"failures": {}}, {"failures": {"stop_after": "two"}}, {"space": {"n": []}}, {"space": 3}, {"trial": None}],
)
def test_tables_that_somebody_has_changed_are_refused(root: Path, change: dict[str, object]) -> None:
    tables = json.loads(sweep_of(root, Text()).to_json())
    with pytest.raises(StorageError, match="frozen sweep cannot be read"):
        of_frozen({**tables, **change})


def test_plans_of_another_version_are_refused_when_they_are_asked_for(root: Path) -> None:
    tables = json.loads(sweep_of(root, SWEEPS["planned"]).to_json())
    rules = of_frozen({**tables, "later": {}})
    with pytest.raises(StorageError, match="unknown key"):
        rules.planned()


def test_status_of_an_interrupted_search_does_not_load_the_schema(root: Path) -> None:
    home = make(root, study="trials = 5")
    work(home, most=2)
    code = (
        "import sys\nfrom hpo_batch.cli.main import run\n"
        f"run(['status', '--root', {str(root)!r}])\nprint('hpo_batch.sweep.schema' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert "3 trials left, no workers running" in done.stdout
    assert done.stdout.splitlines()[-1] == "False"
