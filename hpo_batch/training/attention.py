"""Attention as a layer of its own, so that its dropout is a module that `fused` can find and replace."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Scaled dot-product attention with dropout on its weights; q, k, v are (B, H, T, D / H)."""

    def __init__(self, dropout: float, *, is_causal: bool = False) -> None:
        super().__init__()
        self.dropout, self.is_causal = dropout, is_causal

    def forward(self, q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
        """`mask` broadcasts to (B, H, T, T): True (or 0) where a query may look, False (or -inf) where not."""
        rate = self.dropout if self.training else 0.0
        return functional.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, dropout_p=rate, is_causal=self.is_causal
        )
