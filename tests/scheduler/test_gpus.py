"""GPUs of this machine, by a fake nvidia-smi."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from hpo_batch.scheduler import gpus
from hpo_batch.scheduler.gpus import Gpu

from .conftest import FakeCommand

Fake = Callable[..., FakeCommand]

TWO = """\
0, GPU-8a56a4bc-0184-a047-2620-0e19fdd913d5, NVIDIA H100 80GB HBM3
1, GPU-8b1c66f0-5e2b-7d0a-9a53-2f5f0a1c5e4b, NVIDIA H100 80GB HBM3
"""
FIRST = Gpu(index=0, uuid="GPU-8a56a4bc-0184-a047-2620-0e19fdd913d5", name="NVIDIA H100 80GB HBM3")
SECOND = Gpu(index=1, uuid="GPU-8b1c66f0-5e2b-7d0a-9a53-2f5f0a1c5e4b", name="NVIDIA H100 80GB HBM3")


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({}, (FIRST, SECOND)),
        ({"CUDA_VISIBLE_DEVICES": "1"}, (SECOND,)),
        ({"CUDA_VISIBLE_DEVICES": "1,0"}, (SECOND, FIRST)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8b"}, (SECOND,)),
        ({"CUDA_VISIBLE_DEVICES": "GPU-8"}, ()),
        ({"CUDA_VISIBLE_DEVICES": "0,7,1"}, (FIRST,)),
        ({"CUDA_VISIBLE_DEVICES": "MIG-5f"}, (Gpu(index=None, uuid="MIG-5f", name="MIG device"),)),
    ],
)
def test_the_callers_choice_is_kept(environ: dict[str, str], expected: tuple[Gpu, ...], fake_command: Fake) -> None:
    fake = fake_command("nvidia-smi", stdout=TWO)
    assert gpus.local_gpus(environ) == expected
    assert fake.calls[0]["argv"] == ["--query-gpu=index,uuid,name", "--format=csv,noheader,nounits"]


@pytest.mark.parametrize("hidden", ["", "-1", "NoDevFiles"])
def test_hidden_gpus_are_not_looked_for(hidden: str, fake_command: Fake) -> None:
    fake = fake_command("nvidia-smi", stdout=TWO)
    assert gpus.local_gpus({"CUDA_VISIBLE_DEVICES": hidden}) == ()
    assert fake.calls == []


def test_no_nvidia_smi_no_gpus(no_commands: None) -> None:
    assert gpus.local_gpus({}) == ()


def test_a_broken_driver_is_told(fake_command: Fake, caplog: pytest.LogCaptureFixture) -> None:
    said = "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n"
    fake_command("nvidia-smi", stdout=said, returncode=9)
    assert gpus.local_gpus({}) == ()
    assert "couldn't communicate with the NVIDIA driver" in caplog.text


@pytest.mark.parametrize(
    ("seen", "count", "told"),
    [
        ((), 0, ""),
        (("0", "1"), 2, "0,1"),
        (("0",), 8, "0 (8 in all)"),
        (("3",), 0.5, "3 (1/2)"),
        (("3",), 1 / 3, "3 (1/3)"),
    ],
)
def test_gpus_for_people(seen: tuple[str, ...], count: float, told: str) -> None:
    assert gpus.named_gpus(seen, count) == told


def test_odd_lines(caplog: pytest.LogCaptureFixture) -> None:
    found = gpus.parse_gpus("0, GPU-1a, NVIDIA GB10\nNo devices were found\n")
    assert found == (Gpu(index=0, uuid="GPU-1a", name="NVIDIA GB10"),)
    assert "No devices were found" in caplog.text
