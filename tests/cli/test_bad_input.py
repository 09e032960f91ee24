"""What goes wrong is told in one line with what to do next, with the design's exit code, and harms nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.conftest import Cli


def test_missing_file(cli: Cli) -> None:
    ended = cli("submit", "nowhere.toml")
    assert ended.code == 2
    assert ended.err.startswith("error: no sweep file 'nowhere.toml'")


def test_broken_toml(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "broken.toml"
    path.write_text("[study\nname = 1\n")
    ended = cli("check", path)
    assert ended.code == 2
    assert "not valid TOML" in ended.err
    assert "line 1" in ended.err


def test_all_mistakes_are_told_at_once(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(
        """[study]
name = "Wrong Name"
metric = "score"
trails = 5

[objective]
function = "no_colon"

[space]
lr = { low = 0.1, high = 0.01 }
depth = { low = 1, hihg = 4 }
width = [1, 1]
evil = { choices = [1, 2], when = "__import__('os').system('x')" }

[sampler]
name = "tpe"
startup_trials = "five"

[job]
template = "a1000"
wokers = 3
"""
    )
    ended = cli("check", path)
    assert ended.code == 2
    lines = ended.err.splitlines()
    assert all(line.startswith(f"error: {path}") for line in lines)
    for place, word in [
        (":2: study.name", "cannot be a study's name"),
        (":4: study.trails", "did you mean 'trials'"),
        (":1: study.direction", "minimize, maximize"),
        (":7: objective.function", "package.module:function"),
        (":10: space.lr.low", "above high"),
        (":11: space.depth.hihg", "did you mean 'high'"),
        (":12: space.width", "listed twice"),
        (":13: space.evil.when", ""),
        (":17: sampler.startup_trials", "integer"),
        (":20: job.template", "did you mean 'a100'"),
        (":21: job.wokers", "did you mean 'workers'"),
    ]:
        assert any(f"{path}{place}" in line and word in line for line in lines), (place, ended.err)


@pytest.mark.parametrize(
    ("function", "reason", "message"),
    [
        ("returns_nan", "nan", ""),
        ("returns_text", "invalid", ""),
        ("returns_other_metric", "no_result", "scor"),
    ],
)
def test_a_wrong_result_is_a_failure_with_its_reason(
    cli: Cli, write_sweep, function: str, reason: str, message: str
) -> None:
    ended = cli("submit", write_sweep(function, trials=3), "--wait", "--set", "failures.stop_after=2")
    assert ended.code == 1
    shown = cli("logs", "toy", "0")
    assert f"reason: {reason}:" in shown.err
    assert message in shown.err
    rows = cli("collect", "--format", "csv", "--filter", "failed").out.splitlines()
    assert len(rows) >= 3  # the header, and at least the two failures after which the sweep stops
    assert "COMPLETE" not in "".join(rows)


def test_an_exception_fails_its_trial_and_no_other(cli: Cli, write_sweep) -> None:
    patient = ["--set", "study.max_failed=50", "--set", "failures.stop_after=50"]
    ended = cli("submit", write_sweep("fails_for_two", trials=6), "--wait", *patient)
    assert ended.code == 0  # as many as were asked for have finished
    status = cli("status", "toy").out
    assert "6 of 6 finished: 6 complete" in status
    failed = cli("collect", "--filter", "failed").out
    number = failed.splitlines()[2].split()[0]
    shown = cli("logs", "toy", number)
    assert "reason: exception: ValueError: n must not be two" in shown.err
    assert 'raise ValueError("n must not be two")' in shown.out
    row = cli("collect", "--format", "csv", "--filter", "failed").out.splitlines()[1]
    assert row.split(",")[1] == ""  # a failed trial has no value


def test_a_function_that_is_not_there(cli: Cli, write_sweep, root: Path) -> None:
    ended = cli("submit", write_sweep("quadratik"))
    assert ended.code == 2
    assert "quadratik" in ended.err
    assert "quadratic" in ended.err  # the nearest name
    assert list(root.iterdir()) == []


def test_a_module_that_fails_to_import_costs_no_trial(
    cli: Cli, write_sweep, tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_objective.py").write_text("import no_such_module\n\ndef train(trial):\n    return 1.0\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    path = write_sweep(trials=6)
    path.write_text(path.read_text().replace("tests.cli.toys:quadratic", "broken_objective:train"))
    ended = cli("submit", path, "--wait", "--workers", "1")
    assert ended.code == 1
    why = "module 'broken_objective' needs 'no_such_module', which is not installed; no trial was started"
    assert why in ended.err
    assert why in cli("status", "toy").out
    assert "0 of 6 finished: none started" in cli("status", "toy").out
    (log,) = (root / "toy" / "local").glob("*_0.log")
    assert str(log) in ended.err
    assert "ModuleNotFoundError: No module named 'no_such_module'" in log.read_text()
    (tmp_path / "broken_objective.py").write_text("def train(trial):\n    return 1.0\n")
    assert cli("resume", "toy", "--wait").code == 0


def test_a_command_that_is_not_there(cli: Cli, write_sweep, root: Path) -> None:
    path = write_sweep()
    path.write_text(path.read_text().replace('function = "tests.cli.toys:quadratic"', 'command = "trainn.exe {args}"'))
    ended = cli("submit", path)
    assert ended.code == 2
    assert "'trainn.exe' is not a command on this machine" in ended.err
    assert list(root.iterdir()) == []


@pytest.mark.parametrize(
    ("options", "key"), [(["--workers", "0"], "job.workers"), (["--trials", "-1"], "study.trials")]
)
def test_numbers_below_one(cli: Cli, write_sweep, options: list[str], key: str) -> None:
    ended = cli("submit", write_sweep(), *options)
    assert ended.code == 2
    assert key in ended.err
    assert "greater than or equal to 1" in ended.err


def test_unknown_study_and_trial(cli: Cli, write_sweep) -> None:
    assert cli("status").code == 2
    cli("submit", write_sweep(trials=2), "--wait")
    ended = cli("status", "toi")
    assert ended.code == 2
    assert "did you mean 'toy'?" in ended.err
    ended = cli("logs", "toy", "2")
    assert ended.code == 2
    assert "there are trials 0 to 1" in ended.err


def test_two_sweeps_of_one_name(cli: Cli, write_sweep) -> None:
    path = write_sweep(trials=2)
    cli("submit", path, "--wait")
    path.write_text(path.read_text().replace('direction = "minimize"', 'direction = "maximize"'))
    ended = cli("submit", path, "--wait")
    assert ended.code == 2
    assert "study.direction" in ended.err
    assert "another [study] name" in ended.err
    assert "2 of 2 finished" in cli("status", "toy").out


def test_slurm_is_not_here(cli: Cli, write_sweep, no_slurm: None, root: Path) -> None:
    ended = cli("submit", write_sweep(), "--set", "job.template=a100")
    assert ended.code == 2
    assert "use --local" in ended.err
    assert list(root.iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="takes on another user, which only root can")
def test_nothing_trains_here_unasked_where_there_is_slurm(cli: Cli, write_sweep, root: Path) -> None:
    """The tests' PATH has an sbatch: this could be a login node."""
    path = write_sweep()
    path.write_text(path.read_text().replace('template = "local"\n', ""))
    for argv in (("submit", path), ("submit", path, "--wait"), ("submit", path, "--dry-run")):
        ended = cli(*argv)
        assert ended.code == 2
        assert "--local" in ended.err
        assert "--set job.template=NAME" in ended.err
    assert list(root.iterdir()) == []
    assert "warning: SLURM is available, but the sweep names no [job] template" in cli("check", path).err
    for option in ("--partition=gpu", "--account=me", "--qos=high", "--set=job.gres=gpu:1", "--"):
        more = ("--exclusive",) if option == "--" else ()
        for chosen in ((), ("--local",)):
            ended = cli("submit", path, *chosen, option, *more)
            assert (ended.code, "runs on this machine: remove" in ended.err) == (2, True)
    assert cli("submit", path, "--local", "--wait").code == 0  # as the message says
    ended = cli("resume", path, "--set", "study.trials=7", "--wait")  # where it ran
    assert ended.code == 0, ended.err
    assert "started process" in ended.err


def test_a_sweep_without_a_template_runs_here_where_there_is_no_slurm(
    cli: Cli, write_sweep, no_slurm: None, root: Path
) -> None:
    path = write_sweep(trials=2)
    path.write_text(path.read_text().replace('template = "local"\n', ""))
    assert "SLURM" not in cli("check", path).err
    assert cli("submit", path, "--wait").code == 0


def test_logs_directory_without_write_permission(cli: Cli, write_sweep, tmp_path: Path) -> None:
    path = write_sweep()
    folder = tmp_path / "sealed"
    folder.mkdir(mode=0o555)
    for parent in (tmp_path, *tmp_path.parents):
        if parent.stat().st_uid == 0 and parent.is_relative_to("/tmp") and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o055)
    os.seteuid(65534)
    try:
        ended = cli("submit", path, "--root", folder)
    finally:
        os.seteuid(0)
    assert ended.code == 4
    assert f"no permission to write to '{folder}'" in ended.err
    assert "--root" in ended.err


def test_device_that_is_not_there(cli: Cli, write_sweep, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = cli("submit", write_sweep(trials=2), "--wait", "--workers", "1", "--set", "job.device=cuda")
    assert ended.code == 1
    assert "0 of 2" in cli("status", "toy").out
    (log,) = (Path(os.environ["HPO_BATCH_ROOT"]) / "toy" / "local").iterdir()
    assert 'device = "cuda" was requested' in log.read_text()


def test_unknown_command_and_option(cli: Cli) -> None:
    assert cli("colect").code == 2
    assert "did you mean 'collect'" in cli("colect").err
    assert cli("status", "--jsn").code == 2
