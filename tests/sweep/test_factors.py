"""What varies between sweeps is what a training sees, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.sweep.factors import Factor, factor_text, factors, settings_differ, travelling
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep

HEAD = '[study]\nname = "{name}"\nmetric = "loss"\ndirection = "minimize"\ntrials = 5\n'
FUNCTION = '[objective]\nfunction = "tests.cli.toys:quadratic"\n'


def sweep(space: str, *, objective: str = FUNCTION, name: str = "toy") -> Sweep:
    (found,) = loads(f"{HEAD.format(name=name)}{objective}[space]\n{space}", path=Path("toy.toml"))
    return found


def found(*sweeps: Sweep) -> dict[str, tuple[object, ...]]:
    return {factor.name: factor.values for factor in factors(sweeps)}


def test_fixed_parameters_that_differ_are_factors_and_searched_ones_are_not() -> None:
    a = sweep("epochs = 10\nwidth = [8, 16]\ndata = 'x'\n")
    b = sweep("epochs = 50\nwidth = [32, 64]\ndata = 'x'\n", name="large")
    assert found(a, b) == {"epochs": (10, 50)}
    assert travelling((a, b)) == ("width",)


def test_a_parameter_that_any_of_them_searches_goes_with_the_configuration() -> None:
    a, b = sweep("epochs = 10\nwidth = 8\nlr = [1, 2]\n"), sweep("epochs = 10\nwidth = [8, 16]\nlr = [1, 2]\n")
    assert found(a, b) == {}
    assert travelling((a, b)) == ("lr", "width")


def test_a_value_that_one_of_them_does_not_set_differs() -> None:
    assert found(sweep("lr = [1, 2]\nepochs = 10\n"), sweep("lr = [1, 2]\n")) == {"epochs": (10, None)}


def test_numbers_count_by_value_and_other_types_do_not_mix() -> None:
    assert found(sweep("lr = [1, 2]\nepochs = 10\n"), sweep("lr = [1, 2]\nepochs = 10.0\n")) == {}
    assert found(sweep("lr = [1, 2]\nflag = 1\n"), sweep("lr = [1, 2]\nflag = true\n")) == {"flag": (1, True)}


def test_names_jobs_constraints_and_counts_of_parameters_change_no_training() -> None:
    a = sweep("lr = [1, 2]\n[space.constraints]\nlow = 'lr < 2'\n[job]\ntemplate = 'local'\nworkers = 3\n")
    b = sweep("lr = [1, 2]\n", objective=f'{FUNCTION}n_params = "tests.cli.toys:count"\n', name="other")
    assert found(a, b) == {}


def test_derived_parameters_differ_by_their_expressions() -> None:
    a, b = (sweep(f"lr = [1, 2]\n[space.derived]\nfast = 'lr * {n}'\n") for n in (2, 3))
    assert found(a, b) == {"fast": ("lr * 2", "lr * 3")}


@pytest.mark.parametrize(
    ("a", "b", "words"),
    [
        ("python t.py --epochs 10 {args}", "python t.py --epochs 50 {args}", ("--epochs 10", "--epochs 50")),
        ("python t.py {args}", "python t.py {args} --long", ("", "--long")),
        ("python  t.py   {args}", "python t.py {args}", None),
        ("python t.py --token abc {args}", "python t.py --token def {args}", None),
    ],
)
def test_commands_differ_by_their_words(a: str, b: str, words: tuple[str, str] | None) -> None:
    sweeps = [sweep("lr = [1, 2]\n", objective=f'[objective]\ncommand = "{text}"\n') for text in (a, b)]
    assert found(*sweeps) == ({} if words is None else {"[objective] command": words})
    assert settings_differ(*sweeps) == (words is not None)


def test_variables_differ_but_keys_of_services_do_not_count() -> None:
    sweeps = [
        sweep("lr = [1, 2]\n", objective=f'{FUNCTION}env = {{ DATA = "{data}", WANDB_API_KEY = "{key}" }}\n')
        for data, key in (("small", "k1"), ("large", "k2"))
    ]
    assert found(*sweeps) == {"[objective] env.DATA": ("small", "large")}


def test_a_factor_is_read_with_its_values() -> None:
    factor = Factor(name="epochs", values=(10, None))
    assert factor_text(factor.name, dict(zip(("2M", "20M"), factor.values, strict=True))) == (
        "epochs (2M: 10, 20M: not set)"
    )
