"""``transfer``: the best of each budget trained on all of them; from the command line, as a user meets it."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.errors import Declined, SweepInvalid, UserError
from hpo_batch.next.parent import Parent, parent_of
from hpo_batch.next.sweep_text import sweep_text
from hpo_batch.next.transfer import transfer
from hpo_batch.sources.read import read_tables
from hpo_batch.space.parameters import Integer, Real
from hpo_batch.sweep.load import load, loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.sweep.tables import to_raw
from tests.cli.conftest import Cli, cli
from tests.helpers import REPOSITORY
from tests.next import drawn

__all__ = ["cli"]

SWEEP = """
[study]
name = "{name}"
metric = "score"
direction = "minimize"
trials = {trials}
[objective]
function = "tests.next.budget_toys:{function}"
[space]
x = {x}
epochs = {epochs}
{space}
[sampler]
name = "{sampler}"
[job]
template = "local"
workers = 2
"""

PLACES = "[0.05, 0.15, 0.25, 0.35, 0.65, 0.75, 0.85, 0.95]"
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write(
        name: str,
        *,
        epochs: object = 10,
        space: str = "",
        trials: int = 8,
        function: str = "likes_its_epochs",
        x: str = "{ low = 0.0, high = 1.0 }",
        sampler: str = "random",
        more: str = "",
    ) -> Path:
        path = tmp_path / f"{name}.toml"
        text = SWEEP.format(
            name=name, epochs=epochs, space=space, trials=trials, x=x, function=function, sampler=sampler
        )
        path.write_text(text + more)
        return path

    return write


def test_the_whole_loop_from_two_budgets_to_their_matrix(cli: Cli, write: Write, tmp_path: Path) -> None:
    for name, epochs in (("few", 10), ("many", 50)):
        assert cli("submit", write(name, epochs=epochs, x=PLACES, trials=8), "--wait").code == 0
    new = tmp_path / "moved.toml"
    ended = cli("transfer", "few", "many", "--top", "3", "--seeds", "3", "-o", new)
    assert ended.code == 0, ended.err
    assert "varies: epochs (few: 10, many: 50)" in ended.err
    sweeps = load(new)
    assert [sweep.budget for sweep in sweeps] == ["few", "many"]
    assert [sweep.space.by_name["epochs"].cells for sweep in sweeps] == [(10,), (50,)]
    assert sweeps[0].trial == sweeps[1].trial
    assert [trial.set for trial in sweeps[0].trial] == ["few"] * 3 + ["many"] * 3
    used = {
        int(seed) for table in read_tables(["few", "many"], root=tmp_path / "logs") for seed in table.trials["seed"]
    }
    assert not used & set(sweeps[0].study.seeds)
    assert sweeps[0].study.seeds == sweeps[1].study.seeds

    assert cli("check", new).code == 0
    assert cli("submit", new, "--wait").code == 0
    again = cli("submit", new)
    assert again.code == 0, again.err
    assert "->" not in again.err  # submitted twice without a change
    told = cli("collect", "few-transfer", "--format", "json")
    assert told.code == 0, told.err
    assert len(json.loads(told.out)) == 12
    assert cli("report", "few-transfer", "-o", tmp_path / "report").code == 0
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    (matrix,) = report["transfer"]
    assert matrix["budgets"] == ["few", "many"]
    assert matrix["varied"] == [{"name": "epochs", "values": {"few": 10, "many": 50}}]
    assert matrix["missing"] == []
    # the seeds' own effect is not in the gap, and each budget's best is at its own place
    assert 0.1 < matrix["gap"]["low"] < matrix["gap"]["value"] < 0.5
    (finding,) = [one for one in report["findings"] if one["key"] == "transfer.gap"]
    assert finding["answer"] == "yes"
    raw = {one["name"]: one["raw"] for one in matrix["configurations"]}
    (few, _) = read_tables(["few", "many"], root=tmp_path / "logs")
    first = few.trials.set_index("number").loc[matrix["configurations"][0]["before"]]
    assert raw["from_few_1"] == first["value"]
    page = (tmp_path / "report" / "report.md").read_text()
    assert "epochs (few: 10, many: 50)" in page


def test_budgets_of_one_file_keep_their_names(cli: Cli, write: Write) -> None:
    more = '[[budget]]\nname = "2M"\nspace.epochs = 10\n[[budget]]\nname = "20M"\nspace.epochs = 50\n'
    assert cli("submit", write("toy", trials=4, more=more), "--wait").code == 0
    ended = cli("transfer", "toy", "--dry-run")
    assert ended.code == 0, ended.err
    two, twenty = loads(ended.out, path=Path("toy-transfer.toml"))
    assert (twenty.budget, two.budget) == ("2M", "20M")  # in the order of the logs directory
    assert two.study.name == "toy-transfer"
    for wrong in (("toy", "toy/2M"), ("toy/2M", "toy/2M")):
        ended = cli("transfer", *wrong, "--dry-run")
        assert ended.code == 2
        assert "'toy/2M' is given twice" in ended.err
    ended = cli("transfer", "toy/2M", "--dry-run")
    assert ended.code == 2
    assert "two or more studies" in ended.err


def test_budgets_that_vary_only_in_names_and_spaces_are_refused(cli: Cli, write: Write, tmp_path: Path) -> None:
    """Documents 001 and 002: 2M, 20M and 200M search other widths, and train a configuration all alike."""
    for name, low in (("toy-2m", 32), ("toy-20m", 64)):
        space = f"width = [{low}, {2 * low}]\n[space.constraints]\nsmall = 'width * x < 1e9'"
        assert cli("submit", write(name, space=space, trials=4), "--wait").code == 0
    new = tmp_path / "new.toml"
    ended = cli("transfer", "toy-2m", "toy-20m", "-o", new)
    assert ended.code == 5
    assert "would vary nothing" in ended.err
    assert "(width)" in ended.err
    assert not new.exists()
    assert cli("submit", write("toy-long", epochs=50, trials=4), "--wait").code == 0
    ended = cli("transfer", "toy-2m", "toy-20m", "toy-long", "-o", new)
    assert ended.code == 5
    assert "leave one of them out" in ended.err


def test_studies_that_cannot_be_compared_are_named(cli: Cli, write: Write, tmp_path: Path) -> None:
    few = write("few", trials=3)
    assert cli("submit", few, "--wait").code == 0
    higher = write("higher", epochs=50, trials=3)
    higher.write_text(higher.read_text().replace('"minimize"', '"maximize"'))
    other = write("other", epochs=50, trials=3, more='[metrics]\nscore2 = "2 * score"\n')
    other.write_text(other.read_text().replace('metric = "score"', 'metric = "score2"'))
    for path in (higher, other):
        assert cli("submit", path, "--wait").code == 0
        ended = cli("transfer", "few", path.stem, "--dry-run")
        assert ended.code == 2
        assert "measure different things" in ended.err
    broken = write("broken", epochs=50, trials=2, function="fails_with_many", space="", sampler="random")
    broken.write_text(broken.read_text().replace("high = 1.0", "high = 0.4"))
    assert cli("submit", broken, "--wait").code == 1
    ended = cli("transfer", "few", "broken", "--dry-run")
    assert ended.code == 2
    assert re.search(r"no trial of broken is complete: \d trials failed", ended.err)
    ended = cli("transfer", "few", "nowhere", "--dry-run")
    assert ended.code == 2
    runs = tmp_path / "runs.csv"
    runs.write_text("x,score,value\n0.1,1,1\n0.2,2,2\n")
    ended = cli("transfer", "few", runs, "--dry-run")
    assert ended.code == 2
    assert "runs.csv" in ended.err
    for there in (few, tmp_path / "new.txt"):
        before = there.read_text() if there.exists() else None
        ended = cli("transfer", "few", "higher", "-o", there)
        assert ended.code == 2
        assert (there.read_text() if there.exists() else None) == before


def parent(tmp_path: Path, name: str, text: str, values: list[dict[str, object]]) -> Parent:
    (sweep,) = loads(text, path=tmp_path / f"{name}.toml")
    table = drawn.as_table([(row, float(i)) for i, row in enumerate(values)], sweep, source=f"{name}.csv")
    return parent_of(replace(table, label=name))


HEAD = """
[study]
name = "toy"
metric = "score"
direction = "minimize"
trials = 10
[objective]
function = "tests.cli.toys:quadratic"
"""


def made_of(
    tmp_path: Path, a: str, b: str, rows_a: list[dict[str, object]], rows_b: list[dict[str, object]]
) -> Parents:
    return [parent(tmp_path, "a", HEAD + a, rows_a), parent(tmp_path, "b", HEAD + b, rows_b)]


Parents = list[Parent]


def loaded(parents: Parents, tmp_path: Path, top: int = 2) -> tuple[dict[str, Sweep], dict[tuple[str, str], str]]:
    made = transfer(parents, top=top, root=tmp_path, near=tmp_path)
    sweeps = loads(made.text, path=tmp_path / "new.toml")
    assert [to_raw(sweep) for sweep in sweeps] == [to_raw(sweep) for sweep in made.sweeps]
    return (
        {str(sweep.budget): sweep for sweep in sweeps},
        {(one.name, one.budget): one.reason for one in made.left_out},
    )


def test_what_cannot_run_in_another_budget_is_told_with_its_reason(tmp_path: Path) -> None:
    a = "[space]\nepochs = 10\nlr = [0.1, 0.5]\nwidth = [8, 16, 24]\n"
    b = (
        "[space]\nepochs = 50\nlr = { low = 0.01, high = 0.2, limits = [0.001, 0.3] }\nwidth = [8, 16]\n"
        "[space.constraints]\nnarrow = 'width < 20'\n"
    )
    rows_a: list[dict[str, object]] = [
        {"epochs": 10, "lr": 0.5, "width": 8},
        {"epochs": 10, "lr": 0.1, "width": 24},
        {"epochs": 10, "lr": 0.1, "width": 16},
    ]
    rows_b: list[dict[str, object]] = [{"epochs": 50, "lr": 0.15, "width": 8}]
    sweeps, left = loaded(made_of(tmp_path, a, b, rows_a, rows_b), tmp_path, top=3)
    assert left == {
        ("from_a_1", "b"): "lr = 0.5 lies outside its limits, 0.001 to 0.3",
        ("from_a_2", "b"): "constraint 'narrow' (width < 20) does not hold",
    }
    assert [trial.name for trial in sweeps["a"].trial] == ["from_a_1", "from_a_2", "from_a_3", "from_b_1"]
    assert [trial.name for trial in sweeps["b"].trial] == ["from_a_3", "from_b_1"]
    assert sweeps["b"].previous is not None
    assert set(sweeps["b"].previous.left_out) == {"from_a_1", "from_a_2"}
    text = transfer(made_of(tmp_path, a, b, rows_a, rows_b), top=3, root=tmp_path, near=tmp_path).text
    assert "# from_b_1: outside its space: lr = 0.15" in text


def test_parameters_that_one_study_fixes_and_the_other_searches_go_with_the_configuration(tmp_path: Path) -> None:
    a = "[space]\nepochs = 10\nlr = [0.1, 0.2]\nwidth = 64\nextra = [1, 2]\n"
    b = "[space]\nepochs = 50\nlr = [0.1, 0.2]\nwidth = [16, 32]\nextra = { choices = [1, 2], when = 'width > 20' }\n"
    rows_a: list[dict[str, object]] = [{"epochs": 10, "lr": 0.2, "width": 64, "extra": 2}]
    rows_b: list[dict[str, object]] = [
        {"epochs": 50, "lr": 0.1, "width": 32, "extra": 1},
        {"epochs": 50, "lr": 0.1, "width": 16},
    ]
    sweeps, left = loaded(made_of(tmp_path, a, b, rows_a, rows_b), tmp_path)
    params = {name: {trial.name: trial.params for trial in sweep.trial} for name, sweep in sweeps.items()}
    assert params["b"]["from_a_1"] == {"lr": 0.2, "width": 64, "extra": 2}
    assert params["a"]["from_b_1"] == {"lr": 0.1, "width": 32, "extra": 1}
    assert left == {("from_b_2", "a"): "no value for parameter 'extra'"}


def test_parameters_that_the_other_study_lacks_are_no_silent_loss(tmp_path: Path) -> None:
    a = "[space]\nepochs = 10\nlr = [0.1, 0.2]\nwarmup = [0.0, 0.1]\n"
    b = "[space]\nepochs = 50\nlr = [0.1, 0.2]\n[space.derived]\ntwice = 'lr * 2'\n"
    rows_a: list[dict[str, object]] = [{"epochs": 10, "lr": 0.2, "warmup": 0.1}]
    rows_b: list[dict[str, object]] = [{"epochs": 50, "lr": 0.1}]
    with pytest.raises(Declined, match=r"no configuration can run.*no parameter 'warmup'.*no value for.*'warmup'"):
        transfer(made_of(tmp_path, a, b, rows_a, rows_b), root=tmp_path, near=tmp_path)


def test_trials_that_were_not_run_at_their_budget_are_passed_over(tmp_path: Path) -> None:
    a = "[space]\nepochs = 10\nlr = [0.1, 0.2]\n"
    b = "[space]\nepochs = 50\nlr = [0.1, 0.2]\n"
    rows_a: list[dict[str, object]] = [{"epochs": 99, "lr": 0.1}, {"epochs": 10, "lr": 0.2}]
    rows_b: list[dict[str, object]] = [{"epochs": 50, "lr": 0.1}]
    made = transfer(made_of(tmp_path, a, b, rows_a, rows_b), root=tmp_path, near=tmp_path)
    assert made.notes == (
        "trial 0 of a is passed over: it was run with epochs = 99, which is not that study's own value",
    )
    assert [trial.params for trial in made.sweeps[0].trial] == [{"lr": 0.2}, {"lr": 0.1}]
    rows_a[1]["epochs"] = 99
    with pytest.raises(UserError, match="no trial of a was run with the values that its space fixes"):
        transfer(made_of(tmp_path, a, b, rows_a, rows_b), root=tmp_path, near=tmp_path)


def test_settings_of_the_objective_are_a_budget_too(tmp_path: Path) -> None:
    command = '[objective]\ncommand = "python train.py --data {data} {args}"\n[space]\nlr = [0.1, 0.2]\n'.replace(
        "{args}", "{{args}}"
    )
    head = HEAD.partition("[objective]")[0]
    parents = [
        parent(tmp_path, name, head + command.format(data=data), [{"lr": 0.1}, {"lr": 0.2}])
        for name, data in (("small", "small.csv"), ("large", "large.csv"))
    ]
    made = transfer(parents, root=tmp_path, near=tmp_path)
    assert [(one.name, one.values) for one in made.factors] == [
        ("[objective] command", ("--data small.csv", "--data large.csv"))
    ]
    sweeps = loads(made.text, path=tmp_path / "new.toml")
    assert [sweep.objective.command for sweep in sweeps] == [parent.sweep.objective.command for parent in parents]


def another_budget(sweep: Sweep, rng: random.Random, path: Path) -> Sweep:
    """The same sweep with another fixed value, and with other ranges, limits, choices and constraints."""
    for _ in range(100):
        table: dict[str, Any] = {**sweep.space_table, "fixed": 4}
        for parameter in rng.sample(sweep.space.searched, rng.randint(0, len(sweep.space.searched))):
            entry = table[parameter.name]
            if isinstance(entry, list) and rng.random() < 0.5:
                table[parameter.name] = entry[1:]
            elif rng.random() < 0.3 and not isinstance(entry, dict):
                table[parameter.name] = entry[0]
            elif isinstance(entry, dict) and "high" in entry and rng.random() < 0.7:
                limits = {"limits": [entry["low"], entry["high"]]} if rng.random() < 0.5 else {}
                middle = parameter.middle if isinstance(parameter, Real) else entry["high"] - 1
                table[parameter.name] = {**entry, "high": middle, **limits}
                table[parameter.name].pop("step", None)
        numbers = [p.name for p in sweep.space.searched if isinstance(p, Real | Integer) and p.when is None]
        if numbers and rng.random() < 0.5:
            name = rng.choice(numbers)
            table["constraints"] = {
                **table.get("constraints", {}),
                "half": f"{name} <= {sweep.space.by_name[name].middle}",
            }
        changed = replace(sweep, space_table=table)
        try:
            (found,) = loads(sweep_text(changed, near=path.parent), path=path)
        except SweepInvalid:
            continue
        return found
    raise AssertionError("no other budget was drawn")


def documents(tmp_path: Path, *, epochs: tuple[int, ...] = (50, 50, 50)) -> Parents:
    """The budgets of documents 001 and 002, with trials drawn at random."""
    parents = []
    for sweep, n in zip(load(REPOSITORY / "configs" / "patchtst-budgets.toml"), epochs, strict=True):
        longer = replace(
            sweep, space_table={**sweep.space_table, "epochs": n}, objective=replace(sweep.objective, n_params=None)
        )
        table = drawn.table_of(longer, n=12, seed=n, source=f"patchtst-budgets/{sweep.budget}")
        parents.append(parent_of(table))
    return parents


def test_the_budgets_of_the_documents_vary_nothing(tmp_path: Path) -> None:
    """2M, 20M and 200M are labels over spaces: the same configuration is the same training in each."""
    with pytest.raises(Declined, match=r"vary nothing.*patchtst-budgets/2M patchtst-budgets/20M") as declined:
        transfer(documents(tmp_path), root=tmp_path)
    assert "(d_model, n_heads, n_layers)" in str(declined.value)


def test_three_budgets_that_do_vary_make_nine_cells(tmp_path: Path) -> None:
    made = transfer(documents(tmp_path, epochs=(10, 50, 100)), top=2, root=tmp_path, near=tmp_path)
    assert [(one.name, one.values) for one in made.factors] == [("epochs", (10, 50, 100))]
    assert [sweep.budget for sweep in made.sweeps] == ["2M", "20M", "200M"]
    assert made.name == "patchtst-budgets-transfer"
    assert made.left_out == ()  # widths beyond a budget's own are what is to be found out
    assert made.trainings == 3 * 6 * 3
    assert all([trial.set for trial in sweep.trial] == ["2M"] * 2 + ["20M"] * 2 + ["200M"] * 2 for sweep in made.sweeps)
    sweeps = loads(made.text, path=tmp_path / "new.toml")
    assert [to_raw(sweep) for sweep in sweeps] == [to_raw(sweep) for sweep in made.sweeps]
    assert all(sweep.job.workers == 6 for sweep in sweeps)


def test_a_configuration_that_is_best_in_two_budgets_is_trained_once_in_each(tmp_path: Path) -> None:
    space = "[space]\nepochs = {n}\nlr = [0.1, 0.2]\n"
    rows: list[dict[str, object]] = [{"lr": 0.1}, {"lr": 0.2}]
    made = transfer(
        made_of(tmp_path, space.format(n=10), space.format(n=50), rows, rows[::-1]), root=tmp_path, near=tmp_path
    )
    assert [len(sweep.trial) for sweep in made.sweeps] == [4, 4]
    assert made.trainings == 2 * 2 * 3
    assert [sweep.job.workers for sweep in made.sweeps] == [1, 1]


def test_constraints_that_need_the_users_code_are_said_to_be_unchecked(tmp_path: Path) -> None:
    head = HEAD + 'n_params = "tests.cli.toys:count"\n'
    space = "[space]\nepochs = {n}\nlr = [0.1, 0.2]\n[space.constraints]\nsmall = 'n_params < {n}e6'\n"
    parents = [parent(tmp_path, f"s{n}", head + space.format(n=n), [{"lr": 0.1}, {"lr": 0.2}]) for n in (2, 20)]
    made = transfer(parents, root=tmp_path, near=tmp_path)
    assert made.notes[0] == "s2: constraint 'small' is not checked here, as n_params takes your code: n_params < 2e6"
    assert f"# {made.notes[0].removeprefix('s2: ')}" in made.text


def test_every_budget_keeps_the_job_of_its_study(tmp_path: Path) -> None:
    jobs = (
        "[job]\ntemplate = 'cpu'\nworkers = 2\nwalltime = '1:00:00'\nsbatch = { comment = 'x' }\n",
        "[job]\ntemplate = 'a100'\nworkers = 8\nwalltime = '8:00:00'\ncpus = 4\n[failures]\nnan = 'retry'\n",
    )
    parents = [
        parent(tmp_path, f"s{n}", f"{HEAD}[space]\nepochs = {n}\nlr = [0.1, 0.2]\n{job}", [{"lr": 0.1}, {"lr": 0.2}])
        for n, job in zip((10, 50), jobs, strict=True)
    ]
    sweeps, _ = loaded(parents, tmp_path)
    assert [(one.job.template, one.job.walltime) for one in sweeps.values()] == [("cpu", 3600.0), ("a100", 28800.0)]
    assert [one.job.sbatch for one in sweeps.values()] == [one.sweep.job.sbatch for one in parents]
    assert [one.failures.nan for one in sweeps.values()] == ["fail", "retry"]


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_written_is_a_valid_sweep(seed: int, tmp_path: Path) -> None:
    text = drawn.sweep_text(seed, name="one").replace('"minimize"', '"maximize"')
    (first,) = loads(text, path=tmp_path / "one.toml")
    second = another_budget(first, random.Random(seed), tmp_path / "two.toml")
    parents = [
        parent_of(replace(drawn.table_of(sweep, n=12, seed=seed, source=f"{name}.csv"), label=name))
        for name, sweep in (("one", first), ("two", second))
    ]
    made = transfer(parents, top=4, root=tmp_path, near=tmp_path)
    sweeps = loads(made.text, path=tmp_path / "new.toml")
    assert [to_raw(sweep) for sweep in sweeps] == [to_raw(sweep) for sweep in made.sweeps]
    planned = {(trial.name, str(sweep.budget)) for sweep in sweeps for trial in sweep.trial}
    left = {(one.name, one.budget) for one in made.left_out}
    names = {name for name, _ in planned | left}
    assert planned | left == {(name, str(sweep.budget)) for name in names for sweep in sweeps}
    assert not planned & left
    for sweep in sweeps:
        for trial in sweep.trial:
            configuration = sweep.space.resolve(trial.params, strict=True)
            assert sweep.space.why_invalid(configuration, bounds=False) is None
