"""The wheel as a user installs it: what it carries, and what works without the optional packages."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from hpo_batch.extras import EXTRAS
from tests.helpers import REPOSITORY

ABSENT = (
    "torch",
    "torchgen",
    "functorch",
    "pyarrow",
    "cmaes",
    "optuna_dashboard",
    "hpo_batch",
    "_hpo_batch",
    "__editable__",
)

SWEEP = """
[study]
name = "plain"
metric = "loss"
direction = "minimize"
trials = 4
[objective]
command = "echo RESULT: loss={x}"
[space]
x = { low = 0.0, high = 1.0 }
[job]
workers = 2
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (made,) = folder.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the wheel and the packages that it requires, without any extra."""
    place = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(place / "env")], check=True)
    packages = place / "packages"
    packages.mkdir()
    for path in Path(sysconfig.get_paths()["purelib"]).iterdir():
        if not path.name.startswith(ABSENT) and path.suffix != ".pth":
            (packages / path.name).symlink_to(path)
    (site,) = (place / "env").glob("lib/python3*/site-packages")
    with zipfile.ZipFile(wheel) as file:
        file.extractall(site)
    (site / "packages.pth").write_text(f"{packages}\n")
    return place / "env" / "bin" / "python"


def run(python: Path, *argv: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    """``hpo-batch ARGV`` by that Python, which knows nothing of this checkout."""
    env = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    words = [str(python), "-m", "hpo_batch", *map(str, argv)]
    return subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=100)


@pytest.mark.parametrize("folder", ["job_templates", "configs", "docs"])
def test_the_wheel_carries_the_files_of_the_checkout(wheel: Path, folder: str) -> None:
    with zipfile.ZipFile(wheel) as file:
        carried = {name for name in file.namelist() if name.startswith(f"hpo_batch/{folder}/")}
    wanted = {
        f"hpo_batch/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / folder).rglob("*") if path.is_file()
    }
    assert wanted
    assert carried == wanted


def test_a_command_is_swept_without_torch(python: Path, tmp_path: Path) -> None:
    (tmp_path / "plain.toml").write_text(SWEEP)
    missing = "import importlib.util as u; print([n for n in ('torch', 'pyarrow', 'cmaes') if u.find_spec(n)])"
    said = subprocess.run([python, "-c", missing], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
    for argv in (
        ("check", "plain.toml", "--set", "job.template=a100"),
        ("submit", "plain.toml", "--local", "--wait"),
        ("status", "plain"),
        ("collect", "plain", "-o", "plain.csv"),
        ("report", "plain", "-o", "plain.html"),
    ):
        ended = run(python, *argv, cwd=tmp_path)
        assert (ended.returncode, argv) == (0, argv), ended.stderr
    assert len((tmp_path / "plain.csv").read_text().splitlines()) == 5


def test_help_names_folders_that_exist(python: Path, tmp_path: Path) -> None:
    said = run(python, "--help", cwd=tmp_path).stdout.split()
    for name, file in (("documentation", "sweep-toml.md"), ("examples", "quickstart.toml")):
        assert (Path(said[said.index(name) + 1]) / file).is_file()


@pytest.mark.parametrize(
    ("argv", "package"),
    [
        (("check", REPOSITORY / "configs/quickstart.toml"), "torch"),
        (("submit", REPOSITORY / "configs/quickstart.toml", "--local"), "torch"),
        (("submit", "plain.toml", "--local", "--set", "sampler.name=gp"), "torch"),
        (("submit", "plain.toml", "--local", "--set", "sampler.name=cmaes"), "cmaes"),
        (("collect", "trials.csv", "-o", "trials.parquet"), "pyarrow"),
        (("report", "trials.parquet"), "pyarrow"),
        (("dashboard", "trials.csv", "--optuna"), "optuna_dashboard"),
    ],
    ids=["check a trainer", "submit a trainer", "gp", "cmaes", "write Parquet", "read Parquet", "optuna-dashboard"],
)
def test_a_missing_package_is_named_with_what_to_type(
    python: Path, tmp_path: Path, argv: Sequence[object], package: str
) -> None:
    (tmp_path / "plain.toml").write_text(SWEEP)
    (tmp_path / "trials.csv").write_text("x,value\n1,2\n2,3\n")
    (tmp_path / "trials.parquet").write_bytes(b"PAR1")
    ended = run(python, *argv, cwd=tmp_path)
    said = ended.stdout + ended.stderr
    assert f"needs the package {package}, which is not installed" in said
    assert f"pip install 'hpo-batch[{EXTRAS[package]}]'" in said
    assert ended.returncode == 2
    assert not (tmp_path / "logs").exists()
