"""Every mistake of a file at once: the whole text, and what decides the place of each."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import SweepInvalid
from hpo_batch.records import Problem
from hpo_batch.sweep.load import load
from hpo_batch.sweep.mistakes import Mistake, Source, dotted, put
from hpo_batch.text.lines import one_line
from tests.sweep.conftest import HEAD, SPACE, Told

DATA = Path(__file__).parent / "data"


def test_a_file_of_mistakes_is_told_whole() -> None:
    with pytest.raises(SweepInvalid) as raised:
        load(DATA / "planted.toml")
    assert str(raised.value).replace(f"{DATA}/", "") + "\n" == (DATA / "planted.txt").read_text()


def test_each_line_of_it_is_the_line_that_was_meant() -> None:
    """The golden text against the file itself: the last name of each key stands in its line."""
    lines = (DATA / "planted.toml").read_text().splitlines()
    for told in (DATA / "planted.txt").read_text().splitlines():
        _, number, rest = told.split(":", 2)
        key = rest.strip().split(": ")[0]
        name = key.split(".")[-1].strip('"').split("[")[0]
        if "is missing" not in told:
            assert name in lines[int(number) - 1], told


def test_a_mistake_does_not_hide_those_that_other_rules_find(told: Told) -> None:
    """A wrong type, a mistake in [space], a rule between tables, a trial: one round."""
    text = """
[space]
x = [1, 1]
y = [1, 2]
[sampler]
seed = "a"
extremes = ["z"]
coverage_share = 0.5
[[trial]]
name = "A"
params = { z = 1 }
[job]
cpus = 0
"""
    head = HEAD.replace('direction = "minimize"', 'direction = ["minimize", "maximize"]')
    assert [line.split(": ")[:2] for line in told(text, head=head)] == [
        ["sweep.toml:4", "study.direction"],
        ["sweep.toml:10", "space.x"],
        ["sweep.toml:13", "sampler.seed"],
        ["sweep.toml:14", "sampler.extremes"],
        ["sweep.toml:15", "sampler.coverage_share"],
        ["sweep.toml:18", "trial[1].params.z"],
        ["sweep.toml:20", "job.cpus"],
    ]


def test_what_follows_from_a_mistake_is_not_told(told: Told) -> None:
    """'trials' is wrong, not missing; the trial called 'A-1' is there, its name is wrong."""
    text = """
[space]
x = [1, 2]
[sampler]
name = "tpe"
[[trial]]
name = "A-1"
params = { x = 1 }
[[trial]]
name = "B"
from = "A-1"
"""
    assert [line.split(": ")[1] for line in told(text, head=HEAD.replace("trials = 5", "trials = 'five'"))] == [
        "study.trials",
        "trial[1].name",
    ]


def test_an_empty_file_says_what_is_needed(told: Told) -> None:
    assert told("", head="") == [
        "sweep.toml: objective: is missing",
        "sweep.toml: space: nothing to search: [space] needs at least one parameter with choices or a range",
        "sweep.toml: study: is missing",
    ]
    assert told("[study]\n[objective]\n" + SPACE, head="") == [
        "sweep.toml:1: study.direction: is missing (allowed: minimize, maximize)",
        "sweep.toml:1: study.metric: is missing",
        "sweep.toml:1: study.name: is missing",
        "sweep.toml:1: study.trials: is missing: sampler 'tpe' does not stop by itself",
        "sweep.toml:2: objective: give either function or command (allowed: function, command)",
    ]


def test_where_a_sweep_comes_from_is_checked_like_every_table(told: Told) -> None:
    assert told(SPACE + "[previous]\nstudy = []\nshare = 2\n") == [
        "sweep.toml:12: previous.study: must not be empty",
        "sweep.toml:13: previous.share: must be less than or equal to 1, not 2",
    ]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[job]\nsbatch = 3", "12: job.sbatch: must be a table, not 3"),
        ("[job]\nsbatch = { x = 1.5 }", "12: job.sbatch.x: an option of sbatch must be a text, an integer"),
        ("[job]\nsetup = 'module load'", "12: job.setup: must be a list, not 'module load'"),
        ("[job]\nmem_gb = '4'", "12: job.mem_gb: must be a number, not '4'"),
        ("[job]\nmem_gb = 0", "12: job.mem_gb: must be greater than 0, not 0"),
        ("[job]\nmem_gb = inf", "12: job.mem_gb: must be a finite number, not inf"),
        ("[job]\nsrun = 1", "12: job.srun: must be true or false, not 1"),
        ("[job]\nworkers = true", "12: job.workers: must be an integer, not true"),
        ("[job]\nwalltime = 240", '12: job.walltime: a duration is written in quotes, for example "4:00:00", not 240;'),
        ("[job]\ndevice = 'cude'", "12: job.device: 'cude' is not allowed; did you mean 'cuda'?"),
        ("[expect]\na = { if = 'x', than = 'y' }", "12: expect.a.than: unknown key; did you mean 'then'?"),
        ("[pruner]\noptions = { a = inf }", "12: pruner.options: an option must be a finite number, a text"),
        ("[pruner]\noptions = { a = 2024-01-01 }", "12: pruner.options: an option must be a finite number, a text"),
        ("[baseline]\nx = nan", "12: baseline.x: nan: a value must be finite"),
        ("[baseline]\nx = 2024-01-01", "12: baseline.x: 2024-01-01: a date cannot be a value"),
        ("[[trial]]\nname = 'A'\nparams = { x = [1] }", "13: trial[1].params.x: [1]: a list cannot be a value"),
        ("[[trial]]\nname = 'A'\nparams.x.y = 1", "13: trial[1].params.x: a table: a dict cannot be a value"),
        ("[[trial]]\nparams = { x = 1 }", "11: trial[1].name: is missing"),
        ("[[trial]]\nname = 'best'\nparams = { x = 1, lr = 1e-4 }", "12: trial[1].name: 'best' is a group"),
        ("[[trial]]\nname = 'if'\nparams = { x = 1, lr = 1e-4 }", "12: trial[1].name: 'if' is not an identifier"),
        ("[[trial]]\nname = '1'\nparams = { x = 1, lr = 1e-4 }", "12: trial[1].name: '1' is not an identifier"),
        ("[[trial]]\nname = 'größe'\nparams = { x = 1, lr = 1e-4 }", "12: trial[1].name: 'größe' is not an identifier"),
        ("[metrics]\nloss2 = 3", "12: metrics.loss2: must be a text in quotes, not 3"),
        ("[sampler]\nextremes = ['x', 3]", "12: sampler.extremes[2]: must be a text in quotes, not 3"),
        ("[sampler]\nextremes = [\n'x',\n3]", "14: sampler.extremes[2]: must be a text in quotes, not 3"),
    ],
)  # fmt: skip
def test_mistakes_in_tables(told: Told, text: str, line: str) -> None:
    (found,) = told(f"{SPACE}{text}\n")
    assert found.startswith(f"sweep.toml:{line}")


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        ("job = 3", "job: must be a table, not 3"),
        ("trial = 3", "trial: must be a list, not 3"),
        ("trial = [3]", "trial[1]: must be a table, not 3"),
        ("baseline = [1]", "baseline: must be a table, not [1]"),
        ("expect.a = 3", "expect.a: must be a text in quotes or a table, not 3"),
        ("spaec = 3", "spaec: unknown key; did you mean 'space'? (allowed: study, objective, metrics, space,"),
        ("space_table = 3", "space_table: unknown key"),
    ],
)
def test_mistakes_at_the_top(told: Told, text: str, rest: str) -> None:
    (found,) = told(SPACE, head=f"{text}\n{HEAD}")
    assert found.startswith(f"sweep.toml:1: {rest}")


def test_characters_that_would_confuse_a_terminal_are_spelt_out(told: Told) -> None:
    assert told(SPACE + '"a\\u001b[31m\\nb\\u202e" = 1\n"<script>" = [1, 1]\n') == [
        'sweep.toml:11: space."a\\u001b[31m\\u000ab\\u202e": a parameter\'s name can have at most 100 characters, all '
        "printable",
        "sweep.toml:12: space.\"<script>\": choice 1 is listed twice; to draw a choice more often, use 'weights'",
    ]


def test_huge_values_are_not_printed_whole(told: Told) -> None:
    (line,) = told(f"{SPACE}[job]\ndevice = '{'x' * 5000}'\n")
    assert len(line) < 200
    (line,) = told(f"{SPACE}[job]\nworkers = 0x{'f' * 9000}\n")
    assert "an integer of 36000 bits" in line


def test_the_place_of_a_key_is_the_source_that_won() -> None:
    file = Source(
        file="f", raw={"job": {"cpus": 1, "sbatch": {"a": 1}}, "trial": [1]}, lines={("job",): 1, ("job", "cpus"): 2}
    )
    template = Source(file="t", raw={"job": {"cpus": 2, "gres": 3}}, lines={("job", "gres"): 7}, hidden=1)
    budget = Source(file="f", raw={"job": {"cpus": 4}}, lines={("job", "cpus"): 9}, header=8, prefix=("budget", 0))
    override = Source(file="--set", raw={"job": {"gres": 5, "sbatch": 3}})

    def place(key: tuple[str | int, ...], *sources: Source) -> tuple[str, int | None, str]:
        found = put(Problem(key=key, message=""), sources)
        return found.file, found.line, found.key

    assert place(("job", "cpus"), template, file) == ("f", 2, "job.cpus")
    assert place(("job", "gres"), template, file) == ("t", 7, "gres")
    assert place(("job", "cpus"), template, file, budget) == ("f", 9, "budget[1].job.cpus")
    assert place(("job", "gres"), template, file, budget, override) == ("--set", None, "job.gres")
    assert place(("job", "sbatch", "a"), file, override) == ("--set", None, "job.sbatch.a")
    # what is missing is missing where the table begins, and in the file rather than in what was laid over it
    assert place(("job", "walltime"), template, file, budget, override) == ("f", 1, "job.walltime")
    assert place(("study", "name"), template, file, budget) == ("f", None, "study.name")
    assert place(("job", "new"), Source(file="f", raw={}), budget) == ("f", 8, "budget[1].job.new")


def test_keys_are_shown_as_they_would_be_written() -> None:
    assert dotted(("trial", 0, "params", "model.lr")) == 'trial[1].params."model.lr"'
    assert dotted(("space", 'a"b\\', "", "größe", "x-y_1")) == 'space."a\\"b\\\\".""."größe".x-y_1'
    assert one_line("a\tb\x7fü") == "a\\u0009b\\u007fü"


def test_a_mistake_in_words() -> None:
    full = Mistake(file="f", line=3, key="a.b", message="is wrong", allowed="x, y", guess="x")
    assert str(full) == "f:3: a.b: is wrong; did you mean 'x'? (allowed: x, y)"
    assert str(Mistake(file="f", line=None, key="", message="is wrong")) == "f: is wrong"
