"""``--from`` with the command that somebody types by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.init.propose import Proposal, propose
from hpo_batch.init.script import read_script
from hpo_batch.init.typed import read_typed, with_typed
from tests.init.test_traits import BEGIN, END, values

OPTIONS = """
p.add_argument("--lr", type=float, default=0.1)
p.add_argument("--batch-size", type=int, default=64)
p.add_argument("--optimizer", choices=["sgd", "adam"], default="sgd")
p.add_argument("--amp", action="store_true")
p.add_argument("--layers", type=int, nargs="+", default=[64, 64])
p.add_argument("--data")
p.add_argument("--out", default="runs")
p.add_argument("--seed", type=int, default=0)
"""


TRIALS = "--out {trial_dir} --seed {trial_seed} {hyphen_args}"


def proposed(folder: Path, command: str, options: str = OPTIONS) -> Proposal:
    (folder / "train.py").write_text(f"{BEGIN}{options}{END}")
    typed = read_typed(command)
    script = read_script(typed.script, subcommand=typed.subcommand, python="python")
    return propose(with_typed(script, typed), python="python")


def test_a_number_is_the_middle_of_its_range_and_all_else_stays(folder: Path) -> None:
    made = proposed(folder, "train.py --data 'my data' --lr 0.01 --optimizer adam --amp --batch-size=16")
    assert made.command == (f"python train.py --data 'my data' --optimizer adam --amp {TRIALS}")
    assert values(made) == {"lr": {"low": 0.001, "high": 0.1, "log": True}, "batch_size": [8, 16, 32]}
    assert made.parameters["lr"].comment == "log, around your 0.01"
    assert made.parameters["batch_size"].comment == "yours is 16"
    assert not {"--data", "--optimizer", "--amp"} & {flag for flag, _ in made.left}


def test_seeds_and_folders_are_the_trials_even_if_they_are_typed(folder: Path) -> None:
    made = proposed(folder, "train.py --seed 3 --out here")
    assert made.command == f"python train.py {TRIALS}"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("--layers 32 16 --amp", "--layers 32 16 --amp"),
        ("--layers -1 -0.5", "--layers -1 -0.5"),
        ("--unknown 3 --data d", "--unknown 3 --data d"),
        ("""--data '{"a": 1}'""", """--data '{{"a": 1}}'"""),
        ("--data {trial_dir}/d", "--data {trial_dir}/d"),
        ("--data {lr}", "--data {{lr}}"),
        ('--data "it\'s"', """--data 'it'"'"'s'"""),
    ],
)
def test_what_is_typed_means_what_it_meant(folder: Path, typed: str, kept: str) -> None:
    assert proposed(folder, f"train.py {typed}").command == f"python train.py {kept} {TRIALS}"


def test_numbers_that_are_no_parameters_stay_in_the_command(folder: Path) -> None:
    options = 'p.add_argument("--lr", type=float)\np.add_argument("--epochs", type=int, default=3)\n'
    many = "".join(f'p.add_argument("--lr{i}_lr", type=float, default=0.1)\n' for i in range(8))
    made = proposed(folder, "train.py --epochs 9 --width 7", f'{options}{many}p.add_argument("--width", type=int)\n')
    assert made.command == "python train.py --epochs 9 --width 7 {args}"  # eight learning rates matter more


@pytest.mark.parametrize(
    "launcher", ["python3", "python -u", "accelerate launch --num_processes 2", "torchrun --nproc-per-node 2"]
)
def test_what_starts_the_script_does_so_in_the_sweep(folder: Path, launcher: str) -> None:
    made = proposed(folder, f"{launcher} train.py --amp")
    assert made.command.startswith(f"{launcher} train.py --amp ")


def test_words_without_options_are_positional_arguments(folder: Path) -> None:
    options = 'p.add_argument("data")\np.add_argument("model")\np.add_argument("--lr", type=float, default=0.1)\n'
    assert proposed(folder, "train.py here", options).command == "python train.py here FILL_IN_model {args}"
    whole = proposed(folder, "train.py here resnet --lr 0.01", options)
    assert (whole.command, whole.marks) == ("python train.py here resnet {args}", ())


def test_overrides_of_hydra(folder: Path) -> None:
    (folder / "conf").mkdir()
    (folder / "conf" / "config.yaml").write_text("lr: 0.1\nmodel:\n  width: 32\nname: x\n")
    (folder / "train.py").write_text(
        "import hydra\n@hydra.main(config_path='conf', config_name='config')\ndef main(c): ...\n"
    )
    typed = read_typed("train.py lr=0.01 +experiment=a ~callbacks name=y")
    script = read_script(typed.script, subcommand=typed.subcommand, python="python")
    made = propose(with_typed(script, typed), python="python")
    assert made.command == ("python train.py +experiment=a ~callbacks name=y {overrides} hydra.run.dir={trial_dir}")
    assert values(made)["lr"] == {"low": 0.001, "high": 0.1, "log": True}
