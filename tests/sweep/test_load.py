"""From files to sweeps: what cannot be read, what is laid over what, and each mistake told where it was made."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.sweep.load import load
from hpo_batch.sweep.name import name_in_toml
from hpo_batch.sweep.templates import merge, template_folders
from tests.sweep.conftest import HEAD, SPACE, Load, LoadOne, Told, shorten

# --- files ---


def test_missing_file(folder: Path) -> None:
    with pytest.raises(UserError, match=r"^no sweep file 'sweep.toml'; 'hpo-batch init' writes one$"):
        load(Path("sweep.toml"))
    (folder / "pyproject.toml").touch()
    (folder / "sweep.toml").touch()
    with pytest.raises(UserError, match=r"^no sweep file 'swep.toml'; did you mean 'sweep.toml'\?$"):
        load(Path("swep.toml"))
    with pytest.raises(UserError, match=r"^no sweep file 'lr.toml'; its folder has sweep.toml$"):
        name_in_toml("lr.toml")


def test_directory(folder: Path) -> None:
    with pytest.raises(UserError, match=r"here' is a directory, not a sweep file$"):
        load(folder)


def test_unreadable_file(folder: Path) -> None:
    path = folder / "sweep.toml"
    path.write_text(HEAD + SPACE)
    path.chmod(0)
    if os.access(path, os.R_OK):  # root reads everything; a path through a file fails for everybody
        path = path / "inner.toml"
    with pytest.raises(UserError, match=r"^cannot read '.*toml': (Permission denied|Not a directory)$"):
        load(path)


def test_text_in_another_encoding(folder: Path) -> None:
    path = folder / "sweep.toml"
    path.write_bytes((HEAD + "# größe\n").encode("latin-1"))
    with pytest.raises(UserError, match="not UTF-8 text"):
        load(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[study\nname = 1", "sweep.toml:1: not valid TOML: "),
        ("a = 1\nb = \nc = 3", "sweep.toml:2: not valid TOML: Invalid value (at line 2, column 5)"),
        ("a = 1\na = 2", "sweep.toml:2: not valid TOML: Cannot overwrite a value"),
        ("a = [1,\n2", "sweep.toml:2: not valid TOML: Unclosed array"),
        ("a = 1\n\x00", "sweep.toml:2: not valid TOML: "),
        ("a = " + "[" * 5000 + "]" * 5000, "sweep.toml: not valid TOML: its tables are nested too deeply"),
        ("a = 1\nb = 1" + "0" * 5000, "sweep.toml:2: not valid TOML: Exceeds the limit (4300 digits)"),
    ],
    ids=["header", "value", "twice", "unclosed", "nul", "deep", "long"],
)
def test_broken_toml_is_told_with_its_line(told: Told, text: str, message: str) -> None:
    (line,) = told(text, head="")
    assert line.startswith(message)
    assert line.isprintable()


def test_tables_nested_as_deeply_as_toml_allows(told: Told) -> None:
    (line,) = told(f"{SPACE}y = {'[' * 390}{']' * 390}\n")
    assert line.startswith("sweep.toml:11: space.y: choice a nested list")
    (line,) = told(f"{SPACE}y{'.a' * 300} = 1\n")
    assert line.startswith("sweep.toml:11: space.y: a table must declare a parameter")
    assert told(f"{SPACE}y{'.a' * 9000} = 1\n") == ["sweep.toml: not valid TOML: its tables are nested too deeply"]
    (line,) = told(f"{SPACE}[sampler]\noptions = {'{a=' * 300}1{'}' * 300}\n")
    assert line.startswith("sweep.toml:12: sampler.options: an option must be")


def test_line_ends_and_marks_of_other_systems(folder: Path) -> None:
    text = HEAD + SPACE + "y = [1, 1]\n"
    for data in (
        text.replace("\n", "\r\n").encode(),
        b"\xef\xbb\xbf" + text.encode(),
        text.replace(" = ", "\t=\t").replace("\n", " \t\n").encode(),
    ):
        path = folder / "sweep.toml"
        path.write_bytes(data)
        with pytest.raises(SweepInvalid) as raised:
            load(path)
        assert [line.split(": ")[0] for line in shorten(raised.value.lines, folder)] == ["sweep.toml:11"]


def test_a_sweep_with_all_that_is_left_out(load_one: LoadOne) -> None:
    sweep = load_one(SPACE)
    assert sweep.path == "study"
    assert sweep.sampler.name == "tpe"
    assert sweep.job.scheduler == "local"
    assert sweep.job.walltime == 86400.0
    assert [p.name for p in sweep.space.searched] == ["x", "lr"]


def test_thousands_of_parameters(load_one: LoadOne) -> None:
    text = "".join(f"p{i} = {{ low = 0, high = 4, when = 'p{i - 1} > 2' }}\n" for i in range(2000, 0, -1))
    sweep = load_one(f"[space]\n{text}p0 = [1, 2, 3]\nlr = {{ low = 0.0, high = 1.0 }}\n")
    assert len(sweep.space.searched) == 2002
    assert sweep.space.order[:2] == ("p0", "p1")


# --- overrides ---


@pytest.mark.parametrize(
    ("override", "key", "expected"),
    [
        ("study.trials=7", "study.trials", 7),
        ("study.trials = 7 # seven", "study.trials", 7),
        ("study.name=other", "study.name", "other"),
        ("study.name='quoted'", "study.name", "quoted"),
        ("job.walltime=4:00:00", "job.walltime", 14400.0),
        ("job.walltime=04:00:00", "job.walltime", 14400.0),
        ("sampler.extremes=['x']", "sampler.extremes", ("x",)),
        ("objective.env.A=b=c", "objective.env", {"A": "b=c"}),
        ("objective.env={A='1'}", "objective.env", {"A": "1"}),
        ("sampler.options.n_ei_candidates=5", "sampler.options", {"n_ei_candidates": 5}),
        ("objective.function=other.module:f", "objective.function", "other.module:f"),
        ("study.metric=a\nb=2", "study.metric", ("a\nb=2",)),
    ],
)
def test_overrides(load_one: LoadOne, override: str, key: str, expected: object) -> None:
    table, name = key.split(".")
    assert getattr(getattr(load_one(SPACE, override), table), name) == expected


def test_overrides_reach_into_the_space(load_one: LoadOne) -> None:
    sweep = load_one(SPACE, "space.lr.high=0.5", "space.x=[4, 5]", 'space."a.b"=1', "space.new={low=1, high=2}")
    assert sweep.space.by_name["lr"].high == 0.5  # type: ignore[union-attr]
    assert sweep.space.by_name["x"].cells == (4, 5)
    assert [p.name for p in sweep.space.parameters] == ["x", "lr", "a.b", "new"]


def test_a_later_override_wins(load_one: LoadOne) -> None:
    assert load_one(SPACE, "study.trials=7", "study.trials=8").study.trials == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("job.workers", "--set takes key=value, for example job.workers=4"),
        ("", "--set takes key=value, for example job.workers=4"),
        ("=4", "--set takes key=value, for example job.workers=4"),
        ("job..workers=4", "--set takes key=value, for example job.workers=4"),
        ("job workers=4", "--set takes key=value, for example job.workers=4"),
        ("[job]=4", "--set takes key=value, for example job.workers=4"),
        ("space.x=[1, 2", "the value is not valid TOML: Unclosed array"),
        ("space.x='a", "the value is not valid TOML: "),
        ("job.workers=four", "job.workers: must be an integer, not 'four'"),
        ("job.workers=", "job.workers: must be an integer, not ''"),
        ("job.workers=1" + "0" * 5000, "job.workers: must be an integer, not '1000"),
        ("job.wokers=4", "job.wokers: unknown key; did you mean 'workers'?"),
        ("jib.workers=4", "jib: unknown key; did you mean 'job'?"),
        ("study=3", "study: must be a table, not 3"),
        ("space.x.low=1", "space.x: 'high' is missing: a range needs both ends"),
        ("trial.0.name=A", "trial: must be a list, not a table"),
        ("study.seeds=[-1]", "study.seeds[1]: must be greater than or equal to 0, not -1"),
        ("study.seeds=[1, 1]", "study.seeds: a seed is listed twice"),
        ("previous={study='a', stduy='b'}", "previous.stduy: unknown key; did you mean 'study'?"),
        ("study.import=[3]", "study.import[1]: must be a text in quotes, not 3"),
        ("budget=[]", "budget: budgets cannot be changed with --set"),
        ("space.lr.low=1.0", "space.lr.low: low (1.0) is above high (0.001)"),
    ],
    ids=lambda text: text[:30],
)
def test_mistakes_in_overrides_are_told_as_theirs(told: Told, override: str, message: str) -> None:
    (line,) = told(SPACE, override)
    assert line.startswith(f"--set {override}: {message}")


def test_mistakes_of_file_and_overrides_together(told: Told) -> None:
    found = told(SPACE + "y = [1, 1]\n", "job.workers", "job.cpus=0", "study.trials=0")
    assert [line.split(": ")[0] for line in found] == [
        "sweep.toml:11",
        "--set job.workers",
        "--set job.cpus=0",
        "--set study.trials=0",
    ]


def test_what_is_missing_is_not_blamed_on_an_override(told: Told) -> None:
    assert told(SPACE, "study.trials=3", head=HEAD.replace('metric = "loss"\n', "")) == [
        "sweep.toml:1: study.metric: is missing"
    ]


# --- templates ---


def test_merging_tables_merge_and_lists_replace() -> None:
    assert merge(
        {"a": {"b": 1, "c": [1]}, "d": 1, "e": {"f": 1}}, {"a": {"c": [2], "x": 1}, "d": {"y": 1}, "e": 2}
    ) == {
        "a": {"b": 1, "c": [2], "x": 1},
        "d": {"y": 1},
        "e": 2,
    }


def test_what_is_laid_over_what(load_text: Load, folder: Path) -> None:
    """Defaults < template < [job] < [[budget]] < --set."""
    (folder / "job_templates").mkdir()
    (folder / "job_templates" / "site.toml").write_text(
        "scheduler = 'slurm'\ncpus = 2\nmem_gb = 2\nqos = 'template'\npartition = 'template'\nsetup = ['a', 'b']\n"
        "sbatch = { comment = 'template', wckey = 'template' }\n"
    )
    text = SPACE + (
        "[job]\ntemplate = 'site'\nmem_gb = 3\nqos = 'job'\npartition = 'job'\nsetup = ['c']\n"
        "sbatch = { comment = 'job' }\n"
        "[[budget]]\nname = '2M'\njob = { qos = 'budget', partition = 'budget' }\n"
        "[[budget]]\nname = '20M'\n"
    )
    small, large = load_text(text, "job.partition=set")
    job = small.job
    assert (job.signal_lead_s, job.cpus, job.mem_gb, job.qos, job.partition) == (180, 2, 3.0, "budget", "set")
    assert job.setup == ("c",)
    assert job.sbatch == {"comment": "job", "wckey": "template"}
    assert (large.job.qos, large.job.partition) == ("job", "set")


def test_templates_here_come_before_those_beside_the_file_and_those_before_ours(folder: Path, tmp_path: Path) -> None:
    beside = tmp_path / "beside"
    for place, cpus in ((folder, 3), (beside, 5)):
        (place / "job_templates").mkdir(parents=True)
        (place / "job_templates" / "a100.toml").write_text(f"cpus = {cpus}\n")
    path = beside / "sweep.toml"
    path.write_text(HEAD + SPACE + "[job]\ntemplate = 'a100'\n")
    assert load(path)[0].job.cpus == 3
    (folder / "job_templates" / "a100.toml").unlink()
    assert load(path)[0].job.cpus == 5
    (beside / "job_templates" / "a100.toml").unlink()
    assert load(path)[0].job.cpus == 8
    assert template_folders(beside)[:2] == (folder / "job_templates", beside / "job_templates")


@pytest.mark.parametrize("name", ["a100", "a100-shared", "cpu", "local"])
def test_our_templates_hold_no_mistakes(load_one: LoadOne, name: str) -> None:
    job = load_one(SPACE, f"job.template={name}").job
    assert job.template == name
    assert job.scheduler == ("local" if name == "local" else "slurm")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "a1000",
            "no job template 'a1000'; there are a100, a100-shared, collector, cpu, local, mine; did you mean 'a100'?",
        ),
        ("../job_templates/a100", "no job template '../job_templates/a100'; there are"),
        ("x" * 300, "no job template 'xxx"),
        ("", "no job template ''; there are"),
    ],
    ids=lambda text: text[:20],
)
def test_unknown_templates(told: Told, folder: Path, name: str, message: str) -> None:
    (folder / "job_templates").mkdir()
    (folder / "job_templates" / "mine.toml").write_text("")
    (line,) = told(f"{SPACE}[job]\ntemplate = '{name}'\n")
    assert line.startswith(f"sweep.toml:12: job.template: {message}")
    (line,) = told(SPACE, f"job.template={name}")
    assert line.startswith(f"--set job.template={name}: job.template: {message}")


def test_mistakes_of_a_template_name_its_file_and_line(told: Told, folder: Path) -> None:
    (folder / "job_templates").mkdir()
    (folder / "job_templates" / "site.toml").write_text("# mine\ncpus = 'two'\n\npartion = 'gpu'\n[sbatch]\nx = 1.5\n")
    found = told(f"{SPACE}y = [1, 1]\n[job]\ntemplate = 'site'\nworkers = 0\n")
    assert [line.split(": ")[:2] for line in found] == [
        ["sweep.toml:11", "space.y"],
        ["sweep.toml:14", "job.workers"],
        ["job_templates/site.toml:2", "cpus"],
        ["job_templates/site.toml:4", "partion"],
        ["job_templates/site.toml:6", "sbatch.x"],
    ]
    assert "unknown key; did you mean 'partition'?" in found[3]
    # what the sweep says instead is its own affair
    assert len(told(f"{SPACE}[job]\ntemplate = 'site'\ncpus = 2\n")) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cpus = \n", "site.toml: not valid TOML: Invalid value (at line 1, column 8)"),
        ("template = 'cpu'", "site.toml: templates cannot be nested; remove its key 'template'"),
    ],
)
def test_templates_that_cannot_be_used(told: Told, folder: Path, text: str, message: str) -> None:
    (folder / "job_templates").mkdir()
    (folder / "job_templates" / "site.toml").write_text(text)
    assert told(f"{SPACE}[job]\ntemplate = 'site'\n") == [
        f"sweep.toml:12: job.template: job template job_templates/{message}"
    ]


def test_a_local_template_drops_what_only_slurm_understands(load_one: LoadOne) -> None:
    text = SPACE + (
        "[job]\ntemplate = 'a100'\nworkers = 3\nwalltime = '2:00:00'\ncpus = 2\ngres = 'gpu:a100:1'\n"
        "partition = 'gpu'\nmax_running = 2\nsbatch = { comment = 'x' }\nscheduler = 'slurm'\nsetup = ['module load']\n"
        "grace_s = 300\nsignal_lead_s = 60\n"
    )
    job = load_one(text, "job.template=local").job
    assert (job.scheduler, job.gres, job.partition, job.qos, job.max_running, job.sbatch) == (
        "local", None, None, None, None, {},
    )  # fmt: skip
    assert (job.workers, job.walltime, job.cpus, job.setup) == (3, 7200.0, 2, ("module load",))
    assert (job.grace_s, job.signal_lead_s) == (300.0, 60)
    assert load_one(text).job.gres == "gpu:a100:1"


SLURMS = [
    "gres = 'gpu:1'",
    "partition = 'gpu'",
    "account = 'x'",
    "nodes = 2",
    "srun = false",
    "collect = true",
]
SLURMS += ["sbatch = { exclusive = true }", "max_running = 2", "scheduler = 'slurm'", "dependency = 'afterok:1'"]


@pytest.mark.parametrize("asked", SLURMS)
def test_what_is_asked_of_slurm_where_it_would_be_dropped_is_a_mistake(
    told: Told, load_one: LoadOne, asked: str
) -> None:
    key = asked.partition(" ")[0]
    for head, beside in (
        ("[job]\n", ()),  # no template: this machine
        ("[job]\ntemplate = 'local'\n", ()),
        ("[job]\ntemplate = 'local'\n", ("study.trials=4",)),
        ("[[budget]]\nname = '1'\n[budget.job]\ntemplate = 'local'\n", ()),
    ):
        (line,) = told(f"{SPACE}{head}{asked}\n", *beside)
        assert f"job.{key}: " in line
        assert "on this machine: remove" in line
    override = f"job.{asked.replace(' ', '')}"
    for beside in ((), ("job.template=local",)):
        (line,) = told(SPACE, override, *beside)
        assert line.startswith(f"--set {override}: job.{key}: ")
    assert load_one(f"{SPACE}[job]\ntemplate = 'a100'\n{asked}\n", "job.template=local").job.scheduler == "local"


def test_a_local_template_asks_nothing_of_slurm(told: Told, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "job_templates").mkdir()
    (tmp_path / "job_templates" / "mine.toml").write_text("scheduler = 'local'\ngres = 'gpu:1'\n")
    monkeypatch.chdir(tmp_path)
    (line,) = told(SPACE, "job.template=mine")
    assert "mine.toml:2: " in line
    assert "remove 'gres'" in line


@pytest.mark.parametrize("template", ["a100", "cpu"])
def test_a_scheduler_is_named_by_a_template(told: Told, template: str) -> None:
    (line,) = told(f"{SPACE}[job]\ntemplate = '{template}'\nscheduler = 'local'\n")
    assert "only a template can say where a sweep runs" in line


def test_a_local_template_does_not_hide_mistakes(told: Told) -> None:
    assert [line.split(": ")[1] for line in told(f"{SPACE}[job]\ngres = 3\npartion = 'x'\n", "job.template=local")] == [
        "job.gres",
        "job.partion",
    ]


# --- budgets ---

BUDGETS = """
[[budget]]
name = "2M"
study = { trials = 3 }
space = { x = [1, 2], width = { low = 1, high = 2 } }
[[budget]]
name = "20M"
[budget.space]
x = [10, 20]
"""


def test_each_budget_is_laid_over_the_file(load_text: Load) -> None:
    small, large = load_text(SPACE + BUDGETS)
    assert (small.path, small.study.trials, small.space.by_name["x"].cells) == ("study/2M", 3, (1, 2))
    assert (large.path, large.study.trials, large.space.by_name["x"].cells) == ("study/20M", 5, (10, 20))
    assert [p.name for p in small.space.parameters] == ["x", "lr", "width"]
    assert [p.name for p in large.space.parameters] == ["x", "lr"]
    assert [sweep.study.trials for sweep in load_text(SPACE + BUDGETS, "study.trials=9")] == [9, 9]


def test_a_mistake_of_the_file_is_told_once_and_not_per_budget(told: Told) -> None:
    assert [line.split(": ")[:2] for line in told(SPACE + "y = [1, 1]\n" + BUDGETS)] == [["sweep.toml:11", "space.y"]]


def test_mistakes_of_budgets_are_told_where_they_are(told: Told) -> None:
    text = BUDGETS.replace("high = 2", "high = 0").replace("[10, 20]", "[10, 10]\nz = nan\n[budget.jib]\na = 1")
    found = told(SPACE + text)
    assert [line.split(": ")[:2] for line in found] == [
        ["sweep.toml:15", "budget[1].space.width.low"],
        ["sweep.toml:19", "budget[2].space.x"],
        ["sweep.toml:20", "budget[2].space.z"],
        ["sweep.toml:21", "budget[2].jib"],
    ]
    assert "did you mean 'job'?" in found[3]


def test_a_mistake_that_one_budget_makes_of_the_files_own_key_names_the_budget(told: Told) -> None:
    text = SPACE + "[space.constraints]\nsmall = 'x < 10'\n" + BUDGETS
    assert told(text) == ["sweep.toml:12: space.constraints.small: nothing in [space] satisfies it (in budget '20M')"]
    assert told(text.replace("x < 10", "x < 1")) == [
        "sweep.toml:12: space.constraints.small: nothing in [space] satisfies it"
    ]


@pytest.mark.parametrize(
    ("budgets", "line"),
    [
        ("[[budget]]\nspace = { x = [1, 2] }", "11: budget[1].name: each budget needs a name that can be a folder"),
        ("[[budget]]\nname = 3", "12: budget[1].name: each budget needs a name"),
        ("[[budget]]\nname = ''", "12: budget[1].name: each budget needs a name"),
        ("[[budget]]\nname = '../x'", "12: budget[1].name: each budget needs a name"),
        ("[[budget]]\nname = '.x'", "12: budget[1].name: each budget needs a name"),
        ("[[budget]]\nname = 'a b'", "12: budget[1].name: each budget needs a name"),
        ("[[budget]]\nname = 'a'\n[[budget]]\nname = 'a'", "14: budget[2].name: two budgets are called 'a'"),
        ("[[budget]]\nname = 'a'\nbudget = 'b'", "13: budget[1].budget: a budget cannot contain budgets"),
        ("[budget]\nname = 'a'", "11: budget: budgets must be [[budget]] tables"),
    ],
)
def test_mistakes_in_budgets_themselves(told: Told, budgets: str, line: str) -> None:
    (found,) = told(f"{SPACE}{budgets}\n")
    assert found.startswith(f"sweep.toml:{line}")


def test_a_budget_may_bring_the_whole_space(load_text: Load) -> None:
    (sweep,) = load_text("[[budget]]\nname = 'a'\nspace = { x = [1, 2] }\n")
    assert sweep.space.searched[0].cells == (1, 2)
