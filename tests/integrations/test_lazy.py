"""The package of callbacks loads no framework, and a callback its own alone."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import hpo_batch.integrations
from tests.helpers import needs

FRAMEWORKS = ("lightning", "transformers", "keras", "xgboost", "lightgbm", "torch")
LIBRARY_OF = {
    "HuggingFaceCallback": "transformers",
    "KerasCallback": "keras",
    "LightGBMCallback": "lightgbm",
    "LightningCallback": "lightning",
    "XGBoostCallback": "xgboost",
}


def loaded_after(code: str) -> set[str]:
    code = f"import sys\n{code}\nprint([m for m in {FRAMEWORKS!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(eval(done.stdout))


def test_the_package_loads_none() -> None:
    assert loaded_after("import hpo_batch.integrations") == set()


@pytest.mark.parametrize("name", ["XGBoostCallback", "LightGBMCallback"])
def test_a_callback_loads_its_own(name: str) -> None:
    needs(LIBRARY_OF[name])
    assert loaded_after(f"from hpo_batch.integrations import {name}") == {LIBRARY_OF[name]}


def test_every_callback_has_a_library_and_a_test() -> None:
    assert set(hpo_batch.integrations.__all__) == set(LIBRARY_OF)
    with pytest.raises(AttributeError, match="no attribute 'MadeUp'"):
        _ = hpo_batch.integrations.MadeUp
    tests = {path.stem for path in Path(__file__).parent.glob("test_*.py")}
    homes = {path.stem for path in Path(hpo_batch.integrations.__file__).parent.glob("[a-z]*.py")}
    assert {f"test_{home}" for home in homes} <= tests


@pytest.mark.parametrize("name", sorted(LIBRARY_OF))
def test_without_its_library_the_error_names_it(name: str) -> None:
    library = LIBRARY_OF[name]
    block = f"import sys; sys.modules[{library!r}] = None"
    code = f"{block}; from hpo_batch.integrations import {name}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ModuleNotFoundError")
    assert library in last
