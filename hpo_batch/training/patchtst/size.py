"""Parameters and floating point operations of the PatchTST model without torch, for `[objective] n_params` and metrics.

Equal to those of the built model, which a test holds against it. Does not judge whether the model can be built.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpo_batch.training.data import feature_names
from hpo_batch.training.patchtst.settings import Settings


def n_params(params: Mapping[str, object]) -> int:
    """Trainable parameters; reads the data file only if it must count the features in it."""
    settings = Settings.from_params(params)
    return count(settings, n_features=settings.n_features or len(feature_names(settings)))


def count(settings: Settings, *, n_features: int) -> int:
    d, d_ff = settings.d_model, settings.d_ff
    embedding = _linear(settings.patch_len * n_features, d) + settings.n_patches * d
    attention = _linear(d, 3 * d) + _linear(d, d)
    feed_forward = _linear(d, d_ff) + _linear(d_ff, d)
    norm = 2 * d
    block = attention + feed_forward + 2 * norm
    head = norm + _linear(settings.n_patches * d, 1)
    return embedding + settings.n_layers * block + head


def forward_flop(settings: Settings, *, n_features: int) -> int:
    """Of one window, a multiplication and an addition counted apart: matrix products only, as torch's counter does."""
    d, tokens = settings.d_model, settings.n_patches
    embedding = settings.patch_len * n_features * d
    attention = 4 * d * d + 2 * tokens * d  # query, key, value and output; scores and their sums
    feed_forward = 2 * d * settings.d_ff
    return 2 * tokens * (embedding + settings.n_layers * (attention + feed_forward) + d)


def _linear(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs
