"""Train K models of one shape in lockstep: every step is one forward pass, one backward pass and one AdamW for all.

On a GPU the whole step is one CUDA graph: launching kernels is what small models wait for. Nothing in a step depends on
the host, so that a slot can be handed another trial without a new capture: batches, learning rates and whatever else
differs lie in tensors that are written before an epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from hpo_batch.training.fused.masks import epoch_seed
from hpo_batch.training.fused.stack import Decays, Stack

BETAS = 0.9, 0.999
EPS = 1e-8
# by default, inputs evaluated at once, over all models: bounds the memory, not the result
EVAL_INPUTS = 4096
# runs of a step before it is captured, as https://pytorch.org/docs/stable/notes/cuda.html asks for
WARM_UP = 3


Tensors: TypeAlias = Tensor | tuple[Tensor, ...]


def several(x: Any) -> tuple[Any, ...]:
    """One tensor or several as a tuple."""
    return x if isinstance(x, tuple) else (x,)


@dataclass(frozen=True, kw_only=True)
class Task:
    """What a block trains, apart from the models: data and loss, the same for all of its slots."""

    n_train: int
    batch_size: int
    batch: Callable[..., tuple[Tensors, Tensors]]
    """indices (N,) of training samples -> inputs (N, ...) and targets (N, ...)"""
    loss: Callable[[Any, Any, Mapping[str, Tensor]], Tensor]
    """outputs (K, B, ...), targets (K, B, ...), the slots' loss parameters, each (K, 1) -> losses (K, B)"""
    decays: Decays
    """whether weight decay applies to a parameter"""
    drawn: Mapping[str, Tensor] = field(default_factory=dict)
    """what a trial draws anew for each sample of an epoch, by name: one value of it, for its shape and type. `batch`
    then gets the values of its samples, (N, ...), as a second argument"""
    counts: Tensor | None = None
    """(n_train,): how many losses of a sample are summed in its loss; the loss of a step is their mean. Default: 1"""
    is_adam: bool = False
    """whether weight decay is part of the gradient, as in torch.optim.Adam, and not AdamW's"""
    eval_inputs: int = EVAL_INPUTS
    """inputs evaluated at once"""
    autocast: bool = False
    """whether to compute in bfloat16"""

    @property
    def n_steps(self) -> int:
        return -(-self.n_train // self.batch_size)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What a slot does in one epoch."""

    order: Tensor
    """(n_train,): the training samples in the order of this epoch"""
    learning_rates: Sequence[float]
    """one for each step"""
    seed: int
    """of the trial"""
    number: int
    weight_decay: float = 0.0
    grad_clip: float = 0.0
    """largest norm of a slot's gradient; 0: not clipped"""
    loss: Mapping[str, float] | None = None
    """parameters of the loss"""
    drawn: Mapping[str, Tensor] = field(default_factory=dict)
    """see `Task.drawn`: (n_train, ...) each, in the order of this epoch"""


class Block:
    """K slots; a slot without a trial computes along and changes nothing.

    Args:
        task: of all slots.
        model: any model of the block's shape.
        k: number of slots.
        device: to train on.
        loss_names: parameters of the loss.
    """

    def __init__(
        self, task: Task, model: nn.Module, k: int, *, device: torch.device, loss_names: Sequence[str] = ()
    ) -> None:
        self.task = task
        self.k = k
        self.device = device
        self.stack = Stack(model, k, device=device, decays=task.decays)
        steps, size = task.n_steps, task.batch_size
        self._order = torch.zeros(k, steps * size, dtype=torch.long, device=device)
        self._drawn = {
            name: torch.zeros(k, steps * size, *one.shape, dtype=one.dtype, device=device)
            for name, one in task.drawn.items()
        }
        # the last batch is filled up to the size of the others with samples that do not count
        self._is_real = (torch.arange(steps * size, device=device) < task.n_train).float().view(steps, size)
        self._counts = (
            torch.ones(task.n_train, device=device) if task.counts is None else task.counts.to(device).float()
        )
        self._weights = torch.zeros(steps, k, device=device)
        self._losses = torch.zeros(steps, k, device=device)
        self._rates = torch.zeros(k, steps, device=device)
        self._cursor = torch.zeros(1, dtype=torch.long, device=device)
        self._done, self._decay, self._clip = (torch.zeros(k, 1, device=device) for _ in range(3))
        self._of_loss = {name: torch.zeros(k, 1, device=device) for name in loss_names}
        self._clips = False
        self._graph: tuple[tuple[bool, bool], Callable[[], None]] | None = None
        self.stack.measure(*several(task.batch(*self._batch())[0]))

    def train(self, epochs: Sequence[Epoch | None], done: Sequence[int]) -> Tensor:
        """One epoch of every slot; the mean losses of its steps, (K, steps) on the CPU, NaN where they are.

        Args:
            epochs: for each slot; None: the slot is free.
            done: steps of AdamW that each slot's trial has done so far.
        """
        step = self.stepper(epochs, done)
        for _ in range(self.task.n_steps):
            step()
        return self._losses.T.cpu().clone()  # .cpu() of a CPU tensor is the tensor itself

    def stepper(self, epochs: Sequence[Epoch | None], done: Sequence[int] | None = None) -> Callable[[], None]:
        """A function that does one step of every slot; to be called once for each step of an epoch (`train`)."""
        self._prepare(epochs, done or [0] * self.k)
        self.stack.train()
        run = self._ready()

        def step() -> None:
            self.stack.masks.advance()
            run()

        return step

    @torch.no_grad()
    def predict(self, inputs: Tensors) -> Tensor:
        """The outputs of all models, (K, N, ...), for inputs (N, ...); the first, if a model has several."""
        self.stack.eval()
        size = max(1, self.task.eval_inputs // self.k)
        whole = several(inputs)
        parts = []
        with self._autocast():
            for start in range(0, len(whole[0]), size):
                part = [x[start : start + size] for x in whole]
                outputs = self.stack(*(x.expand(self.k, *x.shape).flatten(0, 1) for x in part))
                parts.append(self._apart(several(outputs)[0]))
        return torch.cat(parts, dim=1)

    @property
    def weights(self) -> Tensor:
        """How many losses each step of the last epoch was the mean of, (K, steps)."""
        return self._weights.T.cpu().clone()

    def _prepare(self, epochs: Sequence[Epoch | None], done: Sequence[int]) -> None:
        order = torch.zeros(self._order.shape, dtype=torch.long)
        rates = torch.zeros(self._rates.shape)  # a free slot learns nothing
        numbers = torch.zeros(3, self.k, 1)
        for slot, epoch in enumerate(epochs):
            if epoch is None:
                self.stack.masks.set_rates(slot, ())
                continue
            order[slot, : self.task.n_train] = epoch.order
            for name, drawn in epoch.drawn.items():
                self._drawn[name][slot, : self.task.n_train].copy_(drawn)
            rates[slot] = torch.tensor(epoch.learning_rates)
            numbers[:, slot, 0] = torch.tensor([done[slot], epoch.weight_decay, epoch.grad_clip or float("inf")])
        self._order.copy_(order)
        self._rates.copy_(rates)
        for name, tensor in self._of_loss.items():
            values = [(epoch.loss or {})[name] if epoch is not None else 0.0 for epoch in epochs]
            tensor.copy_(torch.tensor(values).unsqueeze(1))
        for tensor, values in zip((self._done, self._decay, self._clip), numbers, strict=True):
            tensor.copy_(values)
        self._clips = any(epoch is not None and epoch.grad_clip for epoch in epochs)
        self._cursor.zero_()
        self.stack.masks.begin_epoch([0 if epoch is None else epoch_seed(epoch.seed, epoch.number) for epoch in epochs])

    def _batch(self) -> tuple[Any, ...]:
        """Indices of the current step's samples, (K * B,), model by model, and what was drawn for them, if anything."""
        index = self._now(self._order)
        return (index, {name: self._now(values) for name, values in self._drawn.items()}) if self._drawn else (index,)

    def _now(self, values: Tensor) -> Tensor:
        """The current step's part (K * B, ...) of values (K, steps * B, ...)."""
        steps = values.view(self.k, self.task.n_steps, self.task.batch_size, *values.shape[2:])
        return steps.index_select(1, self._cursor).flatten(0, 2)

    def _apart(self, x: Any) -> Any:
        """(K * B, ...) -> (K, B, ...), for every tensor of a tuple"""
        if isinstance(x, tuple):
            return tuple(self._apart(one) for one in x)
        return None if x is None else x.reshape(self.k, -1, *x.shape[1:])

    def _step(self) -> None:
        index, *drawn = self._batch()
        inputs, targets = self.task.batch(index, *drawn)
        is_real = self._is_real.index_select(0, self._cursor)
        self.stack.masks.is_real = is_real.flatten()
        with self._autocast():
            outputs = self.stack(*several(inputs))
        each = self.task.loss(self._apart(outputs), self._apart(targets), self._of_loss)
        weights = (self._apart(self._counts[index]) * is_real).sum(1)
        losses = (each * is_real).sum(1) / weights
        self.stack.backward(losses)
        with torch.no_grad():
            self._losses.index_copy_(0, self._cursor, losses.detach().unsqueeze(0))
            self._weights.index_copy_(0, self._cursor, weights.unsqueeze(0))
            self._clip_gradient()
            self._adamw()
            self._cursor += 1

    def _clip_gradient(self) -> None:
        if self._clips:  # as nn.utils.clip_grad_norm_
            norm = self.stack.gradient.norm(dim=1, keepdim=True)
            self.stack.gradient.mul_((self._clip / (norm + 1e-6)).clamp(max=1.0))

    def _adamw(self) -> None:
        """As torch.optim.AdamW (or Adam), with a learning rate, weight decay and step count for each row."""
        stack, (b1, b2) = self.stack, BETAS
        rate = self._rates.index_select(1, self._cursor)
        self._done += 1
        decayed = stack.rows[:, : stack.n_decayed]
        if self.task.is_adam:
            stack.gradient[:, : stack.n_decayed].addcmul_(decayed, self._decay)
        else:
            decayed.mul_(1 - rate * self._decay)
        stack.mean.lerp_(stack.gradient, 1 - b1)
        stack.square.mul_(b2).addcmul_(stack.gradient, stack.gradient, value=1 - b2)
        root = stack.square.sqrt().mul_((1 - b2**self._done).rsqrt()).add_(EPS)
        stack.rows.sub_((stack.mean / root).mul_(rate / (1 - b1**self._done)))

    def _autocast(self) -> torch.autocast:
        # without its cache, which would keep the weights of the first step in a captured graph
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.task.autocast, cache_enabled=False)

    def _ready(self) -> Callable[[], None]:
        """The step; on a GPU, captured once for as long as the same operations are needed."""
        if self.device.type != "cuda":
            return self._step
        needs = self.stack.masks.is_on, self._clips
        if self._graph is None or self._graph[0] != needs:
            self._graph = None  # frees the memory of the old one first
            self._graph = needs, self._captured()
        return self._graph[1]

    def _captured(self) -> Callable[[], None]:
        """The whole step as one CUDA graph; the runs that a capture needs leave no trace in the state."""
        state = [
            self.stack.rows, self.stack.mean, self.stack.square, self._done, self._cursor, self._losses, self._weights,
            self.stack.statistics,
        ]  # fmt: skip
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream(self.device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step()
                self._cursor.zero_()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._step()
        with torch.no_grad():
            for tensor, value in zip(state, before, strict=True):
                tensor.copy_(value)
        replay: Callable[[], None] = graph.replay
        return replay
