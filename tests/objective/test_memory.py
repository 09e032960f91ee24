"""Whether the kernel killed a process for memory: its own counts, and a command that really is killed."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hpo_batch.objective.memory import CGROUPS, oom_kills
from tests.helpers import REPOSITORY

COUNTED = "low 0\noom 3\noom_kill 2\noom_group_kill 0\n"


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("own", "where"),
    [
        ("0::/slurm/job_7/step_0\n", "slurm/job_7/step_0/memory.events"),
        ("0::/outside/of/the/container\n", "memory.events"),
        ("9:cpu,cpuacct:/x\n4:memory:/slurm/job_7\n0::/\n", "memory/slurm/job_7/memory.oom_control"),
        ("4:memory:/outside\n", "memory/memory.oom_control"),
    ],
)
def test_the_count_of_the_own_group_is_read(tmp_path: Path, own: str, where: str) -> None:
    write(tmp_path / "own", own)
    assert oom_kills(cgroups=tmp_path / "cgroup", own=tmp_path / "own") is None
    write(tmp_path / "cgroup" / where, COUNTED)
    assert oom_kills(cgroups=tmp_path / "cgroup", own=tmp_path / "own") == 2


def test_nobody_tells(tmp_path: Path) -> None:
    assert oom_kills(cgroups=tmp_path, own=tmp_path / "missing") is None
    write(tmp_path / "own", "4:memory:/a\n")
    write(tmp_path / "memory" / "a" / "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\n")  # before Linux 4.13
    assert oom_kills(cgroups=tmp_path, own=tmp_path / "own") is None


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with little memory; skips where none can be made."""
    first = (CGROUPS / "memory").is_dir()
    group = (CGROUPS / "memory" if first else CGROUPS) / f"hpo-batch-{secrets.token_hex(4)}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"cannot make a control group: {error}")
    try:
        limits = (
            ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes") if first else ("memory.max", "memory.swap.max")
        )
        try:
            (group / limits[0]).write_text(str(400 << 20))
        except OSError as error:
            pytest.skip(f"cannot limit the memory of a control group: {error}")
        with contextlib.suppress(OSError):  # without swap there is nothing to limit
            (group / limits[1]).write_text(str(400 << 20) if first else "0")
        yield group
    finally:
        group.rmdir()


RUN = """
import sys
from pathlib import Path
from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.trial import Trial, TrialContext
from hpo_batch.records import Verdict

(Path(sys.argv[1]) / "cgroup.procs").write_text("0")
class Engine:
    def take_report(self, step, metrics): return Verdict.CONTINUE
    def stopping(self): return None
folder = Path(sys.argv[2])
context = TrialContext(number=0, attempt=1, params={}, seed=1, dir=folder, checkpoint=folder / "c")
trial = Trial(context, Engine())
command = [sys.executable, "-S", "-c", sys.argv[3]]
outcome = CommandObjective(template=Template.parse(command), wanted=Wanted.parse(("loss",), {}), env={}).run(trial)
print(outcome.reason.value, "|", outcome.message)
"""


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("x = bytearray(b'1' * (1 << 30))", "oom_host | killed by SIGKILL out of memory: raise job."),
        ("import os; os.kill(os.getpid(), 9)", "exit_code | killed by SIGKILL; out of memory? "),
        (
            "import subprocess, sys\n"
            "code = subprocess.call([sys.executable, '-c', 'x = bytearray(b\"1\" * (1 << 30))'])\n"
            "print('exitcode  : %d (pid: 77)' % code, file=sys.stderr); sys.exit(1)",
            "oom_host | exit code 1 out of memory: raise job.mem_gb: exitcode : -9 (pid: 77)",
        ),
    ],
    ids=["the command", "by somebody", "a part of it"],
)
def test_a_command_killed_for_memory_is_told_from_one_killed_by_somebody(
    small_group: Path, tmp_path: Path, code: str, told: str
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUN, str(small_group), str(tmp_path / "trial"), code],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        timeout=100,
        check=False,
    )
    assert done.stdout.startswith(told), (done.stdout, done.stderr)
