"""One trial in several processes, its ranks: each trains its part of every batch, and together they are one trial.

A trainer calls `join` at its start, `wrap`s its model, takes its `part` of a batch, and predicts `in_parts`; `loop` and
`checkpoint` do the rest. All that counts comes out as in one process: the order of samples, the gradient of a batch,
metrics, the best epoch. A trial of one process passes through here unchanged.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hpo_batch.objective.small_models import why_no_gain

log = logging.getLogger(__name__)
T = TypeVar("T")


class Trial(Protocol):
    """What is used of `hpo_batch.Trial`."""

    @property
    def device(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def world_size(self) -> int: ...
    @property
    def local_rank(self) -> int: ...


def join(trial: Trial) -> None:
    """Meet the other ranks of the trial, each on its own GPU or with its own CPUs; call it before anything else.

    The process group is torch's default one; hpo-batch destroys it after the trial.
    """
    if trial.world_size == 1:
        return
    is_cuda = trial.device == "cuda" and torch.cuda.is_available()  # without a GPU, `choose_device` says so
    if is_cuda:
        # a task that sees its own GPU alone calls it 0
        torch.cuda.set_device(trial.local_rank % torch.cuda.device_count())
    if not dist.is_initialized():
        dist.init_process_group("nccl" if is_cuda else "gloo", rank=trial.rank, world_size=trial.world_size)
    log.info("rank %d of %d: each trains its part of every batch", trial.rank, trial.world_size)


def rank() -> int:
    return dist.get_rank() if _is_shared() else 0


def world_size() -> int:
    return dist.get_world_size() if _is_shared() else 1


def _is_shared() -> bool:
    return dist.is_available() and dist.is_initialized()


def wrap(model: nn.Module) -> nn.Module:
    """The model to call in training: torch's DistributedDataParallel around it, or itself in a trial of one rank.

    Weights, optimizer and checkpoint stay those of `model`, on the device where it is. Batch norms keep statistics of
    each rank's own part unless they are those of this module.
    """
    if world_size() == 1:
        return model
    n_params = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if rank() == 0 and (warning := why_no_gain(n_params, ranks=world_size())):
        log.warning("%s", warning)
    device = next(model.parameters()).device
    return nn.parallel.DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)


def part(count: int) -> slice:
    """Which of `count` samples are this rank's. Where there are fewer than ranks, all ranks compute all of them."""
    ranks, own = world_size(), rank()
    return slice(count * own // ranks, count * (own + 1) // ranks) if count >= ranks else slice(0, count)


def repeats(count: int) -> int:
    """How many ranks compute each of `count` samples."""
    return 1 if count >= world_size() else world_size()


def in_parts(count: int, size: int, predict: Callable[[slice], Tensor]) -> Tensor:
    """The predictions of `count` samples, in their order, in every rank: each predicts its part, `size` at a time.

    Args:
        count: samples.
        size: bounds the memory, not the result.
        predict: the predictions (M, ...) of some samples; M need not be their number.
    """
    own = part(count)
    starts = range(own.start, own.stop, size)
    found = torch.cat([predict(slice(start, min(start + size, own.stop))) for start in starts])
    return _gathered(found) if repeats(count) == 1 else found


def _gathered(own: Tensor) -> Tensor:
    """The rows of all ranks, in the order of ranks."""
    if world_size() == 1:
        return own
    lengths = [torch.zeros(1, dtype=torch.long, device=own.device) for _ in range(world_size())]
    dist.all_gather(lengths, torch.tensor([len(own)], device=own.device))
    counts = [int(length) for length in lengths]
    padded = own.new_zeros(max(counts), *own.shape[1:])
    padded[: len(own)] = own
    every = [torch.empty_like(padded) for _ in counts]
    dist.all_gather(every, padded)
    return torch.cat([rows[:count] for rows, count in zip(every, counts, strict=True)])


def weighted(loss: Tensor, weight: float) -> Tensor:
    """The loss of this rank's part of a batch, scaled so that the mean gradient of all ranks is that of the batch.

    Args:
        loss: a mean over the part.
        weight: how many samples, or labels, it is a mean of.
    """
    if world_size() == 1:
        return loss
    total = torch.tensor(float(weight), device=loss.device)
    dist.all_reduce(total)
    return loss * (weight * world_size() / total)


def over_all(losses: Tensor, weights: Sequence[float]) -> tuple[list[float], list[float]]:
    """The mean losses of whole batches, and what they are means of, from those of each rank's parts (steps,)."""
    if world_size() == 1:
        return losses.tolist(), list(weights)
    counts = torch.tensor(weights, dtype=torch.double, device=losses.device)
    sums = torch.stack([losses.double() * counts, counts])
    dist.all_reduce(sums)
    return (sums[0] / sums[1]).tolist(), sums[1].tolist()


def from_first(value: T) -> T:
    """Rank 0's value, in every rank: decided once, although GPUs round differently and disks lag behind."""
    if world_size() == 1:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0)
    return values[0]


def seed_masks(seed: int, epoch: int) -> None:
    """Give every rank dropout masks of its own.

    Rank 0 draws on from where it is, which its checkpoint holds. The others begin anew in each epoch: so there is
    nothing of theirs to save.
    """
    if rank() > 0:
        (mixed,) = np.random.SeedSequence((seed, epoch, rank())).generate_state(1, np.uint64)
        torch.manual_seed(int(mixed))


class _Sum(torch.autograd.Function):
    """The sum over ranks, of which every rank's loss depends on every rank's summand."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        (grad,) = grads
        grad = grad.clone()
        dist.all_reduce(grad)
        return grad


class BatchNorm2d(nn.BatchNorm2d):
    """torch's, with the statistics of the whole batch, not of this rank's part. `nn.SyncBatchNorm` needs a GPU."""

    def forward(self, x: Tensor) -> Tensor:  # (N, C, H, W)
        if not self.training or world_size() == 1:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        total: Callable[[Tensor], Tensor] = _Sum.apply
        x32 = x.float()  # as torch's own under autocast
        count = total(x32.new_tensor(float(x.numel() // x.shape[1])))
        mean = total(x32.sum((0, 2, 3))) / count
        centred = x32 - mean[:, None, None]
        var = total(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(var * count / (count - 1), self.momentum)
        scale = self.weight * (var + self.eps).rsqrt()
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)
