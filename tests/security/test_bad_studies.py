"""One bad study is its own misfortune: every command tells it by name, at once, and goes on with the others."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from hpo_batch.cli.main import run
from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.study import examine_study
from hpo_batch.errors import HpoBatchError
from hpo_batch.monitor.status import View
from hpo_batch.sources.read import read_study
from hpo_batch.store.home import home_of
from tests.users.conftest import SWEEP

BUG = 70
MOST_S = 10.0
DEEP = "[" * 200_000 + "]" * 200_000
CATEGORICAL = '{"name": "CategoricalDistribution", "attributes": {"choices": [1, 2]}}'
FLOAT = '{"name": "FloatDistribution", "attributes": {"step": null, "low": 0.0, "high": 1.0, "log": false}}'
NOW = "2026-01-01T00:00:00+00:00"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two studies in a logs directory, run once."""
    folder = tmp_path_factory.mktemp("made")
    (folder / "toys.py").write_text(
        "def quick(trial):\n    trial.report(1, score=0.5)\n    return {'score': trial.params['x'], 'other': 2.0}\n"
    )
    for name in ("good", "bad"):
        text = SWEEP.format(study="", objective='function = "toys:quick"', more="").replace('"toy"', f'"{name}"')
        (folder / f"{name}.toml").write_text(text)
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(folder)
            patch.setenv("PYTHONPATH", str(folder), prepend=":")
            assert run(["submit", str(folder / f"{name}.toml"), "--root", str(folder / "logs"), "--wait"]) == 0
    return folder / "logs"


@pytest.fixture
def root(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "logs")


@pytest.fixture
def hurried() -> Iterator[None]:
    def late(number: int, frame: FrameType | None) -> None:
        raise AssertionError("it takes too long")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, MOST_S)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def trial(**changes: Any) -> dict[str, Any]:
    """A record that makes a whole trial."""
    record = {
        "op_code": 4, "worker_id": "hpo-batch-x", "study_id": 0, "datetime_start": NOW, "datetime_complete": NOW,
        "state": 1, "value": 0.5, "params": {"x": 0.5}, "distributions": {"x": FLOAT}, "user_attrs": {},
        "system_attrs": {}, "intermediate_values": {},
    }  # fmt: skip
    return record | changes


ATTEMPT = {"worker": "w", "job": "local", "host": "h", "pid": 1, "start": 1, "boot": "", "token": "t", "started": 1.0}
RECORDS: dict[str, dict[str, Any] | str] = {
    "attempt without end": trial(system_attrs={"hpo:attempt:999999999999": ATTEMPT}),
    "attempt 99,999": trial(system_attrs={"hpo:attempt:99999": ATTEMPT}),
    "attempt of 5,000 digits": trial(system_attrs={f"hpo:attempt:{'9' * 5000}": ATTEMPT}),
    "negative attempt": trial(system_attrs={"hpo:attempt:-1": ATTEMPT}),
    "attempt that is a list": trial(system_attrs={"hpo:attempt:1": [1]}),
    "attempt without worker": trial(system_attrs={"hpo:attempt:1": {"started": 1.0}}),
    "attempt at no time": trial(system_attrs={"hpo:attempt:1": ATTEMPT | {"started": "hello"}}),
    "attempt in the year 10^290": trial(system_attrs={"hpo:attempt:1": ATTEMPT | {"started": 1e300}}),
    "ended at no time": trial(system_attrs={"hpo:attempt:1": ATTEMPT, "hpo:ended:1": {"time": {}, "how": 7}}),
    "hello as date": trial(datetime_complete="hello"),
    "hello as start": trial(datetime_start="hello"),
    "date before time": trial(datetime_start="0001-01-01T00:00:00"),
    "date of 200,000 digits": trial(datetime_start="1" * 200_000),
    "facts that are a list": trial(system_attrs={"hpo:trial": [1, 2]}),
    "facts of other types": trial(system_attrs={"hpo:trial": {"key": 1, "seeds": "x", "derived": [1]}}),
    "seeds that are numbers": trial(system_attrs={"hpo:trial": {"key": "k", "seeds": 7}}),
    "failure that is a number": trial(state=3, system_attrs={"hpo:failure": 5}),
    "fail reason that is a list": trial(state=3, system_attrs={"fail_reason": [1]}),
    "choice that is none": trial(params={"x": 99.0}, distributions={"x": CATEGORICAL}),
    "choice that is infinite": '{"op_code":4,"study_id":0,"state":1,"value":0.5,"params":{"x":Infinity},'
    + f'"distributions":{{"x":{json.dumps(CATEGORICAL)}}}}}',
    "no distribution": trial(distributions={}),
    "distribution that is none": trial(distributions={"x": "{}"}),
    "params that are a list": trial(params=[1]),
    "value that is a text": trial(value="much"),
    "values without end": trial(value=None, values=[1.0] * 1000),
    "state that is none": trial(state=17),
    "steps that are none": trial(intermediate_values={"x": 1.0}),
    "step of 5,000 digits": trial(intermediate_values={"9" * 5000: 1.0}),
    "step values that are texts": trial(intermediate_values={"1": "x"}),
    "far step": trial(intermediate_values={str(10**18): 0.5, "1": 0.5}),
    "metrics that are lists": trial(user_attrs={"other": [1], "hpo:replicates": "x"}),
    "replicates that are texts": trial(user_attrs={"hpo:replicates": [{"score": "x"}]}),
    "nested note": '{"op_code":8,"trial_id":0,"user_attr":{"x":' + DEEP + "}}",
    "nested facts": json.dumps(trial(system_attrs={"hpo:trial": "DEEP"})).replace('"DEEP"', DEEP),
    "nested metric": json.dumps(trial(user_attrs={"x": "DEEP"})).replace('"DEEP"', DEEP),
    "nested line": DEEP,
    "target that is a text": {"op_code": 3, "study_id": 0, "system_attr": {"hpo:revision": {"target": "x"}}},
    "revision that is a list": {"op_code": 3, "study_id": 0, "system_attr": {"hpo:revision": [1]}},
    "revision elsewhere": {
        "op_code": 3, "study_id": 0, "system_attr": {"hpo:revision": {"number": "../x", "target": 1, "digest": ""}}
    },
    "metrics that are a number": {"op_code": 3, "study_id": 0, "system_attr": {"hpo:metrics": 5}},
    "format that is a text": {"op_code": 3, "study_id": 0, "system_attr": {"hpo:format": "x"}},
    "imported that is a list": {"op_code": 3, "study_id": 0, "system_attr": {"hpo:imported": [1]}},
    "trial of another world": {"op_code": 6, "trial_id": 10**30, "state": 1},
    "no utf-8": "\udcff\udcfe",
}  # fmt: skip


@pytest.mark.usefixtures("hurried")
@pytest.mark.parametrize("kind", RECORDS)
def test_every_command_tells_which_study_is_bad(
    root: Path, tmp_path: Path, kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    record = RECORDS[kind]
    line = record if isinstance(record, str) else json.dumps(record)
    with (root / "bad" / "journal.jsonl").open("ab") as file:
        file.write(line.encode(errors="surrogateescape") + b"\n")
    codes = {}
    for argv in (
        ["list"], ["status", "bad"], ["collect", "bad"], ["collect", "bad", "-o", str(tmp_path / "x.csv")],
        ["collect", "bad", "--attempts"], ["collect", str(root / "bad" / "journal.jsonl")], ["explain", "bad", "2"],
        ["logs", "bad"], ["collect", "good", "bad"], ["report", "good", "bad", "-o", str(tmp_path / "report")],
    ):  # fmt: skip
        codes[tuple(argv)] = code = run([*argv, "--root", str(root)])
        told = capfd.readouterr()
        assert code != BUG, (argv, told.err)
        assert code < BUG
        if argv[0] == "list":
            assert "good" in told.out
            assert "2 of 2      finished" in told.out
        if argv == ["collect", "good", "bad"]:
            assert told.out.count("COMPLETE") >= 2, told.err
            assert code == codes["collect", "bad"], told.err
    if codes["collect", "bad"]:  # doctor said "journal ok" of what collect could not read
        found = [finding for finding in examine_study(home_of(root, "bad")) if finding.about == "journal"]
        assert {finding.level for finding in found} == {Level.BAD}, found


@pytest.mark.parametrize("seed", range(4))
def test_flipped_bits(root: Path, seed: int) -> None:
    """A disk, a cable, a memory: no reader ends with a bug, whichever bit it is."""
    chance = random.Random(seed)
    home = home_of(root, "bad")
    whole = home.journal.read_bytes()
    end = time.monotonic() + 4.0
    tried = 0
    while time.monotonic() < end:
        content = bytearray(whole)
        for _ in range(chance.choice((1, 1, 1, 3))):
            content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)
        home.journal.write_bytes(content)
        for read in (lambda: View([home]).look()[0].as_json(), lambda: read_study(home, reports=True)):
            try:
                read()
            except HpoBatchError:
                continue
        tried += 1
    assert tried > 20


def test_status_of_several_budgets(root: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (root / "both").mkdir()
    for name in ("good", "bad"):
        (root / name).rename(root / "both" / name)
    with (root / "both" / "bad" / "journal.jsonl").open("a") as file:
        file.write(json.dumps(trial(system_attrs={"hpo:attempt:999999999999": ATTEMPT})) + "\n")
    assert run(["status", "both", "--root", str(root)]) == 4
    told = capfd.readouterr()
    assert "both/good" in told.out
    assert "error: the journal has a malformed record" in told.err
