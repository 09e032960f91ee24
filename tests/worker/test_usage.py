"""What attempts use is measured as the kernel and NVML tell it; unknown is never 0."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from msgspec.structs import replace

import hpo_batch
from hpo_batch.monitor.explain import explain
from hpo_batch.monitor.status import study_statuses
from hpo_batch.records import USAGE, Usage
from hpo_batch.store.home import find_homes
from hpo_batch.worker.gpu_readings import GpuReading
from hpo_batch.worker.usage import Meter
from tests.helpers import REPOSITORY, run

SWEEP = """
[study]
name = "used"
metric = "loss"
direction = "minimize"
trials = 1
[objective]
{objective}
[space]
x = {{ low = 0.0, high = 1.0 }}
[job]
workers = 1
"""
BURN = """
import time

def burn(mb, seconds):
    held = bytearray(mb * 1_000_000)
    end = time.process_time() + seconds
    while time.process_time() < end:
        held[::4096] = b"x" * len(range(0, len(held), 4096))
    time.sleep(1.2)  # until a sample was taken
"""
FUNCTION = BURN + "def train(trial):\n    burn(300, 1.0)\n    return 1.0\n"
CHILD = """
import subprocess, sys

def train(trial):
    code = "import burning; burning.burn(300, 1.0)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": "."})
    return 1.0
"""


def ran(folder: Path, objective: str) -> pd.DataFrame:
    """The attempts of a sweep with this ``[objective]``."""
    (folder / "used.toml").write_text(SWEEP.format(objective=objective))
    started = hpo_batch.submit(folder / "used.toml", root=folder / "logs", local=True)
    hpo_batch.wait(started, timeout_s=90)
    return hpo_batch.load(started).attempts_dataframe()


@pytest.mark.parametrize("kind", ["function", "process of a function", "command"])
def test_cpu_time_and_memory_of_an_attempt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "burning.py").write_text(BURN)
    (tmp_path / "trains.py").write_text(FUNCTION if kind == "function" else CHILD)
    command = f"{sys.executable} -c 'import burning; burning.burn(300, 1.0); print(\"RESULT: loss=1\")'"
    objective = f"command = {json.dumps(command)}" if kind == "command" else 'function = "trains:train"'
    (row,) = ran(tmp_path, objective).to_dict("records")
    assert row["how"] == "complete"
    assert 1.0 <= row["cpu_s"] < 4
    assert 300 <= row["memory_mb"] < 700
    for name in USAGE[2:]:
        assert pd.isna(row[name]), f"no GPU was measured, so {name} is unknown"


def test_the_worker_itself_is_no_part_of_a_command(tmp_path: Path) -> None:
    (row,) = ran(tmp_path, 'command = ["sh", "-c", "sleep 1.5; echo RESULT: loss=1"]').to_dict("records")
    assert row["cpu_s"] < 0.3
    assert row["memory_mb"] < 30


def test_a_command_that_is_over_before_the_first_sample_has_no_known_memory(tmp_path: Path) -> None:
    (row,) = ran(tmp_path, 'command = "echo RESULT: loss=1"').to_dict("records")
    assert row["cpu_s"] >= 0
    assert pd.isna(row["memory_mb"])


def test_failed_and_retried_attempts_are_measured_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trains.py").write_text(BURN + "def train(trial):\n    burn(10, 0.3)\n    raise ValueError\n")
    attempts = ran(tmp_path, 'function = "trains:train"')
    assert set(attempts["how"]) == {"exception"}
    assert (attempts["cpu_s"] >= 0.3).all()


def test_status_and_collect_tell_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "trains.py").write_text(FUNCTION)
    (attempt,) = ran(tmp_path, 'function = "trains:train"').to_dict("records")
    trials = hpo_batch.load("used", root=tmp_path / "logs").trials_dataframe()
    assert trials["memory_mb"].iloc[0] >= 300
    assert "gpu_util" not in trials
    (status,) = study_statuses(find_homes(tmp_path / "logs", "used"))
    assert status.usage is not None
    assert attempt["cpu_s"] >= 0.3
    assert status.usage.cpus == pytest.approx(attempt["cpu_s"] / attempt["seconds"], rel=0.1)  # few on a busy machine
    assert (status.usage.gpu_util, status.usage.throttled) == (None, ())
    assert status.as_json()["usage"]["gpu_temp_c"] is None


def test_the_time_to_the_first_report_is_told_wherever_durations_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "import time\ndef train(trial):\n    time.sleep(0.3)\n"
    (tmp_path / "trains.py").write_text(text + "    trial.report(0, loss=1.0)\n    time.sleep(1.2)\n    return 1.0\n")
    (attempt,) = ran(tmp_path, 'function = "trains:train"').to_dict("records")
    assert 0.3 <= attempt["first_report_s"] < attempt["seconds"] - 1.2
    home = find_homes(tmp_path / "logs", "used")[0]
    assert hpo_batch.load("used", root=tmp_path / "logs").trials_dataframe()["first_report_s"].iloc[0] >= 0.3
    (status,) = study_statuses([home])
    assert status.as_json()["usage"]["first_report_s"] == attempt["first_report_s"]
    (story,) = explain(home, "0")
    (told,) = story.attempts
    assert told.first_report_s == attempt["first_report_s"]
    assert f"  after {told.first_report_s:.1f} s  " in run("explain", "used", "0", "--root", tmp_path / "logs").out
    assert ", the first report after 0." in run("status", "used", "--root", tmp_path / "logs").out


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    assert condition()


def test_readings_of_gpus_are_summed_up_without_those_that_are_unknown() -> None:
    readings = [
        GpuReading(util=100.0, memory_mb=10.0, temp_c=60.0, power_w=200.0, throttled=0.0, ecc_errors=4.0),
        GpuReading(util=50.0, memory_mb=30.0, throttled=1.0, ecc_errors=6.0),
    ]
    asked = []

    def read() -> list[GpuReading]:
        asked.append(1)
        return readings

    meter = Meter(read_gpus=read)
    measuring = meter.begin(is_function=True)
    wait_for(lambda: bool(measuring.gpus))
    used = meter.end(measuring)
    assert replace(used, cpu_s=None, memory_mb=None) == Usage(
        gpu_util=75.0, gpu_memory_mb=30.0, gpu_temp_c=60.0, gpu_power_w=200.0, gpu_throttled=0.5, gpu_ecc_errors=2.0
    )
    before = len(asked)
    time.sleep(1.2)
    assert len(asked) == before, "nothing is measured between attempts"


def test_a_reader_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def read() -> list[GpuReading]:
        raise OSError("gone")

    meter = Meter(read_gpus=read)
    measuring = meter.begin(is_function=True)
    wait_for(lambda: "cannot be measured" in caplog.text)
    assert meter.end(measuring).gpu_util is None


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a driver's library whose readings stand in a file."""
    folder = tmp_path_factory.mktemp("driver")
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    source, library = REPOSITORY / "tests/worker/nvml.c", folder / "libnvidia-ml.so.1"
    subprocess.run(["gcc", "-shared", "-fPIC", "-w", "-o", str(library), str(source)], check=True)
    return folder


def read_through(driver: Path, readings: str, gpus: list[str]) -> tuple[list[dict[str, Any]], str]:
    """What ``gpu_readings.reader`` reads through nvidia-ml-py, and what it logs."""
    code = (
        "import json, logging, sys; logging.basicConfig(level=20)\n"
        "from hpo_batch.worker.gpu_readings import reader\n"
        f"print(json.dumps([vars(one) for one in reader({gpus!r})()]))"
    )
    return asked(driver, readings, code)


def asked(driver: Path, readings: str, code: str) -> tuple[Any, str]:
    """What some code prints as JSON, and what it logs, on a machine with this driver."""
    pytest.importorskip("pynvml")
    (driver / "readings").write_text(readings)
    env = {**os.environ, "LD_LIBRARY_PATH": str(driver), "NVML_READINGS": str(driver / "readings")}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


ALL = "util 87\nused 2500000000\ntemp 71\npower 312500\nreasons 64\necc 0\n"


@pytest.mark.parametrize(
    ("readings", "expected"),
    [
        ("free 12e9\nours 3e9\n", [{"gpu": "0", "free_mb": 12000.0, "total_mb": 80000.0, "ours_mb": 3000.0}]),
        ("free 12e9\n", [{"gpu": "0", "free_mb": 12000.0, "total_mb": 80000.0, "ours_mb": None}]),
        ("util 1\n", [{"gpu": "0", "free_mb": None, "total_mb": None, "ours_mb": None}]),
        ("no_driver 1\n", "NVML: Driver Not Loaded"),
    ],
    ids=["ours", "not shown", "not supported", "no driver"],
)
def test_the_memory_of_a_gpu_and_what_this_process_holds_of_it(driver: Path, readings: str, expected: object) -> None:
    code = (
        "import json; from hpo_batch.worker.gpu_readings import memory_reader\n"
        "read = memory_reader(['0'])\n"
        "print(json.dumps(read if isinstance(read, str) else [vars(one) for one in read()]))"
    )
    assert asked(driver, readings, code)[0] == expected


@pytest.mark.parametrize("gpus", [["0"], ["GPU-1"]])
def test_nvml_is_read(driver: Path, gpus: list[str]) -> None:
    (one,), said = read_through(driver, ALL, gpus)
    assert one == {
        "util": 87.0, "memory_mb": 2500.0, "temp_c": 71.0, "power_w": 312.5, "throttled": 1.0, "ecc_errors": 0.0,
    }  # fmt: skip
    assert said == ""


@pytest.mark.parametrize(
    ("reasons", "throttled"), [(0, 0.0), (1, 0.0), (4, 0.0), (8, 1.0), (32, 1.0), (64, 1.0), (128, 1.0), (4 | 32, 1.0)]
)
def test_heat_and_power_supply_slow_down_but_idling_and_the_power_limit_do_not(
    driver: Path, reasons: int, throttled: float
) -> None:
    (one,), _ = read_through(driver, f"reasons {reasons}\n", ["0"])
    assert one["throttled"] == throttled


def test_what_a_gpu_does_not_tell_is_unknown(driver: Path) -> None:
    (one,), _ = read_through(driver, "temp 40\n", ["0"])
    assert {name for name, value in one.items() if value is not None} == {"temp_c"}


@pytest.mark.parametrize(
    ("readings", "gpus", "why"),
    [("no_driver 1\n", ["0"], "Driver Not Loaded"), (ALL, ["5"], "NVML"), (ALL, ["MIG-1"], "NVML")],
    ids=["no driver", "no such index", "a slice it does not know"],
)
def test_without_nvml_nothing_is_read_and_the_log_says_why(
    driver: Path, readings: str, gpus: list[str], why: str
) -> None:
    found, said = read_through(driver, readings, gpus)
    assert found == []
    assert why in said
    assert "not recorded" in said


def test_usage_keeps_what_is_known() -> None:
    assert Usage(cpu_s=0.0).known() == {"cpu_s": 0.0}
