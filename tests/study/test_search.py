"""The whole search: whatever the sampler, nothing is trained twice, nothing invalid, and shares are kept."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hpo_batch.records import Claim, Complete, Configuration, Failed, IdleWhy, Outcome, Pruned, Reason
from hpo_batch.space.cells import expected_distinct, projected_cells, size, valid_cells
from hpo_batch.space.space import Space
from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.create import create
from hpo_batch.study.quota import shares
from hpo_batch.study.study import Study
from hpo_batch.sweep.load import load
from hpo_batch.sweep.samplers import SAMPLERS
from tests.processes import in_processes
from tests.space.spaces import Drawn, drawn_spaces

from .helpers import Text, claimed, complete, make, owner, plain, revise, state_of, sweep_of, work

DRAWING = [name for name in SAMPLERS if name != "list"]
MIXED = """
x = { low = 0.0, high = 1.0 }
rate = { low = 1e-5, high = 1e-1, log = true }
n = { low = 1, high = 64, log = true }
wide = { low = 8, high = 64, step = 8 }
kind = ["a", "b", "c"]
extra = { low = 0.0, high = 1.0, when = "kind == 'a'" }
[space.constraints]
small = "n * wide <= 1024"
"""
CELLS = """
a = [1, 2, 3]
b = [1, 2, 3, 4]
c = ["x", "y", "z"]
d = [true, false]
"""


def sum_of_numbers(claim: Claim) -> Complete:
    return complete(claim, sum(float(v) for v in claim.configuration.values.values() if not isinstance(v, str)))


def is_active_only(space: Space, configuration: Configuration) -> bool:
    again = space.resolve({**configuration.fixed, **configuration.searched}, strict=True)
    return again.key == configuration.key and space.why_invalid(configuration) is None


@pytest.mark.parametrize("name", [n for n in DRAWING if n != "grid"])
def test_every_sampler_proposes_what_is_valid_and_new(root: Path, name: str) -> None:
    home = make(root, study="trials = 24", space=MIXED, sampler=f'name = "{name}"\nstartup_trials = 4')
    claims: list[Claim] = []

    def note(claim: Claim) -> Complete:
        claims.append(claim)
        return sum_of_numbers(claim)

    done, idle = work(home, judge=note)
    assert (len(done), idle and idle.why) == (24, IdleWhy.TARGET_MET)
    with Study.open(home, owner()) as study:
        assert all(is_active_only(study.sweep.space, claim.configuration) for claim in claims)
    assert len({claim.configuration.key for claim in claims}) == 24
    assert {claim.origin for claim in claims} == {name}
    assert len(plain(home).trials) == 24  # plain Optuna reads what the sampler noted


@pytest.mark.parametrize("name", [n for n in DRAWING if n != "gp"])  # half a minute
def test_a_space_is_used_up_in_the_end_and_each_cell_is_tried_once(root: Path, name: str) -> None:
    home = make(
        root, study="trials = 99", space=CELLS + '[space.constraints]\nc = "a <= b"', sampler=f'name = "{name}"'
    )

    def fail_some(claim: Claim) -> Outcome:
        if claim.number % 7 == 3:
            return Failed(reason=Reason.NAN, message="nan")
        return Pruned(step=1, metrics={"loss": 1.0}) if claim.number % 7 == 5 else sum_of_numbers(claim)

    text = {"study": "trials = 99\nmax_failed = 99", "tables": {"failures": "stop_after = 99"}}
    revise(home, space=CELLS + '[space.constraints]\nc = "a <= b"', sampler=f'name = "{name}"', **text)
    done, idle = work(home, judge=fail_some)
    assert idle is not None
    assert idle.why is IdleWhy.SPACE_USED_UP
    state = state_of(home)
    assert len(done) == len({t.key for t in state.trials}) == size(sweep_space(home)).valid == 54


def sweep_space(home: StudyHome) -> Space:
    with Study.open(home, owner()) as study:
        return study.sweep.space


@given(drawn=drawn_spaces(), name=st.sampled_from([n for n in DRAWING if n != "gp"]), seed=st.integers(0, 99))
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_proposals_of_random_spaces(
    tmp_path_factory: pytest.TempPathFactory, drawn: Drawn, name: str, seed: int
) -> None:
    """Conditions, constraints and derived values as hypothesis thinks of them, judged by its own reading of them."""
    configurations = {cell.key for cell in valid_cells(drawn.space)}
    if not configurations or not drawn.space.searched:
        return
    root = tmp_path_factory.mktemp("space")
    toml = as_toml(drawn.raw)
    home = make(root, study="trials = 12", space=toml, sampler=f'name = "{name}"\nseed = {seed}\nstartup_trials = 2')
    claims: list[Claim] = []

    def note(claim: Claim) -> Complete:
        claims.append(claim)
        return complete(claim)

    work(home, judge=note)
    keys = [claim.configuration.key for claim in claims]
    assert len(set(keys)) == len(keys) == min(12, len(configurations))
    assert set(keys) <= configurations


def as_toml(raw: dict[str, Any]) -> str:
    def value(v: Any) -> str:
        if isinstance(v, dict):
            return "{ " + ", ".join(f"{json.dumps(k)} = {value(w)}" for k, w in v.items()) + " }"
        return "[" + ", ".join(map(value, v)) + "]" if isinstance(v, list) else json.dumps(v)

    return "".join(f"{json.dumps(k)} = {value(v)}\n" for k, v in raw.items())


def test_the_sequence_of_qmc_has_no_gaps_and_no_repeats_over_all_workers(root: Path) -> None:
    text = {
        "space": "x = { low = 0.0, high = 1.0 }\ny = { low = 0.0, high = 1.0 }",
        "sampler": 'name = "qmc"\nseed = 7',
    }
    home = make(root, study="trials = 64", **text)
    in_processes([(work, home, i) for i in range(4)])
    trials = state_of(home).trials
    assert sorted(t.facts["index"] for t in trials) == list(range(64))
    # what it is for: each 8 x 8 part of the square has one of the first 64 points
    assert len({(int(float(t.params["x"]) * 8), int(float(t.params["y"]) * 8)) for t in trials}) == 64
    first = {t.facts["index"]: t.params["x"] for t in trials}
    again = make(root / "again", study="trials = 16", **text)
    work(again)
    assert [t.params["x"] for t in state_of(again).trials] == [first[i] for i in range(16)]


def test_qmc_goes_on_where_it_was_and_skips_what_is_invalid_or_known(root: Path) -> None:
    space = "x = { low = 0.0, high = 1.0 }\nk = [1, 2, 3]\n[space.constraints]\nc = 'x < 0.5 or k == 2'"
    text = {"space": space, "sampler": 'name = "qmc"\nextremes = ["x"]'}
    home = make(root, study="trials = 10", **text)
    work(home)
    revise(home, study="trials = 20", **text)
    work(home, 1)
    drawn = [t for t in state_of(home).trials if t.facts["origin"] == "qmc"]
    indices = [t.facts["index"] for t in drawn]
    assert indices == sorted(set(indices))
    assert 18 <= len(indices) <= max(indices) < 60


def test_a_grid_of_72_cells_over_8_workers(root: Path) -> None:
    home = make(root, study="", space=CELLS, sampler='name = "grid"')
    results = in_processes([(work, home, i) for i in range(8)])
    assert sum(len(done) for done, _ in results) == 72
    assert len({t.key for t in state_of(home).trials}) == 72


@pytest.mark.parametrize("workers", [1, 8])
def test_a_part_of_a_grid_has_every_level_evenly(root: Path, workers: int) -> None:
    home = make(root, study="trials = 25", space=CELLS, sampler='name = "grid"')
    if workers == 1:
        work(home)
    else:
        in_processes([(work, home, i) for i in range(workers)])
    trials = state_of(home).trials
    assert len({t.key for t in trials}) == 25
    for name, levels in (("a", 3), ("b", 4), ("c", 3), ("d", 2)):
        counts = Counter(repr(t.params[name]) for t in trials)
        assert len(counts) == levels
        assert max(counts.values()) - min(counts.values()) <= 2
    if workers == 1:
        for part in (4, 8, 12):
            assert len({t.params["b"] for t in trials[:part]}) == 4


DOCUMENTS = [("2M", 36.7), ("20M", 31.8), ("200M", 28.7)]


@pytest.mark.parametrize(("budget", "at_random"), DOCUMENTS)
def test_the_spaces_of_documents_001_and_002(root: Path, budget: str, at_random: float) -> None:
    """They had 9, 16 and 18 repeats in 50 trials, and 26, 20 and 17 architectures."""
    path = Path(__file__).parents[2] / "configs" / "patchtst-budgets.toml"
    sweep = next(s for s in load(path) if s.budget == budget)
    names = sweep.sampler.coverage
    attainable = sum(1 for _ in projected_cells(sweep.space, names))
    assert expected_distinct(50, attainable) == pytest.approx(at_random, abs=0.06)

    def one_corner(claim: Claim) -> Complete:
        v = claim.configuration.values
        return complete(claim, float(v["d_model"] / 100 + v["n_layers"] / 6 + v["n_heads"] / 9 + v["dropout"]))

    for judged in (one_corner, complete, lambda claim: complete(claim, 0.5)):
        home = home_of(root / str(id(judged)), "s")
        home.path.parent.mkdir(parents=True)
        one = replace(sweep, budget=None)
        create(home, one, toml="", now=0.0)
        done, _ = work(home, judge=judged)
        trials = state_of(home).trials
        assert len(done) == len({t.key for t in trials}) == 50
        architectures = {tuple(t.params[name] for name in names) for t in trials}
        assert len(architectures) >= at_random


@pytest.mark.parametrize("minor_is_better", [True, False])
def test_weights_are_kept_in_every_block_under_tpe(root: Path, minor_is_better: bool) -> None:
    space = """
kind = { choices = ["cnn", "context", "never"], weights = [3, 1, 0] }
depth = { low = 1, high = 20, when = "kind == 'cnn'" }
width = { low = 0.0, high = 1.0, when = "kind == 'context'" }
x = { low = 0.0, high = 1.0 }
"""
    home = make(root, study="trials = 100", space=space, sampler='name = "tpe"\nseed = 3')

    def score(claim: Claim) -> Complete:
        v = claim.configuration.values
        own = abs(float(v.get("depth", 5)) - 5) / 20 + abs(float(v.get("width", 0.25)) - 0.25)
        worse = (v["kind"] == "context") != minor_is_better
        return complete(claim, own + abs(float(v["x"]) - 0.5) + 10 * worse)

    work(home, judge=score)
    trials = state_of(home).trials
    kinds = [t.params["kind"] for t in trials]
    assert abs(kinds.count("context") - 25) <= 2
    assert "never" not in kinds
    assert all(4 <= kinds[i : i + 20].count("context") <= 6 for i in range(0, 100, 20))
    late = [t.params for t in trials[60:]]
    depths = [abs(int(p["depth"]) - 5) for p in late if "depth" in p]
    widths = [abs(float(p["width"]) - 0.25) for p in late if "width" in p]
    assert len(depths) + len(widths) == 40
    assert sorted(depths)[len(depths) // 2] <= 3  # each arm has learnt its own parameters
    assert sorted(widths)[len(widths) // 2] < 0.22  # at random it would be 0.25, and more for depths
    told = {share.value: (share.planned, share.count) for share in shares(sweep_space(home), trials)}
    assert told == {"cnn": (0.75, kinds.count("cnn")), "context": (0.25, kinds.count("context")), "never": (0.0, 0)}


def test_coverage_goes_to_untried_cells_for_its_share_and_is_stored_as_what_it_is(root: Path) -> None:
    space = "a = [1, 2, 3, 4, 5]\nb = [1, 2, 3, 4, 5]\nx = { low = 0.0, high = 1.0 }"
    home = make(root, study="trials = 40", space=space,
                sampler='name = "tpe"\ncoverage = ["a", "b"]\ncoverage_share = 0.5')  # fmt: skip
    work(home, judge=sum_of_numbers)
    trials = state_of(home).trials
    covering = [t for t in trials if t.facts["origin"] == "coverage"]
    assert 19 <= len(covering) <= 20
    met: set[tuple[Any, ...]] = set()
    for trial in trials:
        cell = (trial.params["a"], trial.params["b"])
        assert trial not in covering or cell not in met
        met.add(cell)


def test_nsga2_goes_on_from_generation_to_generation_and_learns_from_planned_trials(root: Path) -> None:
    home = make(root, study="trials = 60", space="x = { low = 0.0, high = 1.0 }\ny = { low = 0.0, high = 1.0 }",
                metric='metric = ["loss", "size"]\ndirection = ["minimize", "minimize"]',
                sampler='name = "nsga2"\nextremes = ["x"]\noptions = { population_size = 10 }')  # fmt: skip

    def two(claim: Claim) -> Complete:
        v = claim.configuration.values
        pair = (float(v["x"]) + float(v["y"]), 1 - float(v["x"]) + float(v["y"]))
        return Complete(values=pair, metrics=dict(zip(("loss", "size"), pair, strict=True)))

    work(home, judge=two)
    work(home, 1, judge=two)
    trials = state_of(home).trials
    generations = [t.facts["sampler"]["NSGAIISampler:generation"] for t in trials if t.facts["origin"] == "nsga2"]
    assert generations == sorted(generations)
    assert max(generations) >= 4
    ys = [float(t.params["y"]) for t in trials]
    assert sum(ys[-20:]) < 0.8 * sum(ys[2:22])
    assert len(plain(home).best_trials) >= 5


def test_cmaes_is_rebuilt_from_the_trials_and_nothing_of_it_is_pickled(root: Path) -> None:
    space = "x = { low = -1.0, high = 1.0 }\ny = { low = -1.0, high = 1.0 }\nn = { low = 1, high = 50 }\nk = [1, 2]"
    home = make(root, study="trials = 120", space=space, sampler='name = "cmaes"\nseed = 2')

    def bowl(claim: Claim) -> Complete:
        v = claim.configuration.values
        return complete(
            claim, (float(v["x"]) - 0.4) ** 2 + (float(v["y"]) + 0.3) ** 2 + ((float(v["n"]) - 40) / 50) ** 2
        )

    for start in range(0, 120, 30):  # each time another worker, which knows only what lies in the journal
        work(home, start, judge=bowl, most=30)
    trials = state_of(home).trials
    noted = [t.facts["sampler"] for t in trials if "sampler" in t.facts]
    assert {name for one in noted for name in one} == {"cmaes:generation", "cmaes:drawn_at"}
    generations = [one["cmaes:generation"] for one in noted]
    assert generations == sorted(generations)
    assert max(generations) > 8
    late = [t.values[0] for t in trials[-20:] if t.values]
    early = [t.values[0] for t in trials[:20] if t.values]
    assert max(late) < min(0.05, sorted(early)[5])


def test_a_pickle_in_a_journal_reaches_no_sampler(root: Path) -> None:
    home = make(root, study="trials = 9", space="x = { low = 0.0, high = 1.0 }", sampler='name = "nsga2"')
    from hpo_batch.study.history import SamplerHistory

    with Study.open(home, owner()) as study:
        claimed(study)
        (trial,) = study.journal.state.trials
        trial.facts["sampler"] = {"cma:optimizer:0": "80049507", "mine": 1}
        shown = SamplerHistory(study.sweep.space)._frozen(trial)
    assert shown is not None
    assert shown.system_attrs == {"mine": 1}


def test_a_sampler_of_ones_own(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its options are handed over, its attributes come back to it, and it hears of the end of trials."""
    sampler = 'name = "tests.study.toy_sampler:Counting"\noptions = { start = 5 }'
    home = make(root, study="trials = 6", space="x = { low = 0, high = 1000 }", sampler=sampler)
    work(home)
    trials = state_of(home).trials
    assert [t.params["x"] for t in trials] == [5, 6, 7, 8, 9, 10]
    assert [t.facts["origin"] for t in trials] == ["Counting"] * 6
    assert [t.facts["sampler"] for t in trials] == [{"count": n} for n in range(5, 11)]
    assert [t.noted_by_sampler for t in trials] == [{"heard": "COMPLETE"}] * 6


def test_workers_draw_with_seeds_of_their_own(root: Path) -> None:
    home = make(root, study="trials = 9", space="x = { low = 0.0, high = 1.0 }", sampler='name = "random"\nseed = 4')
    drawn = set()
    for index in range(4):
        with Study.open(home, owner(index)) as study:
            drawn.add(study.claims.draw(again=False).candidates[()][0].configuration.key)
    assert len(drawn) == 4


def test_the_third_sweep_of_document_003(root: Path) -> None:
    """No inactive parameter is stored; a fixed parent keeps its child; parents may come after children."""
    path = Path(__file__).parents[2] / "configs" / "visual-classifier-v3.toml"
    (sweep,) = load(path)
    (fixed,) = load(path, overrides=["space.use_cosine=true"])
    for one, always in ((sweep, False), (fixed, True)):
        table = dict(one.space_table)
        table["temperature"] = table.pop("temperature")
        child = {"temperature": table.pop("temperature")}
        home = make(root / str(always), study="trials = 40", space=as_toml({**child, **table}),
                    sampler='name = "tpe"\nstartup_trials = 5')  # fmt: skip
        work(home)
        for trial in state_of(home).trials:
            assert ("temperature" in trial.params) == bool(trial.params["use_cosine"])
            is_cnn = trial.params["encoder_type"] == "cnn"
            assert ("depth" in trial.params) == is_cnn == ("ctx_d_model" not in trial.params)
        assert (sum("temperature" in t.params for t in state_of(home).trials) == 40) == always


def test_a_budget_can_be_a_bound(root: Path) -> None:
    space = "d = [32, 48, 64, 96]\nl = { low = 1, high = 8 }\n[space.derived]\nff = 'd * 4'\n[space.constraints]\n" \
            "size = '1e5 <= n_params <= 3e5'\nff_small = 'ff <= 256'"  # fmt: skip
    objective = 'function = "never:called"\nn_params = "never:counted"'

    def count(values: Any) -> int:
        return int(12 * values["d"] ** 2 * values["l"])

    for name in DRAWING:
        home = make(root / name, study="trials = 12", space=space, objective=objective,
                    sampler=f'name = "{name}"\nextremes = ["l"]')  # fmt: skip
        with Study.open(home, owner(), n_params=count) as study:
            while isinstance(given := study.claim(), tuple):
                study.tell(given[0], complete(given[0]))
        sizes = [count(t.params) for t in state_of(home).trials]
        assert sizes
        assert all(1e5 <= n <= 3e5 for n in sizes)
        assert all(int(t.params["d"]) <= 64 for t in state_of(home).trials)


def test_levels_of_a_large_grid_appear_early(root: Path) -> None:
    text = Text(study="trials = 12", space="".join(f"p{i} = [{', '.join(map(str, range(12)))}]\n" for i in range(3)),
                sampler='name = "grid"')  # fmt: skip
    sweep = sweep_of(root, text)
    from hpo_batch.sweep.size import grid_cells, left_out

    first = list(itertools.islice(grid_cells(sweep, sweep.space), 12))
    for name in ("p0", "p1", "p2"):
        assert len({cell.searched[name] for cell in first}) == 12
    out = left_out(sweep)
    assert out is not None
    assert (out.cells, out.run, out.levels) == (1728, 12, ())
