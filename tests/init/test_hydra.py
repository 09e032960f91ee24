"""Configurations of Hydra applications, from their YAML files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.init.propose import propose
from hpo_batch.init.script import read_script
from hpo_batch.init.typed import read_typed, with_typed
from hpo_batch.init.write import from_script

MAIN = """
import hydra
@hydra.main(version_base=None, config_path="conf", config_name="config.yaml")
def main(config): ...
"""


def read(folder: Path, **files: str) -> Script:
    (folder / "train.py").write_text(MAIN)
    for name, text in files.items():
        path = folder / "conf" / f"{name.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return read_script(folder / "train.py", subcommand="", python="python")


def by_name(script: Script) -> dict[str, Option]:
    return {one.flag: one for one in script.options}


def test_groups_are_tables_of_their_name_and_the_file_itself_comes_last(folder: Path) -> None:
    config = "defaults:\n  - model: small\n  - override hydra/launcher: basic\n  - _self_\nmodel:\n  hidden: 99\n"
    script = read(folder, config=config, model__small="hidden: 32\ndropout: 0.1\n", model__large="hidden: 256\n")
    found = by_name(script)
    assert {name: one.default for name, one in found.items()} == {"model.hidden": 99, "model.dropout": 0.1}
    assert script.notes == ("the group model could be searched too: model = ['small', 'large']",)


def test_packages(folder: Path) -> None:
    config = "defaults:\n  - base\n  - exp: one\n  - db@data: big\nlr: 0.1\n"
    files = {"base": "epochs: 3\n", "exp__one": "# @package _global_\nlr: 0.5\nwd: 1e-4\n", "db__big": "rows: 8\n"}
    found = by_name(read(folder, config=config, **files))
    assert {name: one.default for name, one in found.items()} == {"epochs": 3, "lr": 0.1, "wd": 1e-4, "data.rows": 8}


def test_the_forms_of_values(folder: Path) -> None:
    text = "a: 1e-3\nb: ???\nc: ${a}\nd: [1, 2]\ne: null\nf: true\n_target_: x.Y\nhydra:\n  run:\n    dir: .\n"
    found = by_name(read(folder, config=text))
    assert {name: one.kind for name, one in found.items()} == {
        "a": Kind.REAL,
        "b": Kind.UNKNOWN,
        "c": Kind.LIST,
        "d": Kind.LIST,
        "e": Kind.UNKNOWN,
        "f": Kind.BOOLEAN,
    }
    assert found["a"].default == 0.001
    assert found["b"].is_required


@pytest.mark.parametrize("text", ["a: [1,", "- 1\n- 2\n", "a: &x\n  b: *y\n"])
def test_a_broken_file_is_named(folder: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"conf/config.yaml' is not"):
        read(folder, config=text)


def composed(folder: Path, words: str = "", *, main: str = MAIN, name: str = "train.py", **files: str) -> Script:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(main)
    for file, text in files.items():
        path = folder / "conf" / f"{file.replace('__', '/')}.yaml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    typed = read_typed(f"{name} {words}")
    return with_typed(read_script(Path(name), subcommand=typed.subcommand, python="python", typed=typed), typed)


MODELS = {"model__small": "width: 32\n", "model__large": "width: 256\n"}


@pytest.mark.parametrize(
    ("config", "words", "width"),
    [
        ("defaults:\n  - model: small.yaml\n", "", 32),  # with its suffix
        ("defaults:\n  - /model: small\n", "", 32),
        ("defaults:\n  - model: [small, large]\n", "", 256),  # several, the last wins
        ("defaults:\n  - optional model: small\n", "", 32),
        ("defaults:\n  - model: small\n", "model=large", 256),
        ("defaults:\n  - model: null\n", "model=large", 256),
        ("defaults:\n  - _self_\n", "+model=large", 256),
        ("defaults:\n  - model: small\n  - experiment: null\n", "experiment=big", 256),
        ("defaults:\n  - model: small\n", "--config-name other", 64),
    ],
)
def test_groups_and_who_chooses_them(folder: Path, config: str, words: str, width: int) -> None:
    experiment = "# @package _global_\ndefaults:\n  - override /model: large\n"
    found = by_name(
        composed(folder, words, config=config, other="model:\n  width: 64\n", experiment__big=experiment, **MODELS)
    )
    assert found["model.width"].default == width


@pytest.mark.parametrize(
    "main",
    [
        'import hydra\n@hydra.main("conf", "config")\ndef main(c): ...\n',
        'import hydra\nFOLDER = "conf"\n@hydra.main(config_path=FOLDER, config_name="config")\ndef main(c): ...\n',
        'import hydra\n@hydra.main(config_path=str(ROOT / "conf"), config_name="config")\ndef main(c): ...\n',
        'import hydra\n@hydra.main(config_path="conf/config.yaml")\ndef main(c): ...\n',  # of Hydra 1.0
        "import hydra\nfrom app import main\nmain()\n",
    ],
)
def test_where_the_configuration_is(folder: Path, main: str) -> None:
    (folder / "app.py").write_text(MAIN)
    assert by_name(composed(folder, main=main, config="lr: 0.1\n"))["lr"].default == 0.1


def test_a_schema_of_dataclasses_below_a_file(folder: Path) -> None:
    main = MAIN + (
        "from dataclasses import dataclass\n@dataclass\nclass Config:\n    lr: float = 0.1\n    width: int = 8\n"
        "ConfigStore.instance().store(name='base', node=Config)\n"
    )
    found = by_name(composed(folder, main=main, config="defaults:\n  - base\n  - _self_\nlr: 0.5\n"))
    assert {name: one.default for name, one in found.items()} == {"lr": 0.5, "width": 8}


SWEEPER = """
hydra:
  mode: MULTIRUN
  sweeper:
    direction: maximize
    params:
      lr: tag(log, interval(0.001, 1))
      model: choice(small, large)
      wd: glob(*)
lr: 0.1
wd: 0.01
epochs: 3
width: 64
"""


def test_what_its_author_searches_is_searched_and_nothing_else(folder: Path) -> None:
    script = composed(folder, config=SWEEPER)
    made = propose(script, python="python")
    assert {name: one.value for name, one in made.parameters.items()} == {
        "lr": {"low": 0.001, "high": 1, "log": True},
        "wd": {"low": 0.001, "high": 0.1, "log": True},  # between values of ours, where his cannot be said
        "model": ["small", "large"],
    }
    assert script.direction == "maximize"
    assert made.command == "python train.py hydra.mode=RUN {overrides} hydra.run.dir={trial_dir}"


LIGHTNING = """
trainer:
  _target_: lightning.pytorch.Trainer
callbacks:
  checkpoint:
    _target_: lightning.pytorch.callbacks.ModelCheckpoint
    monitor: val/f1
    mode: max
    dirpath: null
extras:
  ignore_warnings: true
save_dir: results
lr: 0.1
"""


def test_a_training_with_lightning_needs_no_edit(folder: Path) -> None:
    main = MAIN + "import lightning\nself.log('val/loss', 1)\nself.log('val/f1', 1)\n"
    composed(folder, main=main, config=LIGHTNING)
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    text = made.files[Path("sweep.toml")]
    assert made.steps == ()
    assert 'metric = "val/f1"\ndirection = "maximize"\n' in text
    (command,) = [line for line in text.splitlines() if line.startswith("command")]
    for word in (
        "+callbacks.hpo_batch._target_=hpo_batch.integrations.LightningCallback",
        "+trainer.default_root_dir={trial_dir}",
        "callbacks.checkpoint.dirpath={checkpoint_dir}",
        "save_dir={trial_dir}",
    ):
        assert f" {word} " in command
    assert "[space]\nlr = {" in text  # and not extras.ignore_warnings


def test_what_an_application_returns_is_its_objective(folder: Path) -> None:
    main = MAIN.replace("...", "\n    loss = config.lr\n    return loss")
    composed(folder, main=main, config="lr: 0.1\n")
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    assert made.steps == (
        "train.py returns loss and does not report it: before line 6, add 'hpo_batch.report(loss=loss)', and 'import "
        "hpo_batch' at the top",
    )
    composed(folder, main=main.replace("return loss", "return config.lr**2"), config="lr: 0.1\n")
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    assert "'hpo_batch.report(objective=config.lr ** 2)'" in made.steps[0]
    assert 'direction = "minimize"\n' in made.files[Path("sweep.toml")]
