"""Finding and importing the user's function, and saying exactly what is wrong if that fails."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch import Trial
from hpo_batch.errors import UserError
from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.load import find_function, import_function, load
from hpo_batch.records import Complete
from hpo_batch.sweep.schema import Objective

FILES = {
    "good.py": "ran = 1\ndef train(trial): return 0.5\nclass Net:\n    def fit(self, trial): return 1.0\nnumber = 3\n",
    "pack/__init__.py": "open('imported', 'w').close()\n",
    "pack/inner.py": "def train(trial): return 0.5\n",
    "plain/deep/train.py": "def train(trial): return 0.5\n",  # packages without __init__.py
    "needs.py": "import not_installed_anywhere\n",
    "fails.py": "def train(trial): pass\nraise ValueError('no data here')\n",
    "script.py": "import sys\ndef train(trial): pass\nsys.exit(3)\n",
    "broken.py": "def train(trial:\n",
    "bound.py": (
        "import os.path\nfrom good import train as fit\nif True:\n    def conditional(trial): pass\n"
        "else:\n    other = 1\ntry:\n    a, (b, c) = 1, (2, 3)\nexcept Exception as e:\n    fallback = None\n"
        "with open(os.devnull):\n    d: int = 3\nclass Model: pass\nasync def later(trial): pass\n"
    ),
    "star.py": "from good import *\n",
    "lazy.py": "def __getattr__(name): return print\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with modules, and the interpreter's state put back afterwards."""
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    modules = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


@pytest.mark.parametrize(
    "spec", ["good:train", "pack.inner:train", "plain.deep.train:train", "bound:fit", "star:train"]
)
def test_finds_and_imports(project: Path, spec: str) -> None:
    assert find_function(spec) == project / (spec.partition(":")[0].replace(".", "/") + ".py")
    assert import_function(spec)(None) == 0.5


def test_the_sweeps_directory_may_be_another(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    with pytest.raises(UserError, match="there is no module 'good'"):
        find_function("good:train")
    assert find_function("good:train", cwd=project) == project / "good.py"
    assert import_function("good:train", cwd=project)(None) == 0.5


def test_the_working_directory_comes_before_installed_packages(project: Path) -> None:
    (project / "tabulate.py").write_text("def train(trial): return 0.5\n")
    assert find_function("tabulate:train") == project / "tabulate.py"


def test_installed_packages_are_found(project: Path) -> None:
    found = find_function("optuna.samplers:TPESampler")
    assert found is not None
    assert found.parts[-3:] == ("optuna", "samplers", "__init__.py")
    assert find_function("math:sqrt") is None
    assert find_function("hpo_batch.objective.load:load") is not None


def test_finding_runs_nothing(project: Path) -> None:
    modules = set(sys.modules)
    for spec in ("pack.inner:train", "fails:train", "script:train", "needs:not_installed_anywhere"):
        find_function(spec)
    assert not (project / "imported").exists()
    assert set(sys.modules) == modules


@pytest.mark.parametrize(
    "name", ["os", "fit", "conditional", "other", "a", "b", "c", "fallback", "d", "Model", "later"]
)
def test_all_ways_to_bind_a_name_are_found(project: Path, name: str) -> None:
    assert find_function(f"bound:{name}") is not None


def test_names_that_only_an_import_can_tell_are_trusted(project: Path) -> None:
    assert find_function("star:anything") is not None
    assert find_function("lazy:anything") is not None


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("good", "write it as 'package.module:name'"),
        ("good:", "write it as"),
        ("my-train:train", "write it as"),
        ("good:train()", "write it as"),
        ("goood:train", "no module 'goood' in '.*' or among the installed packages; did you mean 'good'"),
        ("good.py:train", "without '.py': 'good:train'"),
        ("pack.missing:train", "no module 'pack.missing'"),
        ("good.missing:train", "no module 'good.missing'"),
        ("good:trian", "module 'good' has no 'trian'; did you mean 'train'"),
        ("good:zzz", "it has Net, number, ran, train"),
    ],
)
def test_mistakes_are_told_alike_with_and_without_import(project: Path, spec: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        find_function(spec)
    with pytest.raises(UserError, match=message):
        import_function(spec)


def test_folders_and_broken_files(project: Path) -> None:
    with pytest.raises(UserError, match=r"'plain\.deep' is a folder without code"):
        find_function("plain.deep:train")
    with pytest.raises(UserError, match=r"broken\.py:1: "):
        find_function("broken:train")


@pytest.mark.parametrize(
    ("spec", "message", "cause"),
    [
        ("needs:train", "module 'needs' needs 'not_installed_anywhere', which is not installed", ModuleNotFoundError),
        ("fails:train", "module 'fails' failed while it was imported: ValueError: no data here", ValueError),
        ("script:train", "if __name__ == '__main__'", SystemExit),
        ("broken:train", "failed while it was imported: SyntaxError", SyntaxError),
    ],
)
def test_an_error_inside_the_module_is_told_apart_and_kept(
    project: Path, spec: str, message: str, cause: type[BaseException]
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        import_function(spec)
    assert isinstance(caught.value.__cause__, cause)


def test_what_cannot_be_called_is_refused(project: Path) -> None:
    with pytest.raises(UserError, match="'good:number' is a int; the objective must be a function"):
        import_function("good:number")


def test_a_method_can_be_named(project: Path) -> None:
    assert find_function("good:Net.fit") is not None
    assert import_function("good:Net.fit").__qualname__ == "Net.fit"


def test_loads_a_function_with_its_environment(project: Path, trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "environ", dict(os.environ))
    (project / "reads.py").write_text("import os\nlevel = float(os.environ['LEVEL'])\ndef train(trial): return level\n")
    objective = load(Objective(function="reads:train", env={"LEVEL": "2.5"}), metrics=("loss",), computed={})
    assert objective.run(trial) == Complete(values=(2.5,), metrics={"loss": 2.5})


def test_loads_a_command(project: Path, trial: Trial) -> None:
    told = Objective(command="sh -c 'pwd; echo RESULT: precision=$P recall=0.5'", env={"P": "0.25"}, cwd="pack")
    objective = load(told, metrics=("score",), computed={"score": "2 * precision + recall"})
    assert isinstance(objective, CommandObjective)
    assert objective.run(trial) == Complete(values=(1.0,), metrics={"precision": 0.25, "recall": 0.5, "score": 1.0})


def test_a_command_or_formula_that_is_refused_is_an_error_of_loading() -> None:
    with pytest.raises(UserError, match="without '}'"):
        load(Objective(command="x {"), metrics=("loss",), computed={})
    with pytest.raises(UserError, match="not allowed"):
        load(Objective(command="x"), metrics=("loss",), computed={"loss": "a[0]"})


def test_user_code_meets_no_heavy_library() -> None:
    code = (
        "import sys, hpo_batch.objective.load, hpo_batch.objective.placeholders, hpo_batch; hpo_batch.Trial\n"
        "print([m for m in ('optuna', 'torch', 'pandas', 'numpy', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
