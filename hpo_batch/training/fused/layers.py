"""Layers of K models as one operation each. The models share the batch dimension: x is (K * B, ...), model by model.

So a forward pass written for (B, ...) serves K models as it is, once its layers are replaced. The idea is HFTA's (Wang
et al., MLSys 2021, arXiv 2102.02344); dropout rates of each model's own are not in it. A weight has the shape of the
single layer's behind a first dimension of K.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_batch.training import ranks
from hpo_batch.training.attention import Attention
from hpo_batch.training.fused.masks import Masks
from hpo_batch.training.transformer import Position


class Stacked(nn.Module):
    """A layer of K models. Its parameters are set by `stack`, as views of the models' rows."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, layer: nn.Module, k: int, masks: Masks) -> None:
        super().__init__()
        self.k = k
        self.masks = masks
        self.check(layer)
        self.read(layer)

    def check(self, layer: Any) -> None:
        """Raise ValueError for an option of the single layer that is not supported here."""

    def read(self, layer: Any) -> None:
        """Take over the options of the single layer."""


class Linear(Stacked):
    def forward(self, x: Tensor) -> Tensor:
        rows = x.reshape(self.k, -1, x.shape[-1])
        weight = self.weight.transpose(1, 2)
        y = torch.bmm(rows, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), rows, weight)
        return y.view(*x.shape[:-1], self.weight.shape[1])


class LayerNorm(Stacked):
    def read(self, layer: nn.LayerNorm) -> None:
        self.shape, self.eps, self.has_weight = tuple(layer.normalized_shape), layer.eps, layer.elementwise_affine

    def forward(self, x: Tensor) -> Tensor:
        y = functional.layer_norm(x, self.shape, eps=self.eps)
        if not self.has_weight:
            return y
        rows, weight = y.view(self.k, -1, *self.shape), self.weight.unsqueeze(1)
        y = rows * weight if self.bias is None else torch.addcmul(self.bias.unsqueeze(1), rows, weight)
        return y.view(x.shape)


class GroupNorm(Stacked):
    def read(self, layer: nn.GroupNorm) -> None:
        self.groups, self.eps, self.has_weight = layer.num_groups, layer.eps, layer.affine

    def forward(self, x: Tensor) -> Tensor:
        y = functional.group_norm(x, self.groups, eps=self.eps)
        if not self.has_weight or self.bias is None:
            return y
        rows = y.view(self.k, -1, *x.shape[1:])
        shape = (self.k, 1, -1) + (1,) * (x.dim() - 2)
        return torch.addcmul(self.bias.view(shape), rows, self.weight.view(shape)).view(x.shape)


class BatchNorm(Stacked):
    """Statistics of each model's own batch, without the samples that only fill it up."""

    running_mean: Tensor
    running_var: Tensor

    def check(self, layer: nn.BatchNorm2d) -> None:
        if layer.running_mean is None or layer.momentum is None or not layer.affine:
            raise ValueError("has no running statistics, momentum or weights")

    def read(self, layer: nn.BatchNorm2d) -> None:
        self.eps, self.momentum = layer.eps, layer.momentum

    def forward(self, x: Tensor) -> Tensor:  # (K * N, C, ...), N a multiple of B
        assert self.momentum is not None
        assert self.bias is not None
        rows = x.float().view(self.k, -1, *x.shape[1:])
        every = (1, *range(3, rows.dim()))
        shape = (self.k, 1, -1) + (1,) * (rows.dim() - 3)
        if self.training:
            real = self.masks.is_real
            real = torch.ones(rows.shape[1], device=x.device) if real is None else real
            real = real.repeat_interleave(rows.shape[1] // len(real)).view(1, -1, *shape[3:], 1)
            count = real.sum() * rows[0, 0, 0].numel()
            mean = (rows * real).sum(every) / count
            var = ((rows - mean.view(shape)).square() * real).sum(every) / count
            with torch.no_grad():
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(var * count / (count - 1), self.momentum)
        else:
            mean, var = self.running_mean, self.running_var
        scale = self.weight * (var + self.eps).rsqrt()
        return torch.addcmul((self.bias - mean * scale).view(shape), rows, scale.view(shape)).view(x.shape).to(x.dtype)


class Embedding(Stacked):
    def check(self, layer: nn.Embedding) -> None:
        if layer.max_norm is not None or layer.sparse or layer.scale_grad_by_freq:
            raise ValueError("has max_norm, sparse or scale_grad_by_freq")

    def read(self, layer: nn.Embedding) -> None:
        self.padding = layer.padding_idx

    def forward(self, index: Tensor) -> Tensor:
        model = torch.arange(self.k, device=index.device).view(-1, 1)
        y = self.weight[model, index.reshape(self.k, -1)].view(*index.shape, -1)
        if self.padding is None:
            return y
        return torch.where((index == self.padding).unsqueeze(-1), y.detach(), y)


class Conv2d(Stacked):
    def check(self, layer: nn.Conv2d) -> None:
        if layer.padding_mode != "zeros":
            raise ValueError(f"has padding_mode = '{layer.padding_mode}'")

    def read(self, layer: nn.Conv2d) -> None:
        self.stride, self.padding, self.dilation, self.groups = (
            layer.stride,
            layer.padding,
            layer.dilation,
            layer.groups,
        )

    def forward(self, x: Tensor) -> Tensor:
        channels, height, width = x.shape[1:]
        side_by_side = x.view(self.k, -1, channels, height, width).transpose(0, 1).flatten(1, 2)  # (B, K * C, H, W)
        bias = None if self.bias is None else self.bias.flatten()
        y = functional.conv2d(
            side_by_side,
            self.weight.flatten(0, 1),
            bias,
            self.stride,
            self.padding,
            self.dilation,
            self.k * self.groups,
        )
        return y.view(len(y), self.k, -1, *y.shape[2:]).transpose(0, 1).flatten(0, 1)


class Dropout(Stacked):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.masks.next(x) if self.training and self.masks.is_on else x


class Dropout2d(Stacked):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.masks.next(x[..., :1, :1]) if self.training and self.masks.is_on else x


class StackedPosition(Stacked):
    def forward(self, x: Tensor) -> Tensor:
        return (x.view(self.k, -1, *x.shape[1:]) + self.weight[:, None, : x.shape[1]]).view(x.shape)


class StackedAttention(Stacked):
    def read(self, layer: Attention) -> None:
        self.is_causal = layer.is_causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        if not (self.training and self.masks.is_on):
            return functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=self.is_causal)
        scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
        if mask is not None:
            scores = scores.masked_fill(~mask, float("-inf")) if mask.dtype is torch.bool else scores + mask
        if self.is_causal:
            ahead = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).triu(1)
            scores = scores.masked_fill(ahead, float("-inf"))
        weights = scores.softmax(-1)
        y: Tensor = (weights * self.masks.next(weights)) @ v
        return y


LAYERS: dict[type[nn.Module], Callable[[nn.Module, int, Masks], Stacked]] = {
    nn.Linear: Linear,
    nn.LayerNorm: LayerNorm,
    nn.GroupNorm: GroupNorm,
    nn.BatchNorm1d: BatchNorm,
    nn.BatchNorm2d: BatchNorm,
    ranks.BatchNorm2d: BatchNorm,
    nn.Embedding: Embedding,
    nn.Conv2d: Conv2d,
    nn.Dropout: Dropout,
    nn.Dropout2d: Dropout2d,
    Attention: StackedAttention,
    Position: StackedPosition,
}
"""the layers that can be stacked; modules without parameters of their own need no entry"""


def rate_of(layer: nn.Module) -> float | None:
    """The dropout rate of a single layer; None if it has none."""
    if isinstance(layer, nn.Dropout | nn.Dropout2d):
        return float(layer.p)
    return layer.dropout if isinstance(layer, Attention) else None
