"""torch's own Adam and AdamW without the import of its compiler, which takes 1.6 s of CPU and is not used here.

Their methods ask `torch._dynamo`, when they are first called, to keep out of them; the methods within do not. Where a
version of torch has no wrappers, these classes are torch's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


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
