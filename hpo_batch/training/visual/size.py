"""Parameters and floating point operations of the visual model without torch.

Equal to those of the built model, which a test holds against it. Does not judge whether the model can be built.
"""

from __future__ import annotations

from collections.abc import Mapping

from hpo_batch.training.sizes import block, block_flop, linear
from hpo_batch.training.visual.data import EMPTY, LARGEST, N_DEMOS, count_centroid_dim, count_classes
from hpo_batch.training.visual.settings import Settings


def n_params(params: Mapping[str, object]) -> int:
    """Trainable parameters; reads files only if it must count the categories or the width of centroids."""
    settings = Settings.from_params(params)
    return count(settings, n_classes=count_classes(settings), centroid_dim=count_centroid_dim(settings))


def count(settings: Settings, *, n_classes: int, centroid_dim: int) -> int:
    """`centroid_dim` is 0 without centroids."""
    head = (centroid_dim or n_classes) * settings.embed_dim
    return head + (_of_cnn(settings) if settings.encoder_type == "cnn" else _of_context(settings))


def forward_flop(settings: Settings, *, size: int, n_classes: int, centroid_dim: int, batch_size: int) -> float:
    """Floating point operations of one task with grids of `size` lines and columns.

    Centroids are projected once for all tasks of a batch.
    """
    head = 2 * settings.embed_dim * n_classes * (1 + centroid_dim / batch_size)
    return head + (_cnn_flop(settings, size) if settings.encoder_type == "cnn" else _context_flop(settings, size))


def _inputs(settings: Settings) -> int:
    return 2 * (EMPTY + 1) + 2 * settings.use_coords


def _flattened(settings: Settings) -> int:
    return settings.channels[-1] * (1 if settings.demo_agg == "mean" else N_DEMOS)


def _of_cnn(settings: Settings) -> int:
    channels = settings.channels
    pairs = zip((_inputs(settings), *channels), channels, strict=False)
    convolutions = sum(9 * before * after + 2 * after for before, after in pairs)
    return (
        convolutions
        + linear(_flattened(settings), settings.mlp_hidden)
        + linear(settings.mlp_hidden, settings.embed_dim)
    )


def _cnn_flop(settings: Settings, size: int) -> int:
    total, before = 0, _inputs(settings)
    for i, after in enumerate(settings.channels):
        if i and after != before:
            size = -(-size // 2)
        total += 2 * 9 * before * after * size * size
        before = after
    mlp = _flattened(settings) * settings.mlp_hidden + settings.mlp_hidden * settings.embed_dim
    return N_DEMOS * total + 2 * mlp


def _of_context(settings: Settings) -> int:
    d = settings.ctx_d_model
    layers = settings.ctx_pixel_layers + settings.ctx_grid_layers
    embeddings = (2 * (EMPTY + 1) + 2 * LARGEST) * d
    return embeddings + layers * block(d, 4 * d) + 2 * d + linear(d, settings.embed_dim)


def _context_flop(settings: Settings, size: int) -> int:
    d = settings.ctx_d_model
    pixels = settings.ctx_pixel_layers * N_DEMOS * block_flop(size * size, d, 4 * d)
    return pixels + settings.ctx_grid_layers * block_flop(N_DEMOS, d, 4 * d) + 2 * d * settings.embed_dim
