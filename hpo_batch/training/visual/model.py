"""Two encoders of tasks, and the head that compares a task with the categories.

B tasks, K = 3 pairs of grids, S lines and columns, C categories, E = embed_dim, D = ctx_d_model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_batch.training import ranks
from hpo_batch.training.transformer import Block, check_heads
from hpo_batch.training.visual.data import EMPTY, LARGEST, N_DEMOS
from hpo_batch.training.visual.settings import Settings

N_COLOURS = EMPTY + 1


class ConvolutionEncoder(nn.Module):
    """A CNN over both grids of a pair, one plane per colour; its mean over all cells is the pair."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.use_coords, self.is_mean = settings.use_coords, settings.demo_agg == "mean"
        channels = settings.channels
        inputs = (2 * N_COLOURS + 2 * self.use_coords, *channels)
        self.halved = tuple(i for i in range(1, len(channels)) if channels[i] != channels[i - 1])
        self.convolutions = nn.ModuleList(
            nn.Sequential(nn.Conv2d(before, after, 3, padding=1, bias=False), ranks.BatchNorm2d(after), nn.ReLU())
            for before, after in zip(inputs, channels, strict=False)
        )
        self.mlp = nn.Sequential(
            nn.Linear(channels[-1] * (1 if self.is_mean else N_DEMOS), settings.mlp_hidden),
            nn.ReLU(),
            nn.Linear(settings.mlp_hidden, settings.embed_dim),
        )

    def forward(self, grids: Tensor) -> Tensor:  # (B, K, 2, S, S) -> (B, E)
        planes = functional.one_hot(grids.long(), N_COLOURS).float()  # (B, K, 2, S, S, colours)
        x = planes.permute(0, 1, 2, 5, 3, 4).flatten(2, 3).flatten(0, 1)  # (B * K, 2 * colours, S, S)
        if self.use_coords:
            line = torch.linspace(-1, 1, x.shape[-1], device=x.device).expand(len(x), 1, *x.shape[2:])
            x = torch.cat([x, line, line.transpose(2, 3)], dim=1)
        for i, convolution in enumerate(self.convolutions):
            if i in self.halved:
                x = functional.max_pool2d(x, 2, ceil_mode=True)
            x = convolution(x)
        x = x.mean((2, 3)).view(-1, N_DEMOS, x.shape[1])  # (B, K, channels)
        result: Tensor = self.mlp(x.mean(1) if self.is_mean else x.flatten(1))
        return result


class Cells(nn.Module):
    """Adds learned vectors for the line and the column of each cell to x (B, S, S, D), S <= `largest`."""

    def __init__(self, largest: int, d_model: int) -> None:
        super().__init__()
        self.line = nn.Parameter(torch.empty(largest, 1, d_model))
        self.column = nn.Parameter(torch.empty(largest, d_model))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.line[: x.shape[1]] + self.column[: x.shape[1]]


class Prototypes(nn.Module):
    """Compares x (B, E) with each category, (B, C): by the dot product, or by the cosine times a temperature.

    Args:
        n_classes: C.
        embed_dim: E.
        centroids: (C, any width), of which a projection is learned; without them prototypes are.
        temperature: None: the dot product.
    """

    weight: Tensor
    centroids: Tensor | None

    def __init__(self, n_classes: int, embed_dim: int, centroids: Tensor | None, temperature: float | None) -> None:
        super().__init__()
        self.temperature = temperature
        self.register_buffer("centroids", centroids, persistent=False)
        if centroids is None:
            self.weight = nn.Parameter(torch.randn(n_classes, embed_dim) / embed_dim**0.5)
        else:
            self.weight = nn.Linear(centroids.shape[1], embed_dim, bias=False).weight

    def forward(self, x: Tensor) -> Tensor:
        prototypes = self.weight if self.centroids is None else self.centroids @ self.weight.mT
        return compare(x, prototypes, self.temperature)


def compare(x: Tensor, prototypes: Tensor, temperature: float | None) -> Tensor:
    """x (..., B, E) with prototypes (..., C, E)."""
    if temperature is None:
        return x @ prototypes.mT
    return temperature * (functional.normalize(x, dim=-1) @ functional.normalize(prototypes, dim=-1).mT)


class ContextEncoder(nn.Module):
    """A transformer over the cells of a pair, and one over the pairs of a task."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        d_model = settings.ctx_d_model
        check_heads(ctx_d_model=d_model, ctx_n_head=settings.ctx_n_head)
        self.before, self.after = nn.Embedding(N_COLOURS, d_model), nn.Embedding(N_COLOURS, d_model)
        self.place = Cells(LARGEST, d_model)
        self.pixel_blocks = self.blocks(settings, settings.ctx_pixel_layers)
        self.grid_blocks = self.blocks(settings, settings.ctx_grid_layers)
        self.norm = nn.LayerNorm(d_model)
        self.out = nn.Linear(d_model, settings.embed_dim)
        for parameter in (self.place.line, self.place.column, self.before.weight, self.after.weight):
            nn.init.normal_(parameter, std=0.02)

    @staticmethod
    def blocks(settings: Settings, n_layers: int) -> nn.Sequential:
        d_model, n_heads, dropout = settings.ctx_d_model, settings.ctx_n_head, settings.ctx_dropout
        return nn.Sequential(
            *(Block(d_model=d_model, n_heads=n_heads, d_ff=4 * d_model, dropout=dropout) for _ in range(n_layers))
        )

    def forward(self, grids: Tensor) -> Tensor:  # (B, K, 2, S, S) -> (B, E)
        cells = grids.long().flatten(0, 1)  # (B * K, 2, S, S)
        x = self.place(self.before(cells[:, 0]) + self.after(cells[:, 1]))
        x = self.pixel_blocks(x.flatten(1, 2)).mean(1)  # (B * K, S * S, D) -> (B * K, D)
        x = self.grid_blocks(x.unflatten(0, (-1, N_DEMOS))).mean(1)  # (B, K, D) -> (B, D)
        result: Tensor = self.out(self.norm(x))
        return result


class Classifier(nn.Module):
    def __init__(self, settings: Settings, *, n_classes: int, centroids: Tensor | None = None) -> None:
        """
        Args:
            settings: of the encoder and the head.
            n_classes: C.
            centroids: (C, any width), of which a projection is learned; without them prototypes are.
        """
        super().__init__()
        self.encoder = (ConvolutionEncoder if settings.encoder_type == "cnn" else ContextEncoder)(settings)
        temperature = settings.temperature if settings.use_cosine else None
        self.prototypes = Prototypes(n_classes, settings.embed_dim, centroids, temperature)

    def forward(self, grids: Tensor) -> Tensor:  # (B, K, 2, S, S) -> (B, C)
        x: Tensor = self.encoder(grids)
        # In float32 also under autocast, as the losses and metrics that follow.
        with torch.autocast(x.device.type, enabled=False):
            result: Tensor = self.prototypes(x.float())
            return result
