"""What must fit together between tables, and what is only told as a warning."""

from __future__ import annotations

import pytest

from hpo_batch.sweep.doubts import warnings
from hpo_batch.sweep.load import infer_space
from hpo_batch.sweep.size import architecture_size, target
from tests.sweep.conftest import HEAD, SPACE, LoadOne, Told

NO_TRIALS = HEAD.replace("trials = 5\n", "")
"""six lines"""
TWO = NO_TRIALS.replace('metric = "loss"', 'metric = ["loss", "time"]')


@pytest.mark.parametrize(
    ("head", "text", "line"),
    [
        (NO_TRIALS, SPACE, "1: study.trials: is missing: sampler 'tpe' does not stop by itself"),
        (TWO + "", SPACE, "4: study.direction: 1 directions for 2 metrics (allowed: minimize, maximize)"),
        (HEAD.replace('"loss"', '["a", "a"]').replace('"minimize"', '["minimize", "minimize"]'), SPACE,
         "3: study.metric: a metric is listed twice"),
        (HEAD.replace('"loss"', '["a", "b"]').replace('"minimize"', '["minimize", "maximize"]'),
         SPACE + "[pruner]\nname = 'median'", "12: pruner.name: pruning needs a study with a single metric"),
        (HEAD.replace('"loss"', "[]").replace('"minimize"', "[]"), SPACE, "3: study.metric: must not be empty"),
        (HEAD + "command = 'x'\n", SPACE, "6: objective: give either function or command, not both"),
        (HEAD.replace("function =", "n_params ="), SPACE, "6: objective: give either function or command"),
        (HEAD.replace("package.module:function", "package.module"), SPACE,
         "7: objective.function: 'package.module' must have the form \"package.module:function\""),
        (HEAD.replace("function =", "command =").replace("package.module:function", "x 'y"), SPACE,
         "7: objective.command: the command cannot be split: No closing quotation"),
        (HEAD.replace("function =", "command =").replace("package.module:function", " "), SPACE,
         "7: objective.command: the command is empty"),
        (HEAD.replace("function =", "command =").replace('"package.module:function"', "['']"), SPACE,
         "7: objective.command: the command is empty"),
        (HEAD.replace("function =", "command =").replace('"package.module:function"', "['a', 1]"), SPACE,
         "7: objective.command: a command must be a text or a list of texts, not ['a', 1]"),
    ],
)  # fmt: skip
def test_study_and_objective(told: Told, head: str, text: str, line: str) -> None:
    found = [one for one in told(text, head=head) if "study.trials" not in one or "study.trials" in line]
    assert len(found) == 1
    assert found[0].startswith(f"sweep.toml:{line}")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("patchtst-2m", ""),
        ("3d", ""),
        ("a.b_c-1", ""),
        ("x" * 100, ""),
        ("x" * 101, "at most 100"),
        ("", "cannot be a study's name"),
        ("Study", "use at most 100 of a-z 0-9 . _ -"),
        ("a b", "cannot be a study's name"),
        ("a/b", "cannot be a study's name"),
        ("..", "cannot be a study's name"),
        (".hidden", "begin with a letter or digit"),
        ("-x", "begin with a letter or digit"),
        ("größe", "cannot be a study's name"),
        ("123", "not only digits"),
        ("1-3", "not only digits"),
        ("x.toml", "it would be taken for a sweep file"),
        ("x\\n", "cannot be a study's name"),
    ],
)
def test_study_names(load_one: LoadOne, told: Told, name: str, reason: str) -> None:
    head = HEAD.replace('name = "study"', f'name = "{name}"')
    if not reason:
        assert load_one(SPACE, head=head).study.name == name
        return
    (line,) = told(SPACE, head=head)
    assert line.startswith("sweep.toml:2: study.name: ")
    assert reason in line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("name = 'tpee'", "13: sampler.name: unknown sampler 'tpee'; did you mean 'tpe'?"),
        ("name = 'sobol'", "13: sampler.name: unknown sampler 'sobol' (allowed: tpe, random, "),
        ("name = 'list'", "13: sampler.name: sampler 'list' needs at least one [[trial]] table"),
        ("coverage_share = 0.3", "13: sampler.coverage_share: needs the parameters in sampler.coverage"),
        ("coverage_share = 1.5\ncoverage = ['x']", "13: sampler.coverage_share: must be less than or equal to 1"),
        ("name = 'grid'\ncoverage = ['x']\ncoverage_share = 0.3\n[space.lr]\nstep = 1e-5\nhigh = 1.1e-4\nlog = false",
         "15: sampler.coverage_share: has no effect with sampler 'grid', which draws nothing"),
        ("duplicates = 'keep'", "13: sampler.duplicates: 'keep' is not allowed (allowed: skip, replicate)"),
        ("extremes = ['y']", "13: sampler.extremes: 'y' is not a parameter of [space] (allowed: x, lr, kind)"),
        ("coverage = ['lrr']", "13: sampler.coverage: 'lrr' is not a parameter of [space]; did you mean 'lr'?"),
        ("extremes = ['kind']", "13: sampler.extremes: 'kind' has no order, and so no smallest and largest value"),
        ("coverage = ['lr']", "13: sampler.coverage: 'lr' is continuous and has no cells"),
        ("extremes = ['x', 'x']", "13: sampler.extremes: a parameter is listed twice"),
        ("name = 'grid'", "10: space.lr: a grid needs choices, or a range with a step"),
    ],
)  # fmt: skip
def test_sampler(told: Told, text: str, line: str) -> None:
    sampler, _, more = text.partition("\n[")
    space = SPACE
    if more:  # a table of its own for lr: the file then has another value there
        space = SPACE.replace("lr = { low = 1e-5, high = 1e-3, log = true }", "lr = [1.0, 2.0]")
    (found,) = told(f"{space}kind = ['a', 'b']\n[sampler]\n{sampler}\n")
    assert found.startswith(f"sweep.toml:{line}")


def test_a_grid_that_is_too_large(told: Told) -> None:
    text = "[space]\n" + "".join(f"p{i} = {{ low = 0, high = 9 }}\n" for i in range(6)) + "[sampler]\nname = 'grid'\n"
    message = "a grid of 1,000,000 cells is too large (at most 300,000); use sampler 'random'"
    assert told(text, head=NO_TRIALS) == [f"sweep.toml:15: sampler.name: {message}"]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["sweep.toml: space: nothing to search: [space] needs at least one parameter with choices or a range"]),
        ("[space]", ["sweep.toml:8: space: nothing to search"]),
        ("[space]\na = 1\nb = 'x'", ["sweep.toml:8: space: nothing to search"]),
        ("space = 3\n", ["sweep.toml:1: space: must be a table, not 3"]),
    ],
)
def test_nothing_to_search(told: Told, text: str, lines: list[str]) -> None:
    found = told("", head=text + HEAD) if text.startswith("space =") else told(text)
    assert len(found) == len(lines)
    assert all(one.startswith(line) for one, line in zip(found, lines, strict=True))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("[space.constraints]\na = 'x > 5'", ["12: space.constraints.a: nothing in [space] satisfies it"]),
        ("[space.constraints]\na = 'x > 5'\nb = 'x > 0'\nc = 'x < 0'",
         ["12: space.constraints.a: nothing in [space] satisfies it",
          "14: space.constraints.c: nothing in [space] satisfies it"]),
        ("[space.constraints]\na = 'x > 1'\nb = 'x < 2'",
         ["11: space.constraints: nothing in [space] satisfies all of them together"]),
        ("y = 3\n[space.constraints]\na = 'y > 5'", ["13: space.constraints.a: nothing in [space] satisfies it"]),
        ("[space.constraints]\na = '1 > 5'", ["12: space.constraints.a: expression '1 > 5': it contains no names"]),
        ("[space.derived]\nd = 'x * 2'\n[space.constraints]\na = 'd % 2 == 1'",
         ["14: space.constraints.a: nothing in [space] satisfies it"]),
        ("y = ['a']\n[space.constraints]\na = 'x > y'",
         ["13: space.constraints.a: nothing in [space] satisfies it: expression 'x > y': a number and a text"]),
        ("[space.constraints]\na = \"lr > 'a'\"",
         ["12: space.constraints.a: nothing in [space] satisfies it: expression \"lr > 'a'\": a number and a text"]),
        ("[space.constraints]\na = '2**2**40 > x'",
         ["12: space.constraints.a: nothing in [space] satisfies it: expression '2**2**40 > x': at '2**2**40': an"]),
        ("[space.constraints]\na = \"'a'*10**9 == x\"",
         ["12: space.constraints.a: nothing in [space] satisfies it: expression \"'a'*10**9 == x\": at \"'a'*10"]),
        ("[space.constraints]\na = \"__import__('os').system('x')\"",
         ["12: space.constraints.a: expression \"__import__('os').system('x')\": \"__import__('os').system\" is"]),
        ("y = { choices = ['a', 'b'], when = 'kind' }\nkind = ['c', 'd']",
         ["11: space.y.when: cannot be computed for kind = 'c': expression 'kind': its value is the text 'c'"]),
        ("[space.derived]\nd = '1 / (x - 2)'\ne = 'd + 1'",
         ["12: space.derived.d: cannot be computed for x = 2: expression '1 / (x - 2)': division by zero"]),
        ("y = 0\n[space.derived]\nd = '1 / y'",
         ["13: space.derived.d: cannot be computed for y = 0: expression '1 / y': division by zero"]),
        ("[space.derived]\nd = 'lr * 1e308 * 1e308'",
         ["12: space.derived.d: cannot be computed for lr = 1e-05: expression 'lr * 1e308 * 1e308': the result"]),
    ],
)  # fmt: skip
def test_expressions_that_no_configuration_satisfies_or_that_cannot_be_computed(
    told: Told, text: str, lines: list[str]
) -> None:
    found = told(SPACE + text + "\n")
    assert len(found) == len(lines), found
    for one, line in zip(found, lines, strict=True):
        assert one.startswith(f"sweep.toml:{line}")


def test_a_derived_value_is_tried_only_where_it_is_active(load_one: LoadOne) -> None:
    text = SPACE + "y = { choices = [1, 2], when = 'x > 1' }\n[space.derived]\nd = 'y / (x - 1)'\n"
    assert load_one(text).space.resolve({"x": 1, "lr": 1e-4}).derived == {}


def test_a_constraint_on_n_params_is_not_judged_without_the_users_function(load_one: LoadOne) -> None:
    head = HEAD + "n_params = 'package.size:n_params'\n"
    sweep = load_one(SPACE + "[space.constraints]\nsmall = 'n_params < 1 and x > 1'\n", head=head)
    assert sweep.space.why_invalid(sweep.space.resolve({"x": 1, "lr": 1e-4})) is None


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("y = { choices = [1, 2], weights = [1, 3], when = 'x > 1' }",
         ["11: space.y.weights: weights of a conditional parameter are not supported"]),
        ("y = { choices = [1, 2], weights = [1, 3] }\nz = { choices = [1, 2], weights = [1, 3] }\n"
         "[sampler]\nname = 'list'\n[[trial]]\nname = 'A'\nparams = { x = 1, lr = 1e-4, y = 1, z = 1 }",
         ["11: space.y.weights: weights have no effect with sampler 'list'",
          "12: space.z.weights: weights have no effect with sampler 'list'"]),
        ("".join(f"y{i} = {{ choices = [1, 2, 3, 4], weights = [1, 1, 1, 3] }}\n" for i in range(5)),
         ["15: space.y4.weights: the weighted choices have 1,024 combinations"]),
    ],
)  # fmt: skip
def test_weights(told: Told, text: str, lines: list[str]) -> None:
    found = told(SPACE + text + "\n", head=HEAD.replace("trials = 5", "trials = 1"))
    assert len(found) == len(lines), found
    for one, line in zip(found, lines, strict=True):
        assert one.startswith(f"sweep.toml:{line}")


def test_metrics_computed_from_each_other(told: Told, load_one: LoadOne) -> None:
    text = SPACE + "[metrics]\na = 'b + 1'\nb = '2 * c'\nc = 'a'\nd = 'd + 1'\n"
    assert told(text) == [
        "sweep.toml:12: metrics.a: these metrics depend on each other: a -> b -> c -> a",
        "sweep.toml:15: metrics.d: these metrics depend on each other: d -> d",
    ]
    assert load_one(SPACE + "[metrics]\na = 'b + 1'\nb = 'loss'\n").metrics == {"a": "b + 1", "b": "loss"}


# --- lists without a space ---


def test_a_list_makes_its_space_from_its_trials(load_one: LoadOne) -> None:
    text = """
[sampler]
name = "list"
[[trial]]
name = "A"
params = { lr = 0.1, depth = 2, kind = "a" }
[[trial]]
name = "B"
from = "A"
params = { lr = 0.2 }
"""
    for more in ("", "[space]\n", "[space.derived]\nwidth = 'depth * 2'\n", "[space.constraints]\nc = 'depth > 1'\n"):
        sweep = load_one(text + more, head=NO_TRIALS)
        assert [p.name for p in sweep.space.searched] == ["lr"]
        assert {p.name for p in sweep.space.fixed} == {"depth", "kind"}
        assert target(sweep) == 2
    assert sweep.space.constraints.keys() == {"c"}


def test_a_list_with_a_space_keeps_to_its_names(told: Told) -> None:
    text = SPACE + "[sampler]\nname = 'list'\n[[trial]]\nname = 'A'\nparams = { x = 1, lr = 1e-4, depth = 2 }\n"
    assert told(text, head=NO_TRIALS) == [
        "sweep.toml:14: trial[1].params.depth: 'depth' is not a parameter of [space] (allowed: x, lr)"
    ]


def test_mistakes_in_the_trials_of_a_list_without_a_space(told: Told) -> None:
    text = (
        "[sampler]\nname = 'list'\n[[trial]]\nname = 'A'\nparams = { lr = [1], x = nan, d = 2024-01-01, trial_x = 1 }\n"
    )
    assert [line.split(": ")[:2] for line in told(text, head=NO_TRIALS)] == [
        ["sweep.toml", "space.trial_x"],
        ["sweep.toml:11", "trial[1].params.d"],
        ["sweep.toml:11", "trial[1].params.lr"],
        ["sweep.toml:11", "trial[1].params.x"],
    ]


def test_inferring_leaves_other_sweeps_alone() -> None:
    assert infer_space({"space": {"x": 1}, "sampler": {"name": "list"}, "trial": [{"params": {"y": 1}}]}) == {"x": 1}
    assert infer_space({"sampler": {"name": "tpe"}, "trial": [{"params": {"y": 1}}]}) == {}
    assert infer_space({"sampler": 3, "trial": 3}) == {}
    assert infer_space({"sampler": {"name": "list"}, "trial": [3, {"params": 3}, {"params": {"y": 1}}]}) == {"y": 1}


# --- counts ---


def test_targets(load_one: LoadOne) -> None:
    grid = "[space]\nx = [1, 2, 3]\ny = [1, 2]\n[space.constraints]\nc = 'x != y'\n[sampler]\nname = 'grid'\n"
    assert target(load_one(grid, head=NO_TRIALS)) == 4
    assert target(load_one(grid)) == 5
    beyond = (
        grid + "[[trial]]\nname = 'A'\nparams = { x = 9, y = 1 }\n[[trial]]\nname = 'B'\nparams = { x = 2, y = 1 }\n"
    )
    assert target(load_one(beyond, head=NO_TRIALS)) == 5


def test_architecture(load_one: LoadOne) -> None:
    text = SPACE + "y = [1, 2]\nz = 5\n[space.constraints]\nc = 'x != y'\n[sampler]\ncoverage = ['y', 'z', 'x']\n"
    assert architecture_size(load_one(text)) == (("y", "x"), 4)
    assert architecture_size(load_one(SPACE)) is None


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", []),
        (
            "flag = { low = 0, high = 1 }",
            ["space.flag has the integers 0 and 1 only; for real numbers write 0.0 and 1.0"],
        ),
        ("kind = ['a', 1]", ["space.kind mixes types of values"]),
        ("[expect]\n'a b' = 'best > 1'\nc = { if = 'share(elites, x > 1) > 0.5', then = 'y' }", []),
        (
            "[job]\ntemplate = 'cpu'\nwalltime = '1'",
            ["job.walltime is 0:01:00, and SLURM may warn of the limit a minute"],
        ),
        # the lead is a quarter of the time at most: there is time for a trial
        ("[job]\ntemplate = 'cpu'\nwalltime = '2'", []),
        ("[job]\ntemplate = 'cpu'\nwalltime = '3'", []),
        ("[job]\nwalltime = '1'", []),
    ],
)
def test_warnings(load_one: LoadOne, text: str, parts: list[str]) -> None:
    told = warnings(load_one(SPACE + text + "\n"))
    assert len(told) == len(parts)
    assert all(part in one for part, one in zip(parts, told, strict=True))


def test_a_study_that_ends_before_its_target_is_a_warning(load_one: LoadOne) -> None:
    text = "[space]\nx = [1, 2, 3]\ny = { choices = [1, 2], when = 'x == 1' }\n"
    assert warnings(load_one(text)) == [
        "study.trials is 5, but there are only 4 configurations: the study will end there"
    ]
    assert warnings(load_one(text + "[[trial]]\nname = 'A'\nparams = { x = 9 }\n")) == []
    assert warnings(load_one(text, "study.trials=4")) == []


@pytest.mark.parametrize(
    ("job", "line"),
    [
        (
            "workers_per_gpu = 2\nnodes = 2",
            "13: job.workers_per_gpu: job.nodes gives several processes to each worker: remove",
        ),
        (
            "workers_per_gpu = 2\ntasks_per_node = 2",
            "13: job.workers_per_gpu: job.tasks_per_node gives several processes",
        ),
        ("mps = true", "13: job.mps: MPS is for workers that share a GPU, but each worker has its own"),
        ("srun = false\nnodes = 2", "13: job.srun: the processes requested by job.nodes can only be started with srun"),
        ("fuse = 4\nnodes = 2", "13: job.fuse: trials of several processes (nodes, tasks_per_node) cannot be trained"),
        ("fuse = 0", "13: job.fuse: "),
        ('fuse = "yes"', "13: job.fuse: "),
        ("workers_per_gpu = 0", "13: job.workers_per_gpu: must be greater than or equal to 1"),
    ],
)
def test_processes_on_gpus_and_nodes(told: Told, job: str, line: str) -> None:
    (found,) = told(f'{SPACE}[job]\ntemplate = "cpu"\n{job}\n')
    assert found.startswith(f"sweep.toml:{line}")


def test_fused_trials_have_one_seed(told: Told, load_one: LoadOne) -> None:
    (found,) = told(f"{SPACE}[job]\nfuse = 4\n", "study.replicates=2")
    assert "job.fuse: a trial with several seeds is trained seed after seed" in found
    assert load_one(f"{SPACE}[job]\nfuse = 1\n", "study.replicates=2").job.fused == 1
    assert load_one(f'{SPACE}[job]\nfuse = "auto"\n').job.fused == 16


def test_a_local_run_ignores_nodes_and_keeps_what_shares_a_gpu(load_one: LoadOne) -> None:
    shared = load_one(f'{SPACE}[job]\ntemplate = "a100"\nworkers_per_gpu = 2\nmps = true\n', "job.template=local").job
    assert (shared.workers_per_gpu, shared.mps) == (2, False)
    two_nodes = f'{SPACE}[job]\ntemplate = "a100"\nnodes = 2\ntasks_per_node = 4\n'
    assert load_one(two_nodes, "job.template=local").job.ranks == 1


KINDS = '[space]\n"model.kind" = ["tx", "rnn"]\nn = [1, 2]\nlr = { low = 0.0, high = 1.0 }\nfixed = "a"\n'


def test_a_condition_on_a_text_that_is_a_parameter(told: Told) -> None:
    (line,) = told(f'{KINDS}[space.child]\nchoices = [1, 2]\nwhen = "\\"model.kind\\" == \'tx\'"\n')
    assert "space.child.when: " in line
    assert "'model.kind' in quotes is a text; write model.kind without quotes for the parameter" in line


@pytest.mark.parametrize(
    ("when", "parents"),
    [
        ("model.kind == 'trnsformer'", "model.kind"),
        ("model.kind == 'tx' and n > 2", "model.kind, n"),
        ("n == '1'", "n"),
        ("model.kind == 'tx'", ""),
        ("lr > 2", ""),  # a range: some of its values were tried, not all
        ("fixed == 'b'", ""),  # decided by a fixed parent, as in one of several budgets
    ],
)
def test_a_condition_that_never_holds(load_one: LoadOne, when: str, parents: str) -> None:
    found = warnings(load_one(f'{KINDS}[space.child]\nchoices = [1, 2]\nwhen = "{when}"\n'))
    never = [line for line in found if "is never drawn" in line]
    assert never == ([f"space.child is never drawn: '{when}' is false for every value of {parents}"] if parents else [])


@pytest.mark.parametrize(
    "table", ["[space.derived]\nd = '1 + 1'", "[space.constraints]\nc = '1 < 2'", "[metrics]\nm = '3'"]
)
def test_what_names_nothing_is_a_mistake(told: Told, table: str) -> None:
    (line,) = told(f"{KINDS}{table}\n")
    assert "it contains no names" in line


@pytest.mark.parametrize("formula", ["loss - n", "loss - d", "loss - fixed"])
def test_metrics_are_computed_from_metrics(told: Told, formula: str) -> None:
    """What is a parameter would be missing in each trial, and the computed metric with it."""
    (line,) = told(f"{KINDS}[space.derived]\nd = 'n * 2'\n[metrics]\ngap = '{formula}'\n")
    name = formula.rpartition(" ")[2]
    assert f"metrics.gap: '{name}' is a parameter, and metrics are computed from metrics" in line
