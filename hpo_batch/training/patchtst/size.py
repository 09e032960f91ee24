"""Parameters and floating point operations of the PatchTST model without torch, for `[objective] n_params` and metrics.

Equal to those of the built model, which a test holds against it. Does not judge whether the model can be built.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpo_batch.training.data import feature_names
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.sizes import block, block_flop, linear


def n_params(params: Mapping[str, object]) -> int:
    """Trainable parameters; reads the data file only if it must count the features in it."""
    settings = Settings.from_params(params)
    return count(settings, n_features=settings.n_features or len(feature_names(settings)))


def count(settings: Settings, *, n_features: int) -> int:
    d = settings.d_model
    embedding = linear(settings.patch_len * n_features, d) + settings.n_patches * d
    head = 2 * d + linear(settings.n_patches * d, 1)
    return embedding + settings.n_layers * block(d, settings.d_ff) + head


def forward_flop(settings: Settings, *, n_features: int) -> int:
    """Floating point operations of one window: matrix products only, as torch's counter has them."""
    d, tokens = settings.d_model, settings.n_patches
    embedding_and_head = 2 * tokens * (settings.patch_len * n_features * d + d)
    return embedding_and_head + settings.n_layers * block_flop(tokens, d, settings.d_ff)
