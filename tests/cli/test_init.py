"""``hpo-batch init`` as it is typed."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from hpo_batch.init.write import STARTERS
from hpo_batch.sweep.load import load
from tests.cli.conftest import Cli
from tests.helpers import REPOSITORY

SCRIPT = """
import argparse
parser = argparse.ArgumentParser()
parser.add_argument("data")
parser.add_argument("--lr", type=float, default=0.1)
parser.add_argument("--name", default="mine")
parser.parse_args()
"""


@pytest.fixture
def bare(cli: Cli, no_slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, without SLURM, and with the Python of the tests on PATH."""
    folder = tmp_path / "Größe 7"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return folder


def files(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", STARTERS)
def test_each_starter_writes_what_it_says_and_passes_check(cli: Cli, bare: Path, kind: str) -> None:
    made = cli("init", f"--{kind}")
    assert made.code == 0
    wanted = {"sweep.toml", "train.py"} | ({"conf/config.yaml"} if kind == "hydra" else set())
    assert set(made.out.split()) == set(files(bare)) == wanted
    assert "there is no SLURM on this machine" in made.err
    checked = cli("check", "sweep.toml")
    assert (checked.code, checked.err) == (0, "sweep.toml: no mistakes\n")
    (sweep,) = load(Path("sweep.toml"))
    assert sweep.study.name == "gr-e-7"
    assert len((bare / "train.py").read_text().splitlines()) <= 50


def test_starters_are_those_that_lie_there() -> None:
    assert {path.name for path in (REPOSITORY / "starters").iterdir()} == set(STARTERS)


def test_without_an_option_it_starts_with_a_function_elsewhere(cli: Cli, bare: Path) -> None:
    made = cli("init", "new/place")
    assert made.code == 0
    assert set(files(bare)) == {"new/place/sweep.toml", "new/place/train.py"}
    assert "next: cd new/place, then hpo-batch check sweep.toml" in made.err
    assert 'function = "train:train"' in (bare / "new" / "place" / "sweep.toml").read_text()


def test_the_function_starter_runs(cli: Cli, bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_BATCH_ROOT", str(bare / "logs"))
    assert cli("init").code == 0
    ran = cli("submit", "sweep.toml", "--local", "--wait", "--trials", "3")
    assert ran.code == 0
    assert " failed" not in cli("status").out


@pytest.mark.parametrize("there", ["sweep.toml", "train.py"])
def test_nothing_is_overwritten_and_nothing_half_written(cli: Cli, bare: Path, there: str) -> None:
    (bare / there).write_text("mine")
    made = cli("init")
    assert made.code == 2
    assert f"error: '{there}' exists already" in made.err
    assert files(bare) == {there: "mine"}
    (bare / there).unlink()
    (bare / there).symlink_to(bare / "nowhere")
    assert cli("init").code == 2
    assert files(bare) == {}


def test_a_sweep_of_a_script_leaves_the_script_alone(cli: Cli, bare: Path) -> None:
    (bare / "my train.py").write_text(SCRIPT)
    made = cli("init", "--from", "my train.py", "-o", "first.toml")
    assert made.code == 0
    assert made.out == "first.toml\n"
    assert files(bare) == {"my train.py": SCRIPT, "first.toml": (bare / "first.toml").read_text()}
    assert "to do: replace FILL_IN_data in the command" in made.err
    assert "to do: my train.py names no metric" in made.err
    again = cli("init", "--from", "my train.py", "-o", "first.toml")
    assert (again.code, "first.toml' exists already" in again.err) == (2, True)


def test_check_explains_what_is_to_be_filled_in(cli: Cli, bare: Path) -> None:
    (bare / "train.py").write_text(SCRIPT)
    assert cli("init", "--from", "train.py").code == 0
    checked = cli("check", "sweep.toml")
    assert checked.code == 2
    assert "study.metric: 'FILL_IN' marks what hpo-batch init could not know" in checked.err
    assert "objective.command: 'FILL_IN_data' marks" in checked.err
    text = (bare / "sweep.toml").read_text()
    (bare / "sweep.toml").write_text(text.replace('"FILL_IN"', '"val_loss"').replace("FILL_IN_data", "x.csv"))
    checked = cli("check", "sweep.toml")
    assert checked.code == 0
    assert "train.py reports no result" in checked.err


def test_a_dry_run_prints_the_sweep_and_writes_nothing(cli: Cli, bare: Path) -> None:
    made = cli("init", "-n", "--command")
    assert made.code == 0
    assert made.out.startswith("# A sweep of the command")
    assert files(bare) == {}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("--from", "no.py"), "error: no script 'no.py'"),
        (("--from", ""), "error: "),
        (("--from", "train.py", "--hf"), "--from takes your own script, and --hf writes one"),
        (("there", "-o", "a.toml"), "-o names the sweep's file, and DIR its folder"),
        (("there.toml",), "DIR is a folder; -o there.toml names the sweep's file"),
        (("--from", "train.sh"), "error: 'train.sh' is not a Python script"),
        (("-o", "sweep.yaml"), "error: -o names a TOML file, not 'sweep.yaml'"),
        (("--from", "'"), "error: no script"),
    ],
)
def test_wrong_words(cli: Cli, bare: Path, argv: tuple[str, ...], message: str) -> None:
    (bare / "train.sh").write_text("echo hello")
    made = cli("init", *argv)
    assert made.code == 2
    assert message in made.err
    assert set(files(bare)) == {"train.sh"}


def test_where_slurm_does_not_answer_the_sweep_is_written_all_the_same(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # with the guard's sbatch, srun and sinfo, which fail
    made = cli("init", "here")
    assert made.code == 0
    assert "no job template, since SLURM does not tell which nodes there are" in made.err
    assert set(files(tmp_path / "here")) == {"sweep.toml", "train.py"}


def test_a_python_that_cannot_import_hpo_batch_is_told_what_to_do(
    cli: Cli, bare: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after ``pipx install hpo-batch``: the scripts' Python is another one."""
    (bare / "mine.py").write_text(f"{SCRIPT}print(f'val_loss={{1}}', file=log)\n")
    (bare / "printing.py").write_text(f"{SCRIPT}loss = 1.0\nprint(f'val_loss={{loss}}')\n")
    assert "cannot import" not in cli("init", "-n", "--from", "mine.py").err
    apart = bare / "apart"
    (apart / "bin").mkdir(parents=True)
    python = apart / "bin" / "python"
    python.symlink_to(os.path.realpath(sys.executable))  # without the packages of the tests' environment
    monkeypatch.setenv("PATH", f"{python.parent}{os.pathsep}{os.environ['PATH']}")
    for argv in (("--from", "mine.py"), ("--command",)):
        made = cli("init", "-n", *argv)
        assert made.code == 0
        assert "to do: 'python' cannot import hpo_batch: install hpo-batch into its environment too" in made.err
    assert (
        "to do: the script needs hydra, which 'python' cannot import: pip install hydra-core"
        in cli("init", "-n", "--hydra").err
    )
    for argv in (("--from", "printing.py"), ("--function",)):  # which need not import it
        assert "cannot import" not in cli("init", "-n", *argv).err


def test_what_takes_long_is_told_before(cli: Cli, bare: Path) -> None:
    looped = SCRIPT.replace(
        "parser.parse_args()", "for n in ('a',):\n    parser.add_argument('--' + n)\nparser.parse_args()"
    )
    (bare / "mine.py").write_text(looped)
    told = cli("init", "-n", "--from", "mine.py").err
    assert told.startswith("asking 'python mine.py --help', which takes as long as its imports\n")


def test_from_nothing(cli: Cli, bare: Path) -> None:
    ended = cli("init", "--from", " ")
    assert (ended.code, ended.err) == (2, "error: --from names a script\n")
