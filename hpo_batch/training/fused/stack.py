"""K models of one shape as one module. Row k of its buffers is all of model k: a trial's state is three rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from hpo_batch.training.fused.layers import LAYERS, Stacked, rate_of
from hpo_batch.training.fused.masks import Masks

Decays = Callable[[str, Tensor], bool]
"""whether weight decay applies to a parameter, by its name and value"""


STATE = ("rows", "mean", "square", "statistics")
"""attributes of a `Stack` that are a trial's state, a row for each"""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a parameter lies in a row."""

    name: str
    shape: tuple[int, ...]
    start: int

    @property
    def end(self) -> int:
        return self.start + math.prod(self.shape)


class Stack(nn.Module):
    """K models as one: `forward` takes (K * B, ...), model by model, and computes what each alone would.

    Args:
        model: one of them; its values do not matter, see `put`.
        k: number of models.
        device: of the models.
        decays: parameters with weight decay, which come first in a row.

    Raises:
        ValueError: the model has a layer that cannot be stacked.
    """

    def __init__(self, model: nn.Module, k: int, *, device: torch.device, decays: Decays) -> None:
        super().__init__()
        self.k = k
        self.masks = Masks(k, device)
        self.places, self.n_decayed = _layout(model, decays)
        length = self.places[-1].end
        self.rows = torch.zeros(k, length, device=device)
        self.gradient, self.mean, self.square = (torch.zeros_like(self.rows) for _ in range(3))
        """AdamW's moments, besides the gradient, in the layout of `rows`"""
        self._buffers_of = _statistics(model)
        self.statistics = torch.zeros(k, sum(math.prod(p.shape) for p in self._buffers_of), device=device)
        """running statistics, a row for each model"""
        self._sites = [name for name, layer in model.named_modules() if rate_of(layer) is not None]
        self._called: list[str] = []
        """names of the layers with dropout, in the order of their calls"""
        self._parameters_in_order: list[nn.Parameter] = []
        self._gradients: list[Tensor] = []
        self.model = self._stacked(copy.deepcopy(model)).to(device)
        self._loose = self._bind()

    def forward(self, *inputs: Tensor) -> Any:
        size = inputs[0].shape[0] // self.k
        for module, name, parameter in self._loose:
            # a parameter that a model's own code adds to (B, ...): as many copies as it has samples
            shape = (self.k, size, *parameter.shape[1:])
            setattr(module, name, parameter.unsqueeze(1).expand(shape).flatten(0, 1))
        self.masks.begin()
        return self.model(*inputs)

    def backward(self, losses: Tensor) -> None:
        """Fill `gradient` from the models' losses (K,); they share nothing, so each gets the gradient of its own."""
        found = torch.autograd.grad(losses.sum(), self._parameters_in_order)
        torch._foreach_copy_(self._gradients, list(found))

    def put(self, slot: int, model: nn.Module) -> None:
        """Give a slot a new model: its weights and its dropout rates; AdamW starts at zero."""
        found = {**dict(model.named_parameters()), **dict(model.named_buffers())}
        self.set_weights(slot, self.flat({name: value.detach() for name, value in found.items()}))
        for buffer in (self.mean, self.square):
            buffer[slot].zero_()
        self.rate(slot, model)

    def rate(self, slot: int, model: nn.Module) -> None:
        """Give a slot the dropout rates of a model."""
        layers = dict(model.named_modules())
        self.masks.set_rates(slot, [rate_of(layers[name]) or 0.0 for name in self._called])

    def state(self, slot: int) -> dict[str, Tensor]:
        """A copy of a slot's weights and moments, on the CPU."""
        return {name: getattr(self, name)[slot].cpu().clone() for name in STATE}

    def set_state(self, slot: int, state: dict[str, Tensor]) -> None:
        for name in STATE:
            getattr(self, name)[slot].copy_(state[name])

    def weights(self, slot: int) -> Tensor:
        """A copy of what a slot predicts with: its row and its statistics, on the CPU."""
        return torch.cat([self.rows[slot], self.statistics[slot]]).cpu().clone()

    def set_weights(self, slot: int, weights: Tensor) -> None:
        length = self.rows.shape[1]
        self.rows[slot].copy_(weights[:length])
        self.statistics[slot].copy_(weights[length:])

    def named(self, row: Tensor) -> dict[str, Tensor]:
        """A row, or weights, as the `state_dict` of a single model, as far as they are part of it."""
        length = self.rows.shape[1]
        parts = [(self.places, row[:length])] + ([(self._buffers_of, row[length:])] if len(row) > length else [])
        return {p.name: part[p.start : p.end].view(p.shape) for places, part in parts for p in places}

    def flat(self, state: Mapping[str, Tensor]) -> Tensor:
        """The weights in the `state_dict` of a single model, as `weights` has them."""
        return torch.cat([state[place.name].flatten() for place in (*self.places, *self._buffers_of)])

    def measure(self, *inputs: Tensor) -> None:
        """Find out which masks a forward pass needs, from one with inputs of the size of a batch."""
        was_on, self.masks.is_on = self.masks.is_on, True
        self._called = []
        hooks = [
            module.register_forward_pre_hook(lambda *_, name=name: self._called.append(name))
            for name, module in self.model.named_modules()
            if name in self._sites
        ]
        self.train()
        with torch.no_grad():
            self(*inputs)
        for hook in hooks:
            hook.remove()
        self.masks.allocate()
        self.masks.is_on = was_on

    def _stacked(self, module: nn.Module, name: str = "") -> nn.Module:
        if (layer := LAYERS.get(type(module))) is not None:
            try:
                return layer(module, self.k, self.masks)
            except ValueError as error:
                raise ValueError(f"layer '{name}' ({type(module).__name__}) cannot be fused: it {error}") from None
        if type(module).__module__.startswith("torch.nn") and next(module.parameters(recurse=False), None) is not None:
            known = ", ".join(kind.__name__ for kind in LAYERS)
            raise ValueError(f"layer '{name}' ({type(module).__name__}) cannot be fused; those that can: {known}")
        for child_name, child in module.named_children():
            setattr(module, child_name, self._stacked(child, f"{name}.{child_name}".strip(".")))
        return module

    def _bind(self) -> list[tuple[nn.Module, str, nn.Parameter]]:
        """Make every parameter a view of the rows; returns those that do not belong to a stacked layer."""
        modules = dict(self.model.named_modules())
        loose = []
        for place in self.places:
            owner, _, name = place.name.rpartition(".")
            module = modules[owner]
            parameter = nn.Parameter(self._view(self.rows, place))
            self._parameters_in_order.append(parameter)
            self._gradients.append(self._view(self.gradient, place))
            if isinstance(module, Stacked):
                setattr(module, name, parameter)
            else:
                delattr(module, name)
                loose.append((module, name, parameter))
        for place in self._buffers_of:
            owner, _, name = place.name.rpartition(".")
            setattr(modules[owner], name, self._view(self.statistics, place))
        for module in self.model.modules():
            if isinstance(module, Stacked) and not hasattr(module, "bias"):
                module.bias = None
        return loose

    def _view(self, rows: Tensor, place: Place) -> Tensor:
        return rows[:, place.start : place.end].view(self.k, *place.shape)


def _statistics(model: nn.Module) -> list[Place]:
    """The places of all running statistics."""
    modules = dict(model.named_modules())
    places: list[Place] = []
    for name, buffer in model.named_buffers():
        owner, _, short = name.rpartition(".")
        if isinstance(modules[owner], nn.BatchNorm1d | nn.BatchNorm2d) and short.startswith("running_"):
            start = places[-1].end if places else 0
            places.append(Place(name=name, shape=tuple(buffer.shape), start=start))
    return places


def constants(model: nn.Module) -> dict[str, Tensor]:
    """What the `state_dict` of a model has that is in no row: it does not change what the model computes."""
    in_rows = {name for name, _ in model.named_parameters()} | {place.name for place in _statistics(model)}
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items() if name not in in_rows}


def _layout(model: nn.Module, decays: Decays) -> tuple[list[Place], int]:
    """The places of all parameters, those with weight decay first, and how many numbers these are."""
    named = sorted(model.named_parameters(), key=lambda item: not decays(*item))
    places: list[Place] = []
    start = n_decayed = 0
    for name, parameter in named:
        places.append(Place(name=name, shape=tuple(parameter.shape), start=start))
        start = places[-1].end
        n_decayed += parameter.numel() * decays(name, parameter)
    return places, n_decayed
