"""GPU or CPU: what was asked for and what is there, never the CPU in silence."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.errors import DeviceMissing, Exit
from hpo_batch.scheduler.allocation import Allocation
from hpo_batch.sweep.schema import Sweep
from hpo_batch.worker import devices
from hpo_batch.worker.devices import choose_device
from tests.study.helpers import Text, sweep_of


def allocation(*gpus: str) -> Allocation:
    return Allocation(
        job=None,
        task=None,
        node="node7",
        gpus=gpus,
        gpu_count=len(gpus),
        cpus=1,
        deadline_s=None,
        restarts=0,
        partition=None,
    )


@pytest.fixture
def answer(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """What torch says, in a real process but without torch."""
    monkeypatch.setattr(devices, "PROBE", f"print({request.param!r})" if request.param else "import sys; sys.exit(1)")


def sweep(root: Path, device: str) -> Sweep:
    return sweep_of(root, Text(tables={"job": f'template = "local"\ndevice = "{device}"'}))


@pytest.mark.parametrize("answer", ["cuda"], indirect=True)
@pytest.mark.usefixtures("answer")
def test_a_gpu_is_used_where_it_was_given_or_asked_for(root: Path) -> None:
    assert choose_device(sweep(root, "auto"), allocation("0")) == "cuda"
    assert choose_device(sweep(root, "cuda"), allocation("0")) == "cuda"
    assert choose_device(sweep(root, "cuda"), allocation()) == "cuda"
    assert choose_device(sweep(root, "auto"), allocation()) == "cpu"  # nobody gave one
    assert choose_device(sweep(root, "cpu"), allocation("0")) == "cpu"


@pytest.mark.parametrize("answer", ["torch 2.13.0+cpu sees no CUDA device", "no torch", ""], indirect=True)
@pytest.mark.usefixtures("answer")
def test_the_cpu_needs_no_probe(root: Path) -> None:
    assert choose_device(sweep(root, "auto"), allocation()) == "cpu"
    assert choose_device(sweep(root, "cpu"), allocation("0", "1")) == "cpu"


@pytest.mark.parametrize("answer", ["torch 2.13.0+cpu sees no CUDA device"], indirect=True)
@pytest.mark.usefixtures("answer")
def test_a_gpu_that_torch_does_not_see_is_an_error_with_node_and_reason(root: Path) -> None:
    with pytest.raises(DeviceMissing) as caught:
        choose_device(sweep(root, "auto"), allocation("GPU-1"))
    assert str(caught.value) == (
        "node node7: GPU GPU-1 was allocated, but torch 2.13.0+cpu sees no CUDA device; "
        "install a CUDA build of torch there, or use --set job.device=cpu"
    )
    assert caught.value.exit_code == Exit.BAD_INPUT
    with pytest.raises(DeviceMissing, match='device = "cuda" was requested, no GPU was allocated'):
        choose_device(sweep(root, "cuda"), allocation())


@pytest.mark.parametrize("answer", ["no torch"], indirect=True)
@pytest.mark.usefixtures("answer")
def test_without_torch_an_allocated_gpu_is_trusted(root: Path) -> None:
    assert choose_device(sweep(root, "auto"), allocation("0")) == "cuda"
    with pytest.raises(DeviceMissing, match="but no torch"):
        choose_device(sweep(root, "cuda"), allocation())


@pytest.mark.parametrize("answer", [""], indirect=True)
@pytest.mark.usefixtures("answer")
def test_a_probe_that_fails_is_told(root: Path) -> None:
    with pytest.raises(DeviceMissing, match="the probe of torch failed"):
        choose_device(sweep(root, "cuda"), allocation("0"))
