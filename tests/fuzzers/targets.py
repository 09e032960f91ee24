"""The fuzzers: for each reader its inputs, and what must hold whatever it is given.

It answers or refuses in words of ours, within a bound of time; where there is an oracle, it says what that says.
"""

from __future__ import annotations

import contextlib
import functools
import io
import json
import math
import random
import re
import shutil
import sqlite3
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import optuna
import pandas as pd
from hypothesis import strategies as st
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState as S

from hpo_batch.doctor.finding import Level
from hpo_batch.doctor.study import examine_study
from hpo_batch.errors import ExpressionError, HpoBatchError, JournalCorrupt
from hpo_batch.expressions import MAX_LENGTH, parse
from hpo_batch.journal.decode import isolated
from hpo_batch.journal.encode import Record
from hpo_batch.objective.tail import Printed, parse_metrics
from hpo_batch.records import Value
from hpo_batch.scheduler.slurm import site
from hpo_batch.scheduler.slurm.accounts import parse_sacct
from hpo_batch.scheduler.slurm.control import parse_config
from hpo_batch.scheduler.slurm.queue import parse_squeue
from hpo_batch.store.attempt_archive import kept_trials
from hpo_batch.store.home import home_of
from hpo_batch.sweep.load import load
from hpo_batch.text.lines import harmless, one_line
from hpo_batch.text.secrets import masked, secrets_in
from tests.cli.conftest import SWEEP
from tests.conftest import REPOSITORY
from tests.fuzzers.cases import (
    BROKEN,
    WHOLE,
    Case,
    cases,
    encoded,
    spoilt,
    texts,
    values,
    words,
)
from tests.fuzzers.running import bounded, cli, strict
from tests.journal.helpers import assert_read_as_optuna_reads, plain_storage, read_state

SAMPLE = REPOSITORY / "tests" / "store" / "data" / "format-1" / "study"
SLURMS = REPOSITORY / "tests" / "scheduler" / "data"


@dataclass(frozen=True, kw_only=True)
class Target:
    """A reader, and what it is fuzzed with."""

    about: str
    inputs: Callable[[], st.SearchStrategy[Case]]
    check: Callable[[Case, Path], None]
    """``check(case, folder)`` with an empty folder of its own; raises if something does not hold"""
    bound_s: float = 20.0
    """what no input may take, many times what one takes on an idle machine"""


def refused_or_read(run: Callable[[], object]) -> None:
    """An error of ours is an answer; any other one is exit 70."""
    with contextlib.suppress(HpoBatchError):
        run()


# -- journals: against Optuna's replay ------------------------------------------------------------------------------

DISTRIBUTIONS: list[BaseDistribution] = [
    FloatDistribution(0, 1),
    FloatDistribution(0.5, 1, log=True),
    IntDistribution(1, 4),
    CategoricalDistribution((1, 2)),
    CategoricalDistribution((1, 2, "c")),
]
_numbers = st.floats() | st.integers(-5, 5)
operations = st.lists(
    st.one_of(
        st.tuples(st.just("create"), st.integers(0, 3), st.sampled_from(list(S)), st.integers(0, 4)),
        st.tuples(st.just("param"), st.integers(0, 8), st.sampled_from("xy"), st.sampled_from(DISTRIBUTIONS)),
        st.tuples(st.just("state"), st.integers(0, 8), st.sampled_from(list(S)), st.none() | _numbers),
        st.tuples(st.just("report"), st.integers(0, 8), st.integers(0, 3), _numbers),
        st.tuples(st.just("attr"), st.integers(0, 8), st.sampled_from(["hpo:attempt:2", "z"]), _numbers),
        st.tuples(st.just("study"), st.sampled_from(["s", "t", "u"])),
        st.tuples(st.just("delete"), st.integers(1, 3)),
    ),
    max_size=40,
)


def record_of(operation: tuple[Any, ...]) -> Record:
    """The record that an Optuna writer makes, also one that its own replay then refuses."""
    kind, *rest = operation
    now = "2026-01-02T03:04:05.000006+00:00"
    if kind == "study":
        fields = {"op_code": 0, "study_name": rest[0], "directions": [1]}
    elif kind == "delete":
        fields = {"op_code": 1, "study_id": rest[0]}
    elif kind == "create":
        study, state, which = rest
        fields = {"op_code": 4, "study_id": study, "datetime_start": now if which else None}
        if state is not S.RUNNING:
            text = optuna.distributions.distribution_to_json(DISTRIBUTIONS[which])
            fields |= {"state": state, "value": None, "values": None, "user_attrs": {}, "system_attrs": {}}
            fields |= {"params": {"x": 1.0}, "distributions": {"x": text}, "intermediate_values": {"2": math.nan}}
        if state is S.COMPLETE:
            fields |= {"value": 0.5, "datetime_complete": now}
    elif kind == "param":
        trial, name, chosen = rest
        text = optuna.distributions.distribution_to_json(chosen)
        fields = {"op_code": 5, "trial_id": trial, "param_name": name, "param_value_internal": 1.0}
        fields["distribution"] = text
    elif kind == "state":
        trial, state, value = rest
        fields = {"op_code": 6, "trial_id": trial, "state": state, "values": None if value is None else [value]}
        if state is S.RUNNING:
            fields["datetime_start"] = now
        if state.is_finished():
            fields["datetime_complete"] = now
    elif kind == "report":
        fields = {"op_code": 7, "trial_id": rest[0], "step": rest[1], "intermediate_value": rest[2]}
    else:
        trial, name, value = rest
        attr = (
            {"op_code": 9, "system_attr": {name: value}} if name == "z" else {"op_code": 8, "user_attr": {name: value}}
        )
        fields = {"trial_id": trial, **attr}
    return {"worker_id": "somebody", **fields}


def journal_of(records: list[tuple[Any, ...]]) -> bytes:
    made = [record_of(("study", "s")), *map(record_of, records)]
    return "".join(json.dumps(record) + "\n" for record in made).encode()


@functools.cache
def optunas_journal() -> bytes:
    """A journal that plain Optuna wrote, with everything that a trial can have."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "journal.log"
        study = optuna.create_study(study_name="s", storage=plain_storage(path), directions=["maximize"])
        study.enqueue_trial({"x": 0.25, "n": 3}, user_attrs={"who": "me"})
        for outcome in (1.0, S.PRUNED, S.FAIL, 0.5):
            trial = study.ask()
            trial.suggest_float("x", 0, 1)
            trial.suggest_int("n", 1, 5, log=True)
            trial.suggest_categorical("c", ["a", None, 1, True, 0.5])
            trial.report(0.5, 1)
            trial.set_user_attr("note", {"deep": [1, None, "ü"]})
            trial.set_constraint("c0", -1.0)
            study.tell(trial, **({"state": outcome} if isinstance(outcome, S) else {"values": outcome}))
        study.add_trial(optuna.create_trial(value=2.0, params={"x": 0.5}, distributions={"x": FloatDistribution(0, 1)}))
        study.ask()
        return path.read_bytes()


def journals() -> st.SearchStrategy[Case]:
    whole = cases(operations.map(journal_of), "as Optuna writes them")
    real = (optunas_journal(), (SAMPLE / "journal.jsonl").read_bytes())
    return whole | cases(spoilt(real), "changed") | cases(spoilt(real, WHOLE), "changed")


def check_journal(case: Case, folder: Path) -> None:
    """What plain Optuna replays we read alike, or refuse and say so; records as Optuna makes them we never refuse."""
    path = folder / "journal.jsonl"
    path.write_bytes(case.content)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            studies = plain_storage(path).get_all_studies()
    except Exception:  # a foreign reader: whatever it dies of, it does not read the file
        refused_or_read(lambda: read_state(path))
        return
    try:
        with isolated("s"):  # as every command reads a study: parts of a record are looked at when they are asked for
            if any(study._study_id == 0 for study in studies):
                assert_read_as_optuna_reads(path, exact=case.what != "changed")
            else:
                assert not read_state(path).trials
    except JournalCorrupt:
        assert case.what == "changed", "we refuse what Optuna wrote and reads"


# -- a study with damage --------------------------------------------------------------------------------------------


def _study(folder: Path) -> Path:
    """A logs directory with the sample study, twice: the second is left alone."""
    for name in ("bad", "good"):
        shutil.copytree(SAMPLE, folder / "logs" / name)
    return folder / "logs"


LOOKS = (
    *(["list"], ["status", "bad"], ["status", "bad", "--json", "--accounting"], ["explain", "bad", "0"]),
    *(
        ["explain", "bad", "3", "--json"],
        ["logs", "bad", "3"],
        ["logs", "bad", "0", "--worker"],
        ["retry", "bad", "-n"],
    ),
    *(["collect", "bad", "--format", "json"], ["collect", "bad", "--attempts"], ["collect", "good", "bad"]),
)


def _look(root: Path) -> dict[str, int]:
    """Every reading command at a bad study: exit codes. One study's damage is not another's."""
    codes = {}
    for argv in LOOKS:
        ended = cli(*argv, "--root", root)
        codes[" ".join(argv)] = ended.code
        if argv[0] == "list":
            assert "good" in ended.out
        if argv == ["collect", "good", "bad"]:
            assert "COMPLETE" in ended.out, ended.err
    return codes


def damages() -> st.SearchStrategy[Case]:
    whole = ((SAMPLE / "journal.jsonl").read_bytes(),)
    return cases(spoilt(whole, BROKEN) | spoilt(whole) | spoilt(whole, WHOLE))


def check_damage(case: Case, folder: Path) -> None:
    """Commands end in words; what keeps trials from being read is called bad by ``doctor``, what is damaged is told."""
    root = _study(folder)
    home = home_of(root, "bad")
    home.journal.write_bytes(case.content)
    codes = _look(root)
    findings = [finding for finding in examine_study(home) if finding.about == "journal"]
    if codes["collect bad --format json"] >= 2:
        assert Level.BAD in {finding.level for finding in findings}, findings
    if any(_is_damaged(line) for line in case.content.split(b"\n")[:-1]):
        assert {finding.level for finding in findings} != {Level.FINE}, findings
    assert home.journal.read_bytes() == case.content, "a reading command has changed the journal"


def _is_damaged(line: bytes) -> bool:
    """Whether a whole line is surely no record: neither to Python's reader of JSON, which is Optuna's, nor to ours."""
    for read in (json.loads, functools.partial(msgspec.json.decode, type=dict[str, msgspec.Raw])):
        with contextlib.suppress(ValueError, RecursionError):
            record = read(line)
            return not isinstance(record, dict) or "op_code" not in record
    return bool(line.strip())


# -- second-hand files ----------------------------------------------------------------------------------------------

_PROCESS = b'{"host": "n1", "boot": "00000000-0000-4000-8000-000000000000", "pid": 27080, "start": 1427985}'
SECOND_HAND: dict[str, bytes] = {
    **{
        place: (SAMPLE / place).read_bytes()
        for place in (
            *("submissions.jsonl", "sweep.2.json", "sweep.1.json", "sweep.toml", "workers/457915f1b8aa-0.json"),
            *("workers/b8edc14878bf-1.lease", "local/457915f1b8aa_0.log", "trials/0000/0003/attempts/1/stderr"),
            *("trials/0000/0000/attempts/1/claim.json", "trials/0000/0003/attempts/1/claim.json"),
            *("trials/0000/0003/attempts/2/result.json", "trials/0000/0002/attempts/1/result.json"),
            *("trials/0000/0003/attempts/2/metrics.jsonl", "trials/0000/0003/attempts/2/stdout"),
        )
    },
    "trials/0000/0003/attempts/\u00b2/result.json": b"{}",
    "trials/0000/0003/attempts/\u0663/checkpoint/x": b"",
    "trials/\u00b2/\u0663/attempts/1/claim.json": b"{}",
    "trials/3000/3000000/attempts/1/claim.json": (SAMPLE / "trials/0000/0000/attempts/1/claim.json").read_bytes(),
    "sweep.\u00b2.json": b"{}",
    "imported.\u00b2.jsonl": b"{}",
    "CANCELLED": b"",
    "DRAIN": b"",
    "trials/0000/0000/attempts/1/exit.json": b'{"exit_code": 1, "signal": null, "seconds": 1.5, "argv": ["python"]}',
    "trials/0000/0000/attempts/1/metrics.seeds.jsonl": b'{"step": 1, "metrics": {"loss": 1.0}, "seed": 2}\n',
    "trials/0000/0000/attempts/1/reported.jsonl": b'{"step": 1, "loss": 1.0}\n',
    "imported.1.jsonl": b'{"values": [0.5], "params": {"x": 0.5, "n": 1}, "state": "COMPLETE", "steps": {"1": 0.5}}\n',
    "adopted.jsonl": b'{"number": 0, "params": {"x": 0.5}, "values": [0.5], "state": "COMPLETE", "file": 0}\n',
    "journal.jsonl.lock": _PROCESS,
    "journal.bad": b"damaged",
    "submit.lock": _PROCESS,
    "slurm/457915f1b8aa_0_0_log.out": b"slurmstepd: error: *** JOB 7 ON n1 CANCELLED AT 2026-01-01T00:00:00 ***\n",
}
"""place in a study -> what may stand there"""


OF_SLURM = {
    "submissions.jsonl": SECOND_HAND["submissions.jsonl"].replace(b'"local"', b'"slurm"').replace(b'"27080"', b'"1"'),
    "workers/457915f1b8aa-0.json": SECOND_HAND["workers/457915f1b8aa-0.json"].replace(b'"local"', b'"1_5"'),
}
"""the same where the study ran on SLURM"""


def second_hand() -> st.SearchStrategy[Case]:
    every = (*SECOND_HAND.items(), *OF_SLURM.items())
    return st.one_of(*(cases(spoilt((content or b"x",)), place) for place, content in every))


def check_second_hand(case: Case, folder: Path) -> None:
    root = _study(folder)
    home = home_of(root, "bad")
    path = home.path / case.what
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(case.content)
    codes = _look(root)
    # the journal is whole: what stands beside it takes no trials away
    assert codes["collect bad --format json"] == 0, codes
    assert codes["list"] == 0
    list(examine_study(home))
    list(kept_trials(home))
    if not case.what.startswith("workers/") and not case.what.endswith(".lock"):  # those are waited for, as they should
        shutil.rmtree(home.workers)
        cli("doctor", "bad", "--rebuild", "--force", "--root", root)
        cli("collect", "bad", "--root", root)


# -- sweep files ----------------------------------------------------------------------------------------------------


@functools.cache
def sweeps() -> tuple[bytes, ...]:
    made = [SWEEP.format(name="toy", trials=3, function="quadratic").encode(), (SAMPLE / "sweep.toml").read_bytes()]
    return (*made, *(path.read_bytes() for path in sorted((REPOSITORY / "configs").glob("*.toml"))))


TABLES = ("study", "objective", "space", "sampler", "job")


def tomls() -> st.SearchStrategy[Case]:
    toy = SWEEP.format(name="toy", trials=3, function="quadratic")
    made = st.one_of(
        texts,
        st.tuples(st.sampled_from(TABLES), texts).map(
            lambda given: toy.replace(f"[{given[0]}]", f"[{given[0]}]\n{given[1]}")
        ),
        words.map(lambda word: toy.replace('"toy"', word)),
    ).map(encoded)
    assigned = st.tuples(words.filter(str.isidentifier) | st.just("y"), values).map(
        lambda given: f"space.{given[0]}={json.dumps(given[1], default=str)}"
    )
    return cases(made | spoilt(sweeps())) | cases((assigned | texts).map(encoded), "--set")


def check_toml(case: Case, folder: Path) -> None:
    """Whatever is in a sweep file or behind ``--set`` is a sweep, or mistakes in our words."""
    path = folder / "x.toml"
    overrides = []
    path.write_bytes(sweeps()[0] if case.what else case.content)
    if case.what:
        overrides = [case.content.decode(errors="surrogatepass")]
    refused_or_read(lambda: load(path, overrides=overrides))
    cli("check", path, *(word for each in overrides for word in ("--set", each)))


# -- tables of others -----------------------------------------------------------------------------------------------

_CSV = (
    b"number,value,params_lr,params_kind,state,datetime_start,datetime_complete\n"
    b"0,0.5,0.001,a,COMPLETE,2026-01-01 00:00:00,2026-01-01 00:01:00\n"
    b"1,0.25,1e-4,b,COMPLETE,2026-01-01 00:00:00,2026-01-01 00:02:00\n2,,0.1,a,FAIL,,\n3,0.125,0.01,c,PRUNED,,\n",
    b"lr;depth;acc;time\n0,001;3;0,91;12,5\n0,01;4;0,92;13,5\n0,1;5;0,5;14\n",
    b"name\tstate\tloss\tconfig/x\tduration\na\tfinished\t1.5\t1\t0 days 00:00:05\nb\tcrashed\tnan\t2\t00:10\n",
    b'# a comment\n"a, b","c ""d""",value\n1,x,0.5\n2,"y\nz",0.25\n',
)
_JSON = (
    b'[{"number": 0, "value": 0.5, "params": {"lr": 0.001, "kind": "a"}, "state": "COMPLETE", "user_attrs": {"n": 1}},'
    b'{"number": 1, "value": null, "params": {"lr": 0.1, "kind": "b"}, "state": "FAIL", "start": "2026-01-01T00:00"}]',
    b'{"trials": [{"trial_id": "a", "config": {"x": 1, "y": [1, 2]}, "metric_analysis": {"loss": {"min": 0.5}}}]}',
    b'{"number": 0, "value": 1.5, "params_x": 3}\n{"number": 1, "value": 2.5, "params_x": 4, "intermediate": [1, 2]}\n',
    b'{"number": {"0": 0, "1": 1}, "value": {"0": 0.5, "1": 0.25}, "params_x": {"0": 1, "1": 2}}',
    b'{"columns": ["value", "params_x"], "data": [[0.5, 1], [0.25, 2]]}',
)  # fmt: skip


def _rows() -> st.SearchStrategy[list[dict[str, Any]]]:
    return st.lists(st.dictionaries(words, values, max_size=5), max_size=5)


def csvs() -> st.SearchStrategy[Case]:
    cells = words.filter(lambda word: "\ud800" not in word)
    rows = st.lists(st.lists(cells, min_size=1, max_size=5), max_size=6)
    made = rows.map(lambda some: "\n".join(",".join(row) for row in some).encode())
    heads = st.sampled_from([b"", b"PAR1", b"SQLite format 3\0", b"[", b"\xff\xfe", b"{", b'{"op_code":0'])
    raw = st.tuples(heads, st.binary(max_size=200)).map(b"".join)
    return cases(st.one_of(made, raw, spoilt(_CSV), spoilt(_CSV)), "csv", "csv", "tsv", "csv.gz")


def jsons() -> st.SearchStrategy[Case]:
    made = (_rows() | values).map(lambda value: json.dumps(value, default=str).encode())
    return cases(made | spoilt(_JSON) | spoilt(_JSON, WHOLE), "json", "json", "jsonl")


def check_table(case: Case, folder: Path) -> None:
    """A file is a table of trials or is refused; what is written of it other programs can read."""
    path = folder / f"x.{case.what}"
    path.write_bytes(case.content)
    ended = cli("collect", path, "--format", "json", "--root", folder)
    if case.what == "db":  # Optuna takes its time for each
        cli("collect", path, "--best", "--root", folder)
    elif not ended.refused:
        cli("collect", path, "--root", folder)
        cli("collect", path, "--top", "2", "--format", "md", "--root", folder)
        out = folder / "out.parquet"
        if not cli("collect", path, "-o", out, "--root", folder).refused:
            pd.read_parquet(out)
        csv = folder / "out.csv"
        if not cli("collect", path, "-o", csv, "--root", folder).refused:
            cli("collect", csv, "--root", folder)


@functools.cache
def parquets() -> tuple[bytes, ...]:
    frames = [pd.read_csv(io.BytesIO(_CSV[0]))]
    frames.append(
        frames[0].assign(datetime_start=pd.to_datetime(frames[0]["datetime_start"]), more=[[1], [], None, [2]])
    )
    frames.append(
        pd.DataFrame({"params_x": pd.Categorical(["a", "b"]), "value": [True, False], "t": pd.to_timedelta([1, 2])})
    )
    made = []
    for frame in frames:
        buffer = io.BytesIO()
        frame.to_parquet(buffer, compression=None)
        made.append(buffer.getvalue())
    return tuple(made)


def parquet_cases() -> st.SearchStrategy[Case]:
    columns = st.dictionaries(
        words.filter(lambda w: "\ud800" not in w), st.lists(values, min_size=2, max_size=2), max_size=4
    )
    return cases(spoilt(parquets(), BROKEN) | columns.map(_as_parquet), "parquet")


def _as_parquet(columns: dict[str, list[Any]]) -> bytes:
    """What pandas can write of these columns; what it cannot, as texts."""
    for frame in (pd.DataFrame(columns), pd.DataFrame(columns).map(ascii)):
        buffer = io.BytesIO()
        with contextlib.suppress(Exception):
            frame.to_parquet(buffer)
            return buffer.getvalue()
    return b"PAR1"


@functools.cache
def databases() -> tuple[bytes, ...]:
    """A SQLite storage of Optuna's."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.db"
        storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
        study = optuna.create_study(study_name="s", storage=storage)
        for x in (0.25, 0.5):
            study.add_trial(
                optuna.create_trial(
                    value=x, params={"x": x, "c": "a"}, user_attrs={"n": [1]}, intermediate_values={1: x},
                    distributions={"x": FloatDistribution(0, 1), "c": CategoricalDistribution(("a", "b"))},
                )
            )  # fmt: skip
        study.enqueue_trial({"x": 0.1})
        storage.remove_session()
        storage.engine.dispose()
        return (path.read_bytes(),)


_UPDATES = (
    "UPDATE {table} SET {column} = {value}", "DELETE FROM {table}",
    "ALTER TABLE {table} RENAME COLUMN {column} TO gone",
    "INSERT OR REPLACE INTO {table} SELECT * FROM {table}", "DROP TABLE {table}",
    "UPDATE {table} SET {column} = {value} WHERE rowid = 1",
)  # fmt: skip
_SQL_VALUES = (
    "NULL", "'x'", "1e999", "-1", "9223372036854775807", "''", "x'ff00'", "'nan'", "'2026-13-01'", "'{{'", "0.5",
    "'[1]'",
    "'NaN'", "char(27) || '[2J'", "'\"' || char(0)", "randomblob(20)", "'{{\"name\": \"FloatDistribution\"}}'",
)  # fmt: skip


@st.composite
def _changed_database(draw: st.DrawFn) -> bytes:
    with tempfile.NamedTemporaryFile(suffix=".db", dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as file:
        Path(file.name).write_bytes(databases()[0])
        connection = sqlite3.connect(file.name)
        columns = [
            (table, row[1])
            for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for row in connection.execute(f"PRAGMA table_info({table})")
        ]
        for _ in range(draw(st.integers(1, 3))):
            table, column = draw(st.sampled_from(columns))
            statement = draw(st.sampled_from(_UPDATES)).format(
                table=table, column=column, value=draw(st.sampled_from(_SQL_VALUES)).format()
            )
            with contextlib.suppress(sqlite3.Error):
                connection.execute(statement)
        connection.commit()
        connection.close()
        return Path(file.name).read_bytes()


def database_cases() -> st.SearchStrategy[Case]:
    return cases(spoilt(databases(), BROKEN) | _changed_database() | _changed_database(), "db")


# -- expressions: against Python ------------------------------------------------------------------------------------

NAMES: dict[str, Value] = {"d_model": 64, "n_heads": 4, "lr": 3e-4, "use_cosine": True}
_PYTHONS = {function.__name__: function for function in (abs, int, float, round, math.ceil, math.floor, min, max)}
_PYTHONS |= {function.__name__: function for function in (math.sqrt, math.exp, math.log, math.log2, math.log10)}
_atoms = st.one_of(
    st.integers(-1000, 1000).map(str),
    st.floats(-1000, 1000, allow_nan=False).map(repr),
    st.sampled_from([*NAMES, "True", "False", "0", "1e308", "5e-324", "9223372036854775807", "0.1"]),
)


_SIGNS = ("+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", ">", ">=", "and", "or")
_OF_ONE = ("abs", "int", "float", "round", "ceil", "floor", "sqrt", "exp", "log", "log2", "log10")


def _grow(parts: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    two, three = st.tuples(parts, parts), st.tuples(parts, parts, parts)
    signs = st.sampled_from(_SIGNS)
    return st.one_of(
        st.tuples(parts, signs, parts).map("({0[0]} {0[1]} {0[2]})".format),
        three.map("({0[0]} < {0[1]} <= {0[2]})".format),
        st.tuples(parts, st.sampled_from(["in", "not in"]), parts, parts).map(
            "({0[0]} {0[1]} ({0[2]}, {0[3]}))".format
        ),
        three.map("({0[0]} if {0[1]} else {0[2]})".format),
        st.tuples(st.sampled_from(["-", "+", "not "]), parts).map("({0[0]}{0[1]})".format),
        st.tuples(st.sampled_from(_OF_ONE), parts).map("{0[0]}({0[1]})".format),
        st.tuples(st.sampled_from(["min", "max", "log", "round"]), two).map("{0[0]}({0[1][0]}, {0[1][1]})".format),
    )


computable = st.recursive(_atoms, _grow, max_leaves=12).filter(lambda text: len(text) <= MAX_LENGTH)
_TOKENS = (
    "x lr ( ) + - * / ** // % < > == != and or not in if else 1 0 1e308 -1 'a' [ ] , min max log sqrt len . `a b` "
    "lambda for { } f'{ b' yield await := is __class__ # ... ~ @ \\ 0x 9999999999999999999 1j round( max( None"
)
_ODD_VALUES: dict[str, Any] = {
    "0": 0,
    "-1": -1,
    "1e308": 1e308,
    "-1e308": -1e308,
    "2**53": 2**53,
    "a": "a",
    "True": True,
}
_ODD_VALUES |= {"nan": math.nan, "inf": math.inf, "10**30": 10**30, "None": None, "[]": []}


def expressions() -> st.SearchStrategy[Case]:
    strange = texts | st.text(max_size=100) | st.lists(st.sampled_from(_TOKENS.split()), max_size=15).map(" ".join)
    return cases(computable.map(encoded), "computable") | cases(strange.map(encoded), *_ODD_VALUES)


def check_expression(case: Case, folder: Path) -> None:
    """What Python computes we compute, value and type, or refuse for a limit of ours; anything else is refused."""
    text = case.content.decode(errors="surrogatepass")
    if case.what == "computable":
        check_computes_as_python(text)
        return
    try:
        found = parse(text)
        result = found.evaluate(dict.fromkeys(found.names, _ODD_VALUES[case.what]))
    except ExpressionError as error:
        told = str(error)
    else:
        assert isinstance(result, bool | int | float | str)
        return
    assert "\n" not in told


LIMITS = ("64 bits", "too large", "real", "nested", "not a number", "digits")
"""of ours, in the words of the errors: an intermediate result may be too large although the last one is not"""


def check_computes_as_python(text: str) -> None:
    try:
        ours = parse(text).evaluate(NAMES)
    except ExpressionError as error:
        if any(limit in str(error) for limit in LIMITS):
            return
        try:
            theirs = _pythons(text)
        except (ArithmeticError, ValueError, TypeError):
            return
        raise AssertionError(f"Python says {theirs!r} where we refuse: {error}") from error
    expected = _pythons(text)
    assert ours == expected, (ours, expected)
    assert type(ours) is type(expected)


def _pythons(text: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return eval(text, {"__builtins__": {}}, {**NAMES, **_PYTHONS})


# -- reports --------------------------------------------------------------------------------------------------------

_CELLS: dict[str, Callable[[random.Random], str]] = {
    "real": lambda rng: repr(rng.random()),
    "logs": lambda rng: repr(10 ** rng.uniform(-8, 2)),
    "integers": lambda rng: str(rng.randint(-3, 9)),
    "choices": lambda rng: rng.choice(["a", "b", "<b>c</b>", "1"]),
    "constant": lambda rng: "7",
    "flags": lambda rng: rng.choice(["True", "False"]),
    "huge": lambda rng: rng.choice(["1e308", "-1e308", "1e-308", "0"]),
    "holes": lambda rng: rng.choice(["", "", "1", "nan", "inf"]),
    "ids": lambda rng: str(rng.randrange(10**12)),
    "dates": lambda rng: f"2026-01-{rng.randint(1, 28):02} 00:00:00",
    "text": lambda rng: rng.choice(['"\x1b[2J"', '"<script>alert(1)</script>"', "{{ 7 * 7 }}", "é", '"x\ny"', "$x$_|"]),
}
_COLUMNS = (
    "params_x", "params_y", "params_a b", "params_<i>", "params_n.m", "user_attrs_loss", "duration", "state", "number",
    "datetime_start", "seed", "system_attrs_hpo:trial", "value_2",
)  # fmt: skip


@st.composite
def _tables(draw: st.DrawFn) -> bytes:
    """A table of random trials: few or many, with all kinds of columns, effects or none."""
    rng = random.Random(draw(st.integers(0, 2**32)))
    columns = draw(st.lists(st.sampled_from(_COLUMNS), unique=True, max_size=6))
    kinds = [draw(st.sampled_from(list(_CELLS))) for _ in columns]
    value = draw(st.sampled_from([*("real", "logs", "integers", "constant", "holes", "huge"), *["real"] * 4]))
    count = draw(st.sampled_from([0, 1, 2, 3, 5, 12, 40]))
    states = draw(st.booleans())
    head = [*columns, "value", *(["state"] if states and "state" not in columns else [])]
    lines = [",".join(head)]
    for _ in range(count):
        cells = [_CELLS[kind](rng) for kind in kinds]
        cells.append(_CELLS[value](rng) if rng.random() < 0.9 else rng.choice(["", "nan", "inf", "1e308"]))
        if len(head) > len(cells):
            cells.append(
                rng.choice(["COMPLETE", "COMPLETE", "COMPLETE", "FAIL", "PRUNED", "RUNNING", "WAITING", "odd"])
            )
        lines.append(",".join(cells))
    return ("\n".join(lines) + "\n").encode()


_OPTIONS = ("", "--direction maximize", "--top 1", "--baseline 0.5", "--n-eval 10", "--n-eval 10 --n-pos 9", "twice")


def reports() -> st.SearchStrategy[Case]:
    return cases(_tables() | spoilt(_CSV, WHOLE), *_OPTIONS)


class Page(HTMLParser):
    """Elements of a page that is to have one script, no handlers, and to close what it opens."""

    VOID = ("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr")

    def __init__(self) -> None:
        super().__init__()
        self.scripts = 0
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.scripts += tag == "script"
        assert not [name for name, _ in attrs if name.startswith("on")], attrs
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in self.VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        # paragraphs, list items and cells may be left open
        while self.open and self.open[-1] != tag and self.open[-1] in ("p", "li", "td", "th", "tr", "dt", "dd"):
            self.open.pop()
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> in {self.open}"


def check_report(case: Case, folder: Path) -> None:
    path = folder / "x.csv"
    path.write_bytes(case.content)
    twice = case.what == "twice"
    options = [] if twice else case.what.split()
    ended = cli("report", path, *([path] if twice else []), "-o", folder / "report", "--root", folder, *options)
    if ended.refused:
        return
    made = folder / "report"
    strict((made / "report.json").read_text())
    page = Page()
    page.feed((made / "report.html").read_text())
    assert page.scripts == 1
    assert "<script>alert" not in (made / "report.md").read_text()
    for figure in made.rglob("*.svg"):
        ElementTree.fromstring(figure.read_bytes())
    for text in made.rglob("*.*"):
        assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\u202e]", text.read_text()), text.name
    cli("compare", path, path, "--root", folder)


# -- what SLURM says ------------------------------------------------------------------------------------------------

_SQUEUE = b"".join(
    line + b"|Unknown|bad-457915f1b8aa\t/logs/bad/slurm/457915f1b8aa.sh\n"
    for line in (SLURMS / "squeue-22.05.txt").read_bytes().splitlines()
)
_SACCT = (SLURMS / "sacct-22.05.txt").read_bytes()
_fields = st.lists(words | st.text(max_size=8) | st.integers().map(str) | st.just("7_[0-999999999999]"), max_size=14)
_lines = st.tuples(
    _fields.map("|".join), st.sampled_from(["{0}", "7|0|{0}", "7_[0-" + "9" * 15 + "]|{0}", "{0}\n{0}"])
).map(lambda given: encoded(given[1].replace("{0}", given[0])))


def squeues() -> st.SearchStrategy[Case]:
    return cases(_lines | spoilt((_SQUEUE, _SQUEUE, (SLURMS / "squeue-22.05.txt").read_bytes())))


def saccts() -> st.SearchStrategy[Case]:
    return cases(_lines | spoilt((_SACCT,)))


def sites() -> st.SearchStrategy[Case]:
    return cases(
        _lines | spoilt(((SLURMS / "config-22.05.txt").read_bytes(), (SLURMS / "partitions-22.05.txt").read_bytes()))
    )


def _of_slurm(folder: Path) -> Path:
    """The sample study as if it had run as jobs 1 and 2 of SLURM."""
    root = _study(folder)
    home = home_of(root, "bad")
    lines = [json.loads(line) for line in home.submissions.read_text().splitlines()]
    for i, line in enumerate(lines):
        line |= {"kind": "slurm", "name": f"bad-{line['id']}", "job_ids": [str(i // 2 + 1)] if line["job_ids"] else []}
    home.submissions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


def _ask(case: Case, folder: Path, program: str) -> None:
    text = case.content.decode(errors="replace")
    parse_squeue(text)
    parse_squeue(text, whole=True)
    parse_sacct(text)
    parse_config(text)
    root = _of_slurm(folder)
    for name in ("squeue", "sacct"):
        (folder.parent / "slurm" / f"{name}.txt").write_bytes(case.content if name == program else b"")
    cli("status", "bad", "--json", "--accounting", "--root", root)
    cli("status", "bad", "--accounting", "--root", root)
    cli("collect", "bad", "--attempts", "--accounting", "--format", "json", "--root", root)


def check_squeue(case: Case, folder: Path) -> None:
    _ask(case, folder, "squeue")


def check_sacct(case: Case, folder: Path) -> None:
    _ask(case, folder, "sacct")


def check_site(case: Case, folder: Path) -> None:
    text = case.content.decode(errors="replace")
    parse_config(text)
    site.parse_partitions(text)
    site.parse_associations(text)
    site.parse_qos(text)


# -- what a trial prints, what a terminal is shown ------------------------------------------------------------------


def printed() -> st.SearchStrategy[Case]:
    json_line = st.dictionaries(words, values, max_size=4).map(lambda value: json.dumps(value, default=str).encode())
    head = st.sampled_from([b"", b"RESULT: ", b'{"step": 1, "a": ', b"RESULT:{"])
    return cases(st.tuples(head, texts.map(encoded) | json_line).map(b"".join))


def check_printed(case: Case, folder: Path) -> None:
    Printed().take(case.content)
    parse_metrics(case.content)
    text = case.content.decode(errors="surrogateescape")
    assert one_line(text).isprintable()
    shown = harmless(text)
    assert all(letter.isprintable() or letter in "\n\t\r\u00a0\u200c\u200d" or ord(letter) > 0xA0 for letter in shown)
    assert "\x1b" not in shown
    assert isinstance(masked(text, known=secrets_in([text])), str)


TARGETS: dict[str, Target] = {
    "journal": Target(about="a journal, against Optuna's own replay of it", inputs=journals, check=check_journal),
    "damage": Target(
        about="a study whose journal is damaged, by every reading command", inputs=damages, check=check_damage
    ),
    "second-hand": Target(
        about="a study in which a file is not as we wrote it", inputs=second_hand, check=check_second_hand
    ),
    "toml": Target(about="sweep files, and --set", inputs=tomls, check=check_toml),
    "csv": Target(about="tables of others", inputs=csvs, check=check_table),
    "json": Target(about="the same as JSON", inputs=jsons, check=check_table),
    "parquet": Target(about="the same as Parquet", inputs=parquet_cases, check=check_table),
    "sqlite": Target(about="storages of Optuna's in SQLite", inputs=database_cases, check=check_table),
    "expressions": Target(about="expressions, against Python", inputs=expressions, check=check_expression),
    "reports": Target(
        about="reports of random trials: HTML, JSON, figures", inputs=reports, check=check_report, bound_s=60.0
    ),
    "squeue": Target(about="what squeue says", inputs=squeues, check=check_squeue),
    "sacct": Target(about="what sacct says", inputs=saccts, check=check_sacct),
    "site": Target(about="what scontrol and sacctmgr say of the site", inputs=sites, check=check_site),
    "printed": Target(
        about="what a trial prints, and what a terminal is shown of it", inputs=printed, check=check_printed
    ),
}


def tried(name: str, case: Case, around: Path) -> None:
    """Give a target one input, in ``surroundings``; raises if something does not hold, or it takes too long."""
    target = TARGETS[name]
    folder = around / "case"
    folder.mkdir()
    try:
        with bounded(target.bound_s):
            target.check(case, folder)
    finally:
        shutil.rmtree(folder)
