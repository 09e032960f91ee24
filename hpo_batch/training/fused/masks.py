"""Dropout masks of K models, each with its own rate and its own random numbers, drawn ahead of the steps that use them.

A mask of one call of `rand` for all models would depend on who shares the block, and a trial that resumes elsewhere
would get other numbers. So each model has a generator, seeded anew for every epoch. The steps only read what was drawn:
their number of operations does not grow with K, and a CUDA graph of a step needs no generator (graphs that share one do
not reproduce their numbers: https://github.com/pytorch/pytorch/issues/172390).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

# Numbers drawn ahead for a model: 4 MiB. Part of the numbers, since one draw of many is not many draws of one: it must
# not depend on K or on the machine.
AHEAD = 1 << 20


class Masks:
    """The masks of one block.

    A forward pass in training asks for its masks one by one with `next`, always in the same order and shapes. The first
    pass, before `allocate`, only measures them.

    Args:
        k: number of models.
        device: of the masks.
    """

    def __init__(self, k: int, device: torch.device) -> None:
        self.k = k
        self.is_on = False
        """whether any model has a rate above 0; without one there are no masks"""
        self.is_real: Tensor | None = None
        """(B,): 1 for the samples of the current batch, 0 for those that fill it up; None: all are"""
        self._device = device
        self._sizes: list[int] = []
        self._site = 0
        self._rates: list[tuple[float, ...]] = [()] * k
        self._generators = [torch.Generator(device) for _ in range(k)]
        self._ahead: Tensor | None = None
        """(K, S, R): S steps of R numbers"""
        self._current: Tensor | None = None
        """(K, R): of the current step, at one address as CUDA graphs need it"""
        self._at = 0

    def begin(self) -> None:
        """Start a forward pass."""
        self._site = 0

    def next(self, x: Tensor) -> Tensor:
        """The mask for `x` (K * B, ...): 0 with a model's probability, else what keeps the mean."""
        site, self._site = self._site, self._site + 1
        if self._current is None:
            self._sizes.append(x.numel() // self.k)
            return torch.ones((), device=x.device)
        start = sum(self._sizes[:site])
        return self._current[:, start : start + self._sizes[site]].reshape(x.shape)

    def allocate(self) -> None:
        """Make room for the masks that the first pass has measured."""
        numbers = sum(self._sizes)
        if not numbers:
            return
        self._ahead = torch.ones(self.k, max(1, AHEAD // numbers), numbers, device=self._device)
        self._current = torch.ones(self.k, numbers, device=self._device)

    def set_rates(self, slot: int, rates: Sequence[float]) -> None:
        """The rates of a model at every site, in the order of its forward pass; zeros for a slot that is free."""
        self._rates[slot] = tuple(rates)
        self.is_on = any(map(any, self._rates))

    def begin_epoch(self, seeds: Sequence[int]) -> None:
        """Restart the random numbers of each model."""
        for generator, seed in zip(self._generators, seeds, strict=True):
            generator.manual_seed(seed)
        self._at = 0

    def advance(self) -> None:
        """Bring the masks of the next step into place; to be called before each step."""
        if not self.is_on or self._ahead is None or self._current is None:
            return
        at = self._at % self._ahead.shape[1]
        if at == 0:
            for slot in range(self.k):
                self._draw(slot, self._ahead[slot])
        self._current.copy_(self._ahead[:, at])
        self._at += 1

    def _draw(self, slot: int, ahead: Tensor) -> None:
        """Fill (S, R) with one call for each run of sites that share a rate: for most models, one in all."""
        start = 0
        runs: list[tuple[float, int]] = []
        for rate, size in zip(self._rates[slot] or [0.0] * len(self._sizes), self._sizes, strict=True):
            if runs and runs[-1][0] == rate:
                runs[-1] = rate, runs[-1][1] + size
            else:
                runs.append((rate, size))
        for rate, size in runs:
            part = ahead[:, start : start + size]
            if rate > 0:
                part.bernoulli_(1 - rate, generator=self._generators[slot]).mul_(1 / (1 - rate))
            else:
                part.fill_(1.0)
            start += size


def epoch_seed(seed: int, epoch: int) -> int:
    """A seed for the masks of a trial's epoch: far from those of its neighbours in either."""
    return (seed * 0x9E3779B97F4A7C15 + epoch * 0xC2B2AE3D27D4EB4F) % 2**63
