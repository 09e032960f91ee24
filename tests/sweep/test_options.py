"""Options are known by name without Optuna: these are Optuna's, and a mistake is told with its line."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import optuna
import pytest

from hpo_batch.study.pruners_of_optuna import FACTORIES, Hyperband
from hpo_batch.study.samplers.cma import Cma
from hpo_batch.sweep.options import ELSEWHERE, PATIENT, PRUNER_OPTIONS
from hpo_batch.sweep.samplers import SAMPLERS
from hpo_batch.sweep.schema import PRUNERS
from tests.sweep.conftest import HEAD, SPACE, Told

SAMPLER_OPTIONS = {name: capabilities.options or {} for name, capabilities in SAMPLERS.items()}
CLASSES: dict[str, Any] = {
    "tpe": optuna.samplers.TPESampler,
    "gp": optuna.samplers.GPSampler,
    "nsga2": optuna.samplers.NSGAIISampler,
    "qmc": optuna.samplers.QMCSampler,
    "random": optuna.samplers.RandomSampler,
    "cmaes": Cma,
    "median": optuna.pruners.MedianPruner,
    "percentile": optuna.pruners.PercentilePruner,
    "asha": optuna.pruners.SuccessiveHalvingPruner,
    "hyperband": Hyperband,
    "threshold": optuna.pruners.ThresholdPruner,
    "wilcoxon": optuna.pruners.WilcoxonPruner,
    "patient": optuna.pruners.PatientPruner,
}

NEEDED: dict[str, dict[str, Any]] = {
    "percentile": {"percentile": 50.0},
    "patient": {"patience": 1, "wrapped_pruner": None},
    "threshold": {"lower": 0.0},
    "hyperband": {"min_resource": 3},
    "asha": {"min_resource": 3},
    "cmaes": {"parameters": (), "seed": 1, "startup": 1},
}
"""what the classes cannot be made without"""


@pytest.mark.parametrize("name", CLASSES)
def test_options_are_those_of_the_class_and_cost_no_warning(name: str) -> None:
    known = {**SAMPLER_OPTIONS, **PRUNER_OPTIONS}[name]
    parameters = inspect.signature(CLASSES[name]).parameters
    assert set(known) <= set(parameters)
    values: dict[str, Any] = {"qmc_type": "halton", "max_resource": "auto"}
    for option, kind in known.items():
        value = next(v for v in (values.get(option), True, 3, 0.5) if v is not None and kind.fits(v))
        needed = dict(NEEDED.get(name, {}))
        if option == "group":
            needed["multivariate"] = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            CLASSES[name](**{**needed, option: value})


def test_every_name_has_options_and_a_factory() -> None:
    assert all(capabilities.options is not None for capabilities in SAMPLERS.values())
    assert set(PRUNER_OPTIONS) == set(PRUNERS) == {"none", "patient", *FACTORIES}
    assert not set(PATIENT) & {option for name in FACTORIES for option in PRUNER_OPTIONS[name]}
    assert not set(ELSEWHERE) & {option for known in SAMPLER_OPTIONS.values() for option in known}


SAMPLER = "[sampler]\nname = '{}'\noptions = {{ {} }}\n"
PRUNER = "[pruner]\nname = '{}'\noptions = {{ {} }}\n"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (SAMPLER.format("tpe", "n_ei_candidate = 3"),
         "14: sampler.options.n_ei_candidate: sampler 'tpe' has no option 'n_ei_candidate'"),
        (SAMPLER.format("tpe", "seed = 3"), "14: sampler.options.seed: write [sampler] seed instead"),
        (SAMPLER.format("gp", "n_startup_trials = 3"),
         "14: sampler.options.n_startup_trials: write [sampler] startup_trials instead"),
        (SAMPLER.format("random", "x = 3"),
         "14: sampler.options.x: sampler 'random' has no option 'x' (allowed: none)"),
        (SAMPLER.format("qmc", "qmc_type = 'lattice'"),
         "14: sampler.options.qmc_type: must be \"sobol\" or \"halton\", not 'lattice'"),
        (SAMPLER.format("nsga2", "population_size = 1"),
         "14: sampler.options.population_size: must be an integer >= 2, not 1"),
        (SAMPLER.format("cmaes", "sigma0 = 0"), "14: sampler.options.sigma0: must be a number above 0, not 0"),
        (SAMPLER.format("tpe", "n_ei_candidates = true"),
         "14: sampler.options.n_ei_candidates: must be an integer >= 1, not true"),
        (PRUNER.format("median", "n_startup = 3"),
         "14: pruner.options.n_startup: pruner 'median' has no option 'n_startup'; did you mean 'n_startup_trials'"),
        (PRUNER.format("percentile", "percentile = 200"),
         "14: pruner.options.percentile: must be a number from 0 to 100, not 200"),
        (PRUNER.format("hyperband", "max_resource = 'x'"),
         "14: pruner.options.max_resource: must be an integer >= 1 or \"auto\", not 'x'"),
        (PRUNER.format("threshold", ""), "14: pruner.options: pruner \"threshold\" needs options = { lower = ... }"),
        (PRUNER.format("threshold", "lower = 2, upper = 1"), "14: pruner.options.lower: lower (2) is above upper (1)"),
        (PRUNER.format("patient", "n_startup_trials = 2"),
         "14: pruner.options.n_startup_trials: pruner 'patient' has no option 'n_startup_trials'"),
        ("[pruner]\nname = 'median'\naround = 'asha'\n",
         "14: pruner.around: has no effect with pruner 'median'; only \"patient\" waits before another pruner decides"),
        ("[pruner]\nname = 'patient'\naround = 'patient'\n", "14: pruner.around: 'patient' is not allowed"),
        ("[sampler]\nname = 'optuna.samplers:CmaEsSampler'\n",
         "13: sampler.name: Optuna's CmaEsSampler pickles its state into the trials, and hpo-batch never unpickles"),
        ("[sampler]\nname = 'optuna.samplers:GridSampler'\n",
         "13: sampler.name: Optuna's GridSampler numbers its cells by itself; use name = \"grid\""),
        ("[sampler]\nname = 'qmc'\ncoverage = ['k']\ncoverage_share = 0.5\n",
         "15: sampler.coverage_share: has no effect with sampler 'qmc', whose sequence covers the space already"),
    ],
)  # fmt: skip
def test_mistakes_are_told_with_their_lines(told: Told, text: str, line: str) -> None:
    (found,) = told(f"{SPACE}k = [1, 2]\n{text}")
    assert found.startswith(f"sweep.toml:{line}"), found


def test_cmaes_wants_a_single_metric(told: Told) -> None:
    head = HEAD.replace('"loss"', '["a", "b"]').replace('"minimize"', '["minimize", "maximize"]')
    (found,) = told(f"{SPACE}[sampler]\nname = 'cmaes'\n", head=head)
    assert "takes a single metric; for several use nsga2, tpe or gp" in found


def test_a_package_that_is_missing_is_told(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    (found,) = told(f"{SPACE}[sampler]\nname = 'cmaes'\n")
    assert "needs the package cmaes, which is not installed here: pip install 'hpo-batch[cmaes]'" in found
