"""Parameters and floating point operations of the layers of our models, without torch.

An operation is a multiplication or an addition, in matrix products and convolutions only, as in
`torch.utils.flop_counter`.
"""

from __future__ import annotations


def linear(inputs: int, outputs: int) -> int:
    """Parameters of a linear layer with a bias."""
    return inputs * outputs + outputs


def block(d_model: int, d_ff: int) -> int:
    """Parameters of a `transformer.Block`."""
    attention = linear(d_model, 3 * d_model) + linear(d_model, d_model)
    return attention + linear(d_model, d_ff) + linear(d_ff, d_model) + 4 * d_model


def block_flop(n_tokens: int, d_model: int, d_ff: int) -> int:
    """Of one sample of `n_tokens` in a `transformer.Block`; a causal one is counted in full."""
    layers = 4 * d_model * d_model + 2 * d_model * d_ff
    return 2 * n_tokens * (layers + 2 * n_tokens * d_model)  # scores, and their sums
