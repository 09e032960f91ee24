"""What fuzzers found (tests/fuzzers), each with its relatives: kept whole, since no seed is sure to find it again."""

from __future__ import annotations

import contextlib
import io
import json
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pandas as pd
import pytest
from msgspec.structs import replace
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from hpo_batch.envvars import EnvVar
from hpo_batch.results.formats import render
from hpo_batch.scheduler import allocation
from hpo_batch.scheduler.gpu_request import count_gpus, gpu_request
from hpo_batch.scheduler.gpus import parse_gpus
from hpo_batch.scheduler.slurm import site
from hpo_batch.scheduler.slurm.accounts import parse_sacct
from hpo_batch.scheduler.slurm.control import parse_config
from hpo_batch.scheduler.slurm.queue import parse_squeue
from hpo_batch.scheduler.tasks import ArrayTask
from hpo_batch.store import leases
from hpo_batch.store.attempt_folder import newest_checkpoint
from hpo_batch.store.home import home_of
from hpo_batch.store.leases import read_owners
from hpo_batch.store.submissions import read_submissions, strange_lines
from hpo_batch.store.worker_name import WorkerName
from hpo_batch.study.rebuild import newest_revision
from tests.cli.conftest import cli as cli  # a fixture
from tests.fuzzers.targets import SAMPLE
from tests.journal.helpers import read_state

pytestmark = pytest.mark.usefixtures("few_turns")

LONG = "9" * 5_000
"""Python reads no integer of so many digits, and no float holds one of 400"""


@pytest.mark.parametrize("digits", [LONG, "9" * 400, "9" * 19])
@pytest.mark.parametrize(
    "read",
    [
        *(lambda n, line=line: parse_squeue(line.replace("N", n)) for line in (
            "N|0|RUNNING|None|0:01|0:01|n1", "7|N|RUNNING|None|0:01|0:01|n1", "7|0|RUNNING|None|N-00:00:01|0:01|n1",
            "7|0|RUNNING|None|0:01|N:00:01|n1", "7|0|RUNNING|None|N:01|0:N|n1",
        )),
        lambda n: parse_squeue(f"7|0|RUNNING|None|0:01|0:01|n1|{n}|name\t/script", whole=True),
        *(lambda n, i=i: parse_sacct("|".join(n if i == j else t for j, t in enumerate(
            ["7", "FAILED", "1:0", "1", "1", "2", "1", "30", "cpu=1,gres/gpu=1", "n1"]))) for i in range(10)),
        *(lambda n, line=line: parse_sacct(line.replace("N", n)) for line in (
            "N_[0-3]|PENDING|0:0|1|1|1|1|1||n", "7_[0-N]|PENDING|0:0|1|1|1|1|1||n", "7_N|FAILED|N:N|1|1|1|1|1||n",
            "7|FAILED|0:0|1|1|1|1|1|gres/gpu=N,cpu=N|n",
        )),
        *(lambda n, key=key: parse_config(f"{key} = {n}") for key in ("MaxArraySize", "KillWait")),
        lambda n: parse_config(f"SchedulerParameters = max_array_tasks={n}"),
        *(lambda n, key=key: site.parse_partitions(f"PartitionName=a {key}={n}") for key in (
            "TotalNodes", "MaxNodes", "GraceTime", "MaxTime", "TRES")),
        lambda n: site.parse_partitions(f"PartitionName=a MaxTime={n}-00:00:00 TRES=gres/gpu={n}"),
        lambda n: site.parse_associations(f"a||q|q|{n}|{n}|{n}|{n}"),
        lambda n: site.parse_qos(f"q|{n}|{n}|{n}|{n}|{n}-00:00:00"),
        lambda n: parse_gpus(f"{n}, GPU-1, A100, {n}"),
    ],
)  # fmt: skip
def test_numbers_of_slurm_that_nothing_holds(read: Callable[[str], object], digits: str) -> None:
    read(digits)


@pytest.mark.parametrize("size", ["x", "", "-1", "1e9", LONG])
def test_an_array_size_that_is_none_is_slurms_default(size: str) -> None:
    assert parse_config(f"MaxArraySize = {size}").max_array_size == 1001
    assert parse_config("MaxArraySize = 500").max_array_size == 500
    assert parse_config("MaxArraySize = 0").max_array_size == 0


@pytest.mark.parametrize("digits", [LONG, "9" * 400, "9" * 19, "x"])
def test_an_allocation_with_numbers_that_are_none(digits: str) -> None:
    """A wrapper of the site's may export anything."""
    names = [*re.findall(r'"(SLURM_\w+)"', Path(allocation.__file__).read_text()), *EnvVar]
    assert len(set(names)) > len(EnvVar) + 5
    plain = {"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "0"}
    for name in set(names):
        allocation.read(plain | {name: digits}, 1.0)


@pytest.mark.parametrize("digits", [LONG, "9" * 400, "9" * 19])
def test_a_request_for_gpus_that_nobody_can_have(digits: str) -> None:
    for value in (digits, f"a100:{digits}", f"gpu:{digits}", f"gpu:a100={digits}(S:0-1)"):
        assert count_gpus(value) == 1, value
    options = {"gpus-per-socket": digits, "sockets-per-node": digits}
    assert gpu_request({}, options, nodes=1, tasks_per_node=1).count is None


@pytest.mark.parametrize("digits", [LONG, "9" * 19, "²"])
def test_a_name_of_a_worker_with_numbers_that_are_none(digits: str) -> None:
    name = WorkerName.parse(f"7-r{digits}-{digits}.{digits}")
    assert (name.run, name.index, name.slot) == (None, 0, None)


@pytest.mark.parametrize("text", [LONG, f"7_{LONG}", "x", ""])
def test_a_task_that_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a SLURM job id"):
        ArrayTask.parse(text)


@pytest.mark.parametrize("id", ["7_", "7_x", "7__1", "_7", "x", "", "7_[", "7_[]", "²", f"{LONG}_[0-3]"])
def test_a_line_of_sacct_whose_job_is_none(id: str) -> None:
    whole = "8|FAILED|1:0|1|1|2|1|30|cpu=1|n1"
    assert set(parse_sacct(f"{id}|FAILED|1:0|1|1|2|1|30|cpu=1|n1\n{whole}")) == {ArrayTask(job=8, index=0)}


@pytest.fixture
def sample(root: Path) -> Path:
    return shutil.copytree(SAMPLE, root / "s")


@pytest.mark.parametrize("id", ["x", "", "7;cluster", "-1", "7_0", "*", "٣", LONG])
@pytest.mark.parametrize("kind", ["slurm", "local"])
def test_a_submission_whose_job_is_none(cli: Callable[..., object], sample: Path, id: str, kind: str) -> None:
    home = home_of(sample.parent, "s")
    first = json.loads(home.submissions.read_text().splitlines()[0])
    with home.submissions.open("a") as file:
        file.write(json.dumps(first | {"id": "000000000000", "kind": kind, "job_ids": ["7", id]}) + "\n")
    assert "000000000000" not in {one.id for one in read_submissions(home)}
    assert [number for number, _ in strange_lines(home)] == [5]
    for words in (("status", "s"), ("list",), ("explain", "s", "0"), ("logs", "s", "0", "--worker")):
        assert cli(*words).code == 0, words  # type: ignore[attr-defined]


@pytest.mark.parametrize("job", ["x", "", "٣_٣", LONG, f"7_{LONG}"])
def test_a_card_whose_job_is_none(cli: Callable[..., object], sample: Path, job: str) -> None:
    path = sample / "workers" / "457915f1b8aa-0.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"job": job}))
    known = set(read_owners(path.parent))
    assert known == {"b8edc14878bf-1"} or job == "٣_٣"
    assert cli("status", "s").code == 0  # type: ignore[attr-defined]


@pytest.mark.parametrize("job", ["x", "", LONG])
def test_an_attempt_whose_job_is_none(cli: Callable[..., object], sample: Path, job: str) -> None:
    journal = sample / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"job":"local"', f'"job":"{job}"'))
    for words in (("status", "s"), ("list",), ("explain", "s", "0"), ("logs", "s", "0", "--worker"), ("collect", "s")):
        ended = cli(*words)
        assert ended.code < 70, (words, ended)  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", ["²", "٣", "9" * 200, "-1", "1.5"])
def test_a_folder_among_the_attempts_that_is_none(sample: Path, name: str) -> None:
    home = home_of(sample.parent, "s")
    found = newest_checkpoint(home, 3)
    (home.trial(3) / "attempts" / name / "checkpoint").mkdir(parents=True)
    (home.trial(3) / "attempts" / name / "checkpoint" / "x").write_text("x")
    assert newest_checkpoint(home, 3) == found


@pytest.mark.parametrize("name", ["²", "٣", "9" * 200, "", "-1"])
def test_a_frozen_sweep_whose_number_is_none(cli: Callable[..., object], sample: Path, name: str) -> None:
    shutil.rmtree(sample / "workers")  # whose leases would be watched
    for kind in ("sweep", "imported"):
        (sample / f"{kind}.{name}.{'json' if kind == 'sweep' else 'jsonl'}").write_text("{}")
    assert newest_revision(home_of(sample.parent, "s"))[0] == 2
    for words in (("doctor", "s", "--rebuild", "--force"), ("list",), ("collect", "s"), ("status", "s")):
        assert cli(*words).code == 0, words  # type: ignore[attr-defined]


def test_a_worker_that_was_requeued_more_often_than_anything(cli: Callable[..., object], sample: Path) -> None:
    runs = [{"worker": f"7-r{n}-0", "job": "7_0"} for n in ("1", "2", LONG)]
    assert leases.follows(runs[1], runs[0])
    assert not leases.follows(runs[2], runs[0])
    name = f"7-r{LONG}-0"
    journal = sample / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"worker":"457915f1b8aa-0"', f'"worker":"{name}"'))
    for words in (("status", "s"), ("status", "s", "--json"), ("explain", "s", "0"), ("collect", "s", "--attempts")):
        assert cli(*words).code == 0, words  # type: ignore[attr-defined]


@pytest.mark.parametrize("job", ["(", "7_(", "[", "(a+)+$_(a+)+$", "\\", "*"])
def test_a_job_is_no_pattern(sample: Path, job: str) -> None:
    owner = next(iter(read_owners(sample / "workers").values()))
    assert not leases.is_followed(sample / "workers", replace(owner, job=job))


@pytest.mark.parametrize("missing", ["hpo:attempt:1", "hpo:attempt:2"])
def test_an_attempt_of_which_the_journal_knows_nothing(cli: Callable[..., object], sample: Path, missing: str) -> None:
    """As ``doctor --rebuild`` leaves one whose claim could not be read."""
    journal = sample / "journal.jsonl"
    text = journal.read_text()
    assert f'"{missing}":' in text
    journal.write_text(text.replace(f'"{missing}":', '"z":'))
    for words in (
        ("collect", "s"), ("collect", "s", "--attempts"), ("report", "s"), ("compare", "s", "s"), ("status", "s"),
        ("status", "s", "--json"), ("explain", "s", "3"), ("logs", "s", "3"), ("retry", "s", "-n"),
    ):  # fmt: skip
        assert cli(*words).code == 0, words  # type: ignore[attr-defined]


def test_a_parquet_file_whose_columns_contradict_its_schema(tmp_path: Path) -> None:
    """Such a file ended the process with SIGABRT, in pyarrow."""
    whole = io.BytesIO()
    pd.DataFrame({"value": [0.5, 0.25], "x": [1.0, 2.0], "rows": [[1], [2, 3]]}).to_parquet(whole)
    content = whole.getvalue()
    optional, required = (
        b"\x25\x02\x18\x01x",
        b"\x25\x00\x18\x01x",
    )  # field 3 of a SchemaElement, and the name behind it
    assert content.count(optional) == 1
    for name, data, code in (("whole", content, 0), ("bad", content.replace(optional, required), 2)):
        path = tmp_path / f"{name}.parquet"
        path.write_bytes(data)
        argv = [sys.executable, "-m", "hpo_batch", "collect", str(path), "--root", str(tmp_path), "--value", "value"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert done.returncode == code, (name, done.returncode, done.stderr)
    assert "cannot be read as Parquet" in done.stderr


def test_a_null_among_the_reports_is_none(cli: Callable[..., object], sample: Path) -> None:
    """Of a record of its own, and of a trial that was written at once."""
    journal = sample / "journal.jsonl"
    text = journal.read_text()
    spoilt = text.replace('"step":2,"intermediate_value":0.5', '"step":2,"intermediate_value":null').replace(
        '"intermediate_values":{"1":1.0,"2":0.5', '"intermediate_values":{"1":1.0,"2":null'
    )
    assert spoilt.count("null") > text.count("null") + 1
    journal.write_text(spoilt)
    state = read_state(journal)
    assert [sorted(state.trials[number].steps) for number in (0, 4)] == [[1, 3], [1, 3]]
    for words in (("collect", "s"), ("report", "s"), ("status", "s")):
        assert cli(*words).code == 0, words  # type: ignore[attr-defined]


@pytest.mark.parametrize("value", ['"op_code"', "1e30", "[1]", "-9", '{"a": 1}'])
def test_a_parameter_that_is_none_of_its_choices(cli: Callable[..., object], sample: Path, value: str) -> None:
    """Commands that write decode the parameters of one trial, and no table of them all."""
    journal = sample / "journal.jsonl"
    text = journal.read_text()
    spoilt = text.replace('"params":{"x":0.125,"n":2', f'"params":{{"x":0.125,"n":{value}')  # of the trial that failed
    assert spoilt != text
    journal.write_text(spoilt)
    for words in (("retry", "s", "-n"), ("retry", "s"), ("explain", "s", "2"), ("logs", "s", "2"), ("collect", "s")):
        ended = cli(*words)
        assert (ended.code, "malformed" in ended.err) == (4, True), (words, ended)  # type: ignore[attr-defined]
    assert journal.read_text() == spoilt
    assert cli("doctor", "s").code == 4  # type: ignore[attr-defined]


def test_a_study_of_ours_without_directions(cli: Callable[..., object], sample: Path) -> None:
    journal = sample / "journal.jsonl"
    journal.write_text(journal.read_text().replace('"directions":[1]', '"directions":[]', 1))
    for words in (("collect", "s"), ("collect", "s", "--top", "1"), ("report", "s"), ("status", "s"), ("retry", "s")):
        ended = cli(*words)
        assert (ended.code, "without a direction" in ended.err) == (4, True), (words, ended)  # type: ignore[attr-defined]
    assert cli("doctor", "s").code == 4  # type: ignore[attr-defined]


def test_a_study_of_optunas_without_directions(cli: Callable[..., object], root: Path) -> None:
    for url in (f"sqlite:///{root}/x.db", JournalStorage(JournalFileBackend(str(root / "x.log")))):
        study = optuna.create_study(study_name="s", storage=url)
        study.optimize(lambda trial: trial.suggest_float("x", 0, 1), n_trials=2)
    with contextlib.closing(sqlite3.connect(root / "x.db")) as database, database:
        database.execute("delete from study_directions")
    text = (root / "x.log").read_text()
    (root / "x.log").write_text(text.replace('"directions":[1]', '"directions":[]'))
    assert (root / "x.log").read_text() != text
    for path in (root / "x.db", root / "x.log"):
        for words in (("collect", path), ("collect", path, "--top", "1"), ("report", path, "-o", root / "report")):
            ended = cli(*words)
            assert (ended.code, "has no direction" in ended.err) == (2, True), ended  # type: ignore[attr-defined]


def test_bytes_in_a_cell_are_text_in_json() -> None:
    """As SQLite keeps them in a column of numbers."""
    frame = pd.DataFrame({"params_x": [b"a\xff", 1.0]})
    assert json.loads(render(frame, "json")) == [{"params_x": "a\\xff"}, {"params_x": 1.0}]
