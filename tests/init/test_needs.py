"""What a script needs although no option requires it: data, and a GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.init import needs as module
from hpo_batch.init.option import Kind, Option, Script

TEXT = Kind.TEXT


def script(*options: Option, is_hydra: bool = False) -> Script:
    return Script(path=Path("train.py"), text="", options=options, is_hydra=is_hydra)


def needs(*options: Option, has_gpu: bool = True, is_hydra: bool = False) -> list[str]:
    return list(
        module.needs(script(*options, is_hydra=is_hydra), has_gpu=has_gpu, exists=Path("/").joinpath("x").exists)
    )


@pytest.mark.parametrize(
    ("flag", "default", "told"),
    [
        ("--data-path", "/datasets/imagenet", True),
        ("--data", "/corpora/wiki", True),
        ("--dataset_dir", "/tmp/fmnist", False),  # the script makes it
        ("--data-path", "/usr", False),  # it is here
        ("--data-path", "data/imagenet", False),
        ("--dataset", "cifar10", False),
        ("--save-data-to", "/results/data", False),
    ],
)  # fmt: skip
def test_data_that_is_not_where_the_default_says_has_to_be_named(flag: str, default: str, told: bool) -> None:
    found = module.with_needs(script(Option(flag=flag, kind=TEXT, default=default)), exists=lambda p: Path(p).exists())
    assert found.options[0].is_required is told
    assert (f"'{default}', is not here" in found.options[0].why_left) is told


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (Option(flag="--coco_path", kind=TEXT), "--coco_path has no default"),
        (
            Option(flag="--data", kind=TEXT, default="./data/wiki"),
            "--data is './data/wiki' by default, which is not here",
        ),
        (Option(flag="--output-data-dir", kind=TEXT), ""),
        (Option(flag="--resume-path", kind=TEXT), ""),
        (Option(flag="--coco_path", kind=TEXT, default="here", is_typed=True), ""),
        (Option(flag="--data-percentage", kind=Kind.REAL), ""),
    ],
)
def test_data_without_a_usable_default_is_told_of(option: Option, said: str) -> None:
    found = list(module.needs(script(option), has_gpu=True, exists=lambda _: False))
    assert found == ([f"see that train.py finds its data, or name it in the command: {said}"] if said else [])


def test_a_device_that_is_not_here() -> None:
    device = Option(flag="--device", kind=TEXT, default="cuda:0")
    (told,) = needs(device, has_gpu=False)
    assert told.endswith("this machine has no GPU: to run here, add '--device cpu' to the command")
    assert needs(device, has_gpu=True) == []
    assert needs(Option(flag="--device", kind=TEXT, default="cpu"), has_gpu=False) == []
    (told,) = needs(Option(flag="train.device", kind=TEXT, default="cuda"), has_gpu=False, is_hydra=True)
    assert "'train.device=cpu'" in told


def test_options_of_a_flag_are_not_searched_without_it() -> None:
    flag = Option(flag="--model-ema", kind=Kind.BOOLEAN, default=False, is_flag=True)
    decay = Option(flag="--model-ema-decay", kind=Kind.REAL, default=0.999)
    other = Option(flag="--model-emanation", kind=Kind.REAL, default=0.5)
    found = module.with_needs(script(flag, decay, other), exists=lambda _: True)
    assert [one.why_left for one in found.options] == ["", "has an effect only with --model-ema", ""]
