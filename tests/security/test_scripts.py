"""A value of a sweep, a key or a path tries to become a line of its own in what SLURM and the kernel are given."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.launch import collector
from hpo_batch.launch.sbatch import parameters, sbatch_text, script_text, start_text
from hpo_batch.sweep.schema import Job
from tests.cli.conftest import cli as cli  # a fixture
from tests.cli.conftest import write_sweep as write_sweep  # a fixture
from tests.launch.test_collector import JOB, SUBMISSION, a_plan

LINE = "x\n#SBATCH --uid=0\ntouch /tmp/owned"
ENDS = ["\n", "\r", "\0", "\x0b", "\x0c", "\x1b", "\x85", "\u2028"]
TEXTS = [
    field.name
    for field in fields(Job)
    if re.search(r"\bstr\b", str(field.type)) and field.name not in ("sbatch", "setup")
]


def told(value: str) -> str:
    return json.dumps(value)  # escapes as TOML has them


@pytest.mark.parametrize("end", ENDS, ids=ascii)
@pytest.mark.parametrize("key", [*TEXTS, "sbatch.comment"])
def test_check_and_submit_refuse_a_line_in_a_value(cli, write_sweep: Callable[..., Path], key: str, end: str) -> None:
    value = told(f"x{end}#SBATCH --uid=0")
    value = f"[{value}]" if key == "srun_args" else value
    if key in ("template", "scheduler", "device"):
        sweep = write_sweep()
        ended = cli("check", sweep, "--set", f"job.{key}={value}")
    else:
        sweep = write_sweep()
        sweep.write_text(sweep.read_text().replace('template = "local"', f'template = "cpu"\n{key} = {value}'))
        ended = cli("check", sweep)
    assert ended.code == 2, ended
    assert f"job.{key}" in ended.err or key in ended.err
    assert "\n#SBATCH" not in ended.err
    assert "bug" not in ended.err


@pytest.mark.parametrize(
    "given",
    ["comment\\n#SBATCH --uid", "comment --uid", "comment=x --array", "", "-p", "comment\\u0000", "comment\\t--wrap"],
)
def test_a_key_of_sbatch_is_one_option(cli, write_sweep: Callable[..., Path], given: str) -> None:
    sweep = write_sweep()
    sweep.write_text(
        sweep.read_text().replace('template = "local"', f'template = "cpu"\nsbatch = {{ "{given}" = "0" }}')
    )
    ended = cli("check", sweep)
    assert (ended.code, "bug" in ended.err) == (2, False), ended
    assert "job.sbatch" in ended.err


@pytest.mark.parametrize(
    ("table", "key", "line"),
    [
        ("objective", "objective.cwd", 'cwd = "/tmp/a\\u0000b"'),
        ("objective", "objective.cwd", 'cwd = "/tmp/a\\nb"'),
        ("objective", "objective.env", 'env = { A = "a\\u0000b" }'),
        ("objective", "objective.env", 'env = { "A\\u0000" = "b" }'),
        ("objective", "objective.env", 'env = { "A=B" = "b" }'),
        ("objective", "objective.env", 'env = { "A\\nB" = "b" }'),
        ("objective", "objective.env", 'env = { "" = "b" }'),
        ("study", "study.import", 'import = ["a\\nb"]'),
        ("study", "study.import", 'import = ["a\\u0000b"]'),
        ("study", "study.metric", None),
        ("space", "space.y", 'y = ["a\\u0000b", "c"]'),
        ("job", "job.setup", 'setup = ["a\\u0000b"]'),
        ("job", "job.setup", 'setup = ["a\\rb"]'),
    ],
)
def test_what_no_process_can_be_told_is_refused(cli, write_sweep, table: str, key: str, line: str | None) -> None:
    sweep = write_sweep()
    text = sweep.read_text()
    if line is None:
        sweep.write_text(text.replace('metric = "score"', 'metric = "sc\\u0000re"'))
    else:
        sweep.write_text(text.replace(f"[{table}]", f"[{table}]\n{line}"))
    for command in ("check", "submit"):
        ended = cli(command, sweep)
        assert ended.code == 2, ended
        assert key in ended.err


def test_what_is_meant_to_have_lines_may_have_them(cli, write_sweep) -> None:
    sweep = write_sweep(more='setup = ["if true; then\\n\\techo a\\nfi"]\n')
    sweep.write_text(sweep.read_text().replace("[objective]", '[objective]\nenv = { A = "two\\nlines" }'))
    assert cli("check", sweep).code == 0


@pytest.mark.parametrize(
    "job",
    [
        *(Job(**{name: LINE}) for name in TEXTS if name not in ("template", "scheduler", "device", "srun_args")),  # type: ignore[arg-type]
        Job(srun_args=(LINE,)),
        Job(sbatch={"comment": LINE}),
        Job(sbatch={LINE: "x"}),
        Job(sbatch={"comment --uid": "0"}),
    ],
    ids=lambda job: str([f.name for f in fields(Job) if getattr(job, f.name) != f.default][:1]),
)
def test_no_script_is_written_of_a_frozen_sweep_that_says_so(job: Job, tmp_path: Path) -> None:
    """It came past ``check``: by an editor, in a study that somebody else may write."""
    for write in (
        lambda: sbatch_text(job, folder=tmp_path, name="n", workdir=tmp_path, tasks=2, pickle="p.pkl"),
        lambda: (
            script_text("x", folder=tmp_path, asked=parameters(job, name="n", workdir=tmp_path))
            + start_text(job, folder=tmp_path, pickle="p.pkl")
        ),
    ):
        with pytest.raises(UserError):
            write()


@pytest.mark.parametrize("place", ["folder", "workdir", "name"])
def test_no_script_is_written_for_a_path_with_a_line_in_it(place: str, tmp_path: Path) -> None:
    places = {"folder": tmp_path, "workdir": tmp_path, "name": "n"}
    places[place] = f"n{LINE}" if place == "name" else tmp_path / LINE
    with pytest.raises(UserError, match="control character"):
        sbatch_text(Job(), tasks=2, pickle="p.pkl", **places)  # type: ignore[arg-type]


def test_a_directory_with_a_line_in_its_name(cli, write_sweep, tmp_path: Path) -> None:
    root = tmp_path / "a\n#SBATCH --uid=0\n"
    ended = cli("submit", write_sweep(), "--set", "job.template=cpu", "--root", root, "-n")
    assert "\n#SBATCH --uid=0\n" not in ended.out
    assert (ended.code, "bug" in ended.err) == (2, False), ended


def test_the_collectors_script(root: Path) -> None:
    plan = a_plan(root, JOB)
    for small in (Job(account=LINE), Job(sbatch={LINE: "x"}), Job(sbatch={"comment --uid": "0"})):
        with pytest.raises(UserError):
            collector.script(plan, small, SUBMISSION)
    text = collector.script(plan, Job(setup=("#SBATCH --uid=0",)), SUBMISSION)
    head = text[: text.index("code=0")]
    assert "--uid" not in head  # sbatch reads no further than to the first command


def test_the_path_of_a_study_put_aside_is_quoted(cli, write_sweep, tmp_path: Path) -> None:
    root = tmp_path / "a b; touch owned"
    assert cli("submit", write_sweep(trials=1), "--wait", "--root", root).code == 0
    told = cli("rm", "toy", "--root", root).err
    line = told.partition("to restore it: ")[2]
    import subprocess

    subprocess.run(["sh", "-ec", line], cwd=tmp_path, check=True)
    assert not (tmp_path / "owned").exists()
    assert (root / "toy").is_dir()


def test_texts_are_found_by_their_types() -> None:
    assert {"partition", "gres", "python", "dependency", "reservation", "srun_args"} <= set(TEXTS)
    assert replace(Job(), partition=LINE).partition == LINE
