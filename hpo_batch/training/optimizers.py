"""torch's own Adam and AdamW without the import of its compiler, which takes 1.6 s of CPU and is not used here.

Their methods ask `torch._dynamo`, when they are first called, to keep out of them; the methods within do not. Where a
version of torch has no wrappers, these classes are torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


def _within(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method without its wrapper (`functools.wraps`)."""
    inner: Callable[..., Any] = getattr(method, "__wrapped__", method)
    return inner


_step = _within(torch.optim.Adam.step)


class _Light(torch.optim.Optimizer):
    add_param_group = _within(torch.optim.Optimizer.add_param_group)
    zero_grad = _within(torch.optim.Optimizer.zero_grad)
    state_dict = _within(torch.optim.Optimizer.state_dict)
    load_state_dict = _within(torch.optim.Optimizer.load_state_dict)

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        return _step(self, closure)


class Adam(_Light, torch.optim.Adam):
    pass


class AdamW(_Light, torch.optim.AdamW):
    pass


def all_decay(_name: str, _parameter: Tensor) -> bool:
    """Weight decay of every parameter."""
    return True


def make(
    model: nn.Module, *, is_adam: bool, rate: float, weight_decay: float, decays: Callable[[str, Tensor], bool]
) -> Adam | AdamW:
    """The optimizer of a trial that is trained alone, and in the checkpoint of one in a block.

    Args:
        model: its parameters.
        is_adam: whether weight decay is part of the gradient (Adam), or not (AdamW).
        rate: the learning rate.
        weight_decay: of the parameters that have one.
        decays: whether a parameter has, by its name and value.
    """
    named = list(model.named_parameters())
    decayed = {"params": [p for name, p in named if decays(name, p)], "weight_decay": weight_decay}
    others = {"params": [p for name, p in named if not decays(name, p)], "weight_decay": 0.0}
    groups = [group for group in (decayed, others) if group["params"]]
    return (Adam if is_adam else AdamW)(groups, lr=rate, fused=True)
