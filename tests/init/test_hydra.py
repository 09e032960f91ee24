"""Configurations of Hydra applications, from their YAML files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.init.script import read_script

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
