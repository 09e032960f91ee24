"""The transformer block of all our models. B samples, T tokens, D = d_model, H heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hpo_batch.training.attention import Attention


def check_heads(**values: int) -> None:
    """Raise a ValueError unless the first value, a width, can be divided among the second, a number of heads."""
    (width, d_model), (heads, n_heads) = values.items()
    if d_model % n_heads:
        raise ValueError(
            f"{width} = {d_model} cannot be divided among {heads} = {n_heads}; "
            f'add a constraint to the sweep: heads_divide = "{width} % {heads} == 0"'
        )


class Position(nn.Module):
    """A learned vector for each place in a sequence, added to x (B, T, D), T <= `length`. A layer, so that it can be
    fused."""

    def __init__(self, length: int, d_model: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(length, d_model))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.weight[: x.shape[1]]


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each after a norm and beside a shortcut (Xiong et al. 2020, arXiv
    2002.04745)."""

    def __init__(self, *, d_model: int, n_heads: int, d_ff: int, dropout: float, is_causal: bool = False) -> None:
        """
        Args:
            d_model: width of a token; n_heads must divide it.
            n_heads: attention heads.
            d_ff: width of the feed-forward layer.
            dropout: rate, in attention and after each layer.
            is_causal: a token sees none that comes after it.
        """
        super().__init__()
        self.n_heads = n_heads
        self.attention_norm = nn.LayerNorm(d_model)
        self.qkv = nn.Linear(d_model, 3 * d_model)
        self.attention = Attention(dropout, is_causal=is_causal)
        self.out = nn.Linear(d_model, d_model)
        self.dropout = nn.Dropout(dropout)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(d_model),
            nn.Linear(d_model, d_ff),
            nn.GELU(),
            nn.Dropout(dropout),
            nn.Linear(d_ff, d_model),
            nn.Dropout(dropout),
        )

    def forward(self, x: Tensor) -> Tensor:  # (B, T, D)
        x = x + self.attend(self.attention_norm(x))
        result: Tensor = x + self.feed_forward(x)
        return result

    def attend(self, x: Tensor) -> Tensor:
        qkv = self.qkv(x).unflatten(2, (3, self.n_heads, -1))  # (B, T, 3, H, D / H)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # (B, H, T, D / H) each
        x = self.out(self.attention(q, k, v).transpose(1, 2).flatten(2))  # (B, T, D)
        result: Tensor = self.dropout(x)
        return result
