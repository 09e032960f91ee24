"""They are torch's to the last bit, and load no compiler."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from hpo_batch.training import optimizers


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_steps_are_those_of_torch(name: str) -> None:
    results = []
    for module in (optimizers, torch.optim):
        torch.manual_seed(0)
        model = torch.nn.Linear(5, 3)
        groups = [{"params": [model.weight], "weight_decay": 0.3}, {"params": [model.bias], "weight_decay": 0.0}]
        optimizer = getattr(module, name)(groups, lr=0.1, fused=True)
        for step in range(6):
            if step == 3:  # as after an interruption
                state = optimizer.state_dict()
                optimizer = getattr(module, name)(groups, lr=0.1, fused=True)
                optimizer.load_state_dict(state)
            optimizer.zero_grad(set_to_none=True)
            model(torch.randn(4, 5)).square().sum().backward()
            optimizer.step()
        results.append([p.detach().clone() for p in model.parameters()])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*results, strict=True))


def test_a_trial_loads_no_compiler() -> None:
    code = (
        "import sys, tempfile, pathlib; from tests.training.conftest import RecordingTrial;"
        "from hpo_batch.training.patchtst.train import train;"
        "train(RecordingTrial(params={'epochs': 1, 'd_model': 8}, dir=pathlib.Path(tempfile.mkdtemp())));"
        "assert not {'torch._dynamo', 'sklearn'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=100)
