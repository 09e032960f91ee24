"""What is proposed for an option, by its name, type and default."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.init.propose import MOST_SEARCHED, Proposal, propose
from hpo_batch.init.sweep_text import study_name
from hpo_batch.sweep.rules.fill_in import FILL_IN


def proposal(*options: Option, **script: Any) -> Proposal:
    return propose(Script(path=Path("train.py"), text="", options=options, **script), python="python")


def of(option: Option) -> Any:
    """The proposed value of one option; None if it is left out."""
    found = list(proposal(option).parameters.values())
    return found[0].value if found else None


def real(flag: str, default: float | None = None, **more: Any) -> Option:
    return Option(flag=flag, kind=Kind.REAL, default=default, **more)


def integer(flag: str, default: int | None = None, **more: Any) -> Option:
    return Option(flag=flag, kind=Kind.INTEGER, default=default, **more)


@pytest.mark.parametrize(
    ("option", "value"),
    [
        (real("--lr", 3e-4), {"low": 3e-5, "high": 3e-3, "log": True}),
        (real("--model.learning_rate", 0.1), {"low": 0.01, "high": 1.0, "log": True}),
        (real("--learningRate", 0.1), {"low": 0.01, "high": 1.0, "log": True}),
        (real("--lr", None), {"low": 1e-5, "high": 1e-1, "log": True}),
        (Option(flag="--lr", is_required=True), {"low": 1e-5, "high": 1e-1, "log": True}),
        (real("--lr-decay-step", None), None),
        (real("--weight-decay", 0.0), {"low": 1e-6, "high": 1e-2, "log": True}),
        (real("--wd", None), {"low": 1e-6, "high": 1e-2, "log": True}),
        (real("--dropout", 0.1), {"low": 0.0, "high": 0.5}),
        (real("--momentum", 0.9), {"low": 0.8, "high": 0.99}),
        (real("--gamma", 0.7), {"low": 0.35, "high": 1.0}),
        (real("--temperature", 10.0), {"low": 5.0, "high": 20.0}),
        (real("--jitter", 1e-3), {"low": 1e-4, "high": 1e-2, "log": True}),
        (real("--clip", None), None),
        (real("--margin", -1.0), None),
        (real("--eps", 1e-8), None),
        (integer("--batch-size", 64), [32, 64, 128]),
        (integer("--per_device_train_batch_size", 8), [4, 8, 16]),
        (integer("--per_device_eval_batch_size", 8), None),
        (integer("--batch-size", 100), [50, 100, 200]),
        (integer("--hidden-dim", 300), [150, 300, 600]),
        (integer("--n_heads", 1), {"low": 1, "high": 2}),
        (integer("--num-layers", 3), {"low": 1, "high": 6}),
        (integer("--epochs", 10), None),
        (integer("--num-workers", 4), None),
        (integer("--log-interval", 10), None),
        (integer("--hidden", 0), None),
        (integer("--hidden", None), None),
        (integer("--trainer.accumulate_grad_batches", 2), None),
        (Option(flag="--optimizer", choices=("sgd", "adam"), kind=Kind.TEXT), ["sgd", "adam"]),
        (Option(flag="--depth", choices=(18, 50), kind=Kind.INTEGER, default=18), [18, 50]),
        (Option(flag="--one", choices=("a",), kind=Kind.TEXT), None),
        (Option(flag="--optim", choices=tuple("abcdefghijkl"), kind=Kind.TEXT), None),
        (Option(flag="--device", choices=("cpu", "cuda"), kind=Kind.TEXT), None),
        (Option(flag="--nesterov", kind=Kind.BOOLEAN, is_flag=True, default=False), [True, False]),
        (Option(flag="--use-norm", kind=Kind.BOOLEAN), ["true", "false"]),
        (Option(flag="--verbose", kind=Kind.BOOLEAN, is_flag=True), None),
        (Option(flag="--no-cuda", kind=Kind.BOOLEAN, is_flag=True), None),
        (Option(flag="--sizes", kind=Kind.LIST), None),
        (Option(flag="--data-dir", kind=Kind.TEXT, default="data"), None),
        (Option(flag="--scale", kind=Kind.TEXT, default=0.5), None),
        (Option(flag="--title", kind=Kind.TEXT, default="mine"), None),
        (Option(flag="--derived", kind=Kind.REAL, default=0.5), None),
        (Option(flag="--trial_count", kind=Kind.INTEGER, default=8), None),
    ],
    ids=lambda value: value.flag if isinstance(value, Option) else "",
)
def test_the_values_of_an_option(option: Option, value: Any) -> None:
    assert of(option) == value


def test_a_flag_that_is_on_is_searched_by_the_one_that_switches_it_off() -> None:
    on = proposal(Option(flag="--norm", off="--no-norm", kind=Kind.BOOLEAN, is_flag=True, default=True))
    assert [(name, one.value) for name, one in on.parameters.items()] == [("no_norm", [True, False])]
    off = proposal(Option(flag="--norm", off="--no-norm", kind=Kind.BOOLEAN, is_flag=True, default=False))
    assert list(off.parameters) == ["norm"]


@pytest.mark.parametrize(
    ("flags", "placeholder", "names"),
    [
        (("--batch-size", "--lr"), "{hyphen_args}", ["batch_size", "lr"]),
        (("--batch_size", "--lr"), "{args}", ["batch_size", "lr"]),
        (("--batch-size", "--hidden_dim"), "{args}", ["batch-size", "hidden_dim"]),
        (("--model.hidden-dim", "--lr"), "{hyphen_args}", ["model.hidden_dim", "lr"]),
        (("-bs", "--hidden_dim"), "-bs {bs} --hidden_dim {hidden_dim}", ["bs", "hidden_dim"]),
    ],
)
def test_flags_are_spelled_as_the_script_does(flags: tuple[str, ...], placeholder: str, names: list[str]) -> None:
    options = [real(flag, 0.1) if flag == "--lr" else integer(flag, 64) for flag in flags]
    made = proposal(*options)
    assert made.command == f"python train.py {placeholder}"
    assert list(made.parameters) == names


def test_seeds_and_folders_are_those_of_the_trial() -> None:
    made = proposal(
        integer("--seed", 0),
        Option(flag="--output-dir", kind=Kind.PATH, is_required=True),
        Option(flag="--ckpt_dir", kind=Kind.TEXT),
        Option(flag="--out", kind=Kind.TEXT, default="result.csv"),
        real("--lr", 0.1),
    )
    wanted = "--seed {trial_seed} --output-dir {trial_dir} --ckpt_dir {checkpoint_dir} {args}"
    assert made.command == f"python train.py {wanted}"
    assert ("--out", "") in made.left


def test_what_must_be_given_and_nobody_knows_is_marked() -> None:
    made = proposal(
        Option(flag="data", is_positional=True, is_required=True),
        Option(flag="extra", is_positional=True),
        Option(flag="--classes", kind=Kind.INTEGER, is_required=True),
        real("--lr", 0.1),
    )
    assert made.command == f"python train.py {FILL_IN}_data --classes {FILL_IN}_classes {{args}}"
    assert made.marks == (f"{FILL_IN}_data", f"{FILL_IN}_classes")


def test_of_many_options_those_that_matter_most_are_searched() -> None:
    some = [real(f"--loss-scale-{i}", 0.5) for i in range(200)]
    made = proposal(*some[:150], integer("--batch-size", 32), real("--lr", 0.1), *some[150:])
    assert len(made.parameters) == MOST_SEARCHED
    assert {"lr", "batch_size"} <= set(made.parameters)
    assert len(made.left) == 202 - MOST_SEARCHED


def test_heads_divide_the_width() -> None:
    made = proposal(integer("--d_model", 64), integer("--n_heads", 4))
    assert made.constraints == {"heads_divide": "d_model % n_heads == 0"}


def test_hydra_takes_overrides_and_a_folder() -> None:
    given = (real("optimizer.lr", 0.1), integer("seed", 1), Option(flag="data.path", is_required=True))
    made = proposal(*given, is_hydra=True)
    assert made.command == (
        f"python train.py seed={{trial_seed}} data.path={FILL_IN}_data_path {{overrides}} hydra.run.dir={{trial_dir}}"
    )


def test_a_path_is_one_word_of_the_command() -> None:
    script = Script(path=Path("my {code}/it's.py"), text="", options=(real("--lr", 0.1),), subcommand="fit")
    assert propose(script, python="python").command == "python 'my {{code}}/it'\"'\"'s.py' fit {args}"


@pytest.mark.parametrize(
    ("folder", "script", "name"),
    [
        ("/a/Project X", None, "project-x"),
        ("/a/2026-11", "train.py", "train"),
        ("/a/2026-11", None, "first-sweep"),
        ("/a/mnist", "train.py", "mnist"),
        ("/a/mnist", "vit_base.py", "vit_base"),
        ("/a/x.toml", None, "first-sweep"),
        ("/", None, "first-sweep"),
    ],
)
def test_the_study_is_called_as_the_script_or_its_folder(folder: str, script: str | None, name: str) -> None:
    assert study_name(Path(folder), Path(script) if script else None) == name
