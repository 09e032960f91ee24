"""K trials as one model: equal to each alone, each with its own settings, and none harmed by another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils._python_dispatch import TorchDispatchMode

from hpo_batch.training import ranks
from hpo_batch.training.attention import Attention
from hpo_batch.training.fused.block import Block, Epoch, Task
from hpo_batch.training.fused.layers import LAYERS
from hpo_batch.training.fused.masks import Masks
from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.transformer import Position
from hpo_batch.training.visual.model import Cells, Prototypes

CPU = torch.device("cpu")
RATES = (1e-4, 5e-4, 1e-3, 3e-3)
DECAYS = (0.0, 1e-3, 1e-2, 1e-1)
CLIPS = (0.0, 0.05, 0.5, 0.0)
GAMMAS = (0.0, 1.0, 0.5, 0.2)


class Convolutions(nn.Module):
    """The layers that a transformer lacks."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 4, padding_idx=0)
        self.conv = nn.Conv2d(4, 6, 3, padding=1, stride=2)
        self.norm = nn.GroupNorm(2, 6)
        self.depthwise = nn.Conv2d(6, 6, 3, padding=1, groups=6, bias=False)
        self.scale = nn.Parameter(torch.ones(6))
        self.dropout = nn.Dropout2d(0.2)
        self.head = nn.Linear(6, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:  # (B, 8, 8) of whole numbers
        y = self.norm(self.conv(self.embed(x).permute(0, 3, 1, 2)))
        y = self.dropout(functional.gelu(self.depthwise(y))).mean((2, 3)) * self.scale
        result: Tensor = self.head(y).squeeze(1)
        return result


class Sequences(nn.Module):
    """An encoder that may not look ahead, with a mask for the samples' padding."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(10, 8)
        self.position = Position(8, 8)
        nn.init.normal_(self.position.weight, std=0.1)
        self.qkv = nn.Linear(8, 24)
        self.attention = Attention(0.3)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 1)
        self.register_buffer("ahead", torch.ones(8, 8).tril().bool())

    def forward(self, x: Tensor) -> Tensor:
        x = x[:, 0]
        y = self.position(self.embed(x))
        q, k, v = self.qkv(y).view(len(x), 8, 3, 2, 4).permute(2, 0, 3, 1, 4)
        seen = self.ahead & (x != 9).view(len(x), 1, 1, 8) | torch.eye(8, dtype=torch.bool)
        y = self.norm(y + self.attention(q, k, v, seen).transpose(1, 2).flatten(2))
        result: Tensor = self.head(y).mean((1, 2))
        return result


def patchtst(dropout: float = 0.3) -> nn.Module:
    params = {"d_model": 16, "n_heads": 4, "d_ff_ratio": 2.0, "dropout": dropout}
    return PatchTST(Settings.from_params(params), n_features=8)


def without_dropout(model: nn.Module) -> nn.Module:
    for layer in model.modules():
        if isinstance(layer, nn.Dropout | nn.Dropout2d):
            layer.p = 0.0
        elif isinstance(layer, Attention):
            layer.dropout = 0.0
    return model


def is_decayed(name: str, parameter: Tensor) -> bool:
    return parameter.ndim >= 2 and not name.startswith("position")


def focal(logits: Tensor, labels: Tensor, of: Mapping[str, Any]) -> Tensor:
    plain = functional.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    return (1 - torch.exp(-plain)) ** of["gamma"] * plain


MODELS = {"patchtst": patchtst, "convolutions": Convolutions, "sequences": Sequences}


def data_for(name: str, n: int = 50) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    y = (torch.rand(n, generator=generator) < 0.4).float()
    if name == "patchtst":
        return torch.randn(n, 8, 8, generator=generator) + y.view(-1, 1, 1), y
    return torch.randint(0, 10, (n, 8, 8), generator=generator), y


def task_for(name: str, *, batch_size: int = 8) -> Task:
    x, y = data_for(name)
    return Task(n_train=len(y), batch_size=batch_size, batch=lambda i: (x[i], y[i]), loss=focal, decays=is_decayed)


def epoch_of(slot: int, number: int, task: Task, **values: Any) -> Epoch:
    order = torch.randperm(task.n_train, generator=torch.Generator().manual_seed(100 * slot + number))
    rates = [RATES[slot % 4]] * task.n_steps
    given = {"weight_decay": DECAYS[slot % 4], "loss": {"gamma": GAMMAS[slot % 4]}, **values}
    return Epoch(order=order, learning_rates=rates, seed=slot, number=number, **given)


def make_block(name: str, models: Sequence[nn.Module], task: Task) -> Block:
    block = Block(task, models[0], len(models), device=CPU, loss_names=["gamma"])
    for slot, model in enumerate(models):
        block.stack.put(slot, model)
    return block


def new_models(name: str, count: int) -> list[nn.Module]:
    models = []
    for seed in range(count):
        torch.manual_seed(seed)
        models.append(MODELS[name]())
    return models


def train_alone(model: nn.Module, slot: int, task: Task, epochs: int) -> list[float]:
    """With torch's own AdamW, and the batches as they are: the last one is smaller."""
    named = list(model.named_parameters())
    groups = [
        {"params": [p for n, p in named if is_decayed(n, p)], "weight_decay": DECAYS[slot]},
        {"params": [p for n, p in named if not is_decayed(n, p)], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=RATES[slot])
    losses = []
    for number in range(1, epochs + 1):
        for batch in epoch_of(slot, number, task).order.split(task.batch_size):
            x, y = task.batch(batch)
            loss = focal(model(x), y, {"gamma": GAMMAS[slot]}).mean()
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if CLIPS[slot]:
                nn.utils.clip_grad_norm_(model.parameters(), CLIPS[slot])
            optimizer.step()
            losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", MODELS)
def test_four_trials_together_are_the_four_alone(name: str) -> None:
    task, epochs = task_for(name), 5  # 35 steps
    models = [without_dropout(model) for model in new_models(name, 4)]
    block = make_block(name, models, task)
    together = torch.cat(
        [
            block.train(
                [epoch_of(s, number, task, grad_clip=CLIPS[s]) for s in range(4)], [(number - 1) * task.n_steps] * 4
            )
            for number in range(1, epochs + 1)
        ],
        dim=1,
    )
    alone = torch.tensor([train_alone(model, slot, task, epochs) for slot, model in enumerate(models)])
    assert ((together - alone).abs() / alone).max() < 1e-4
    for slot, model in enumerate(models):
        ours = block.stack.named(block.stack.rows[slot])
        theirs = dict(model.named_parameters())
        # the key's bias changes nothing (softmax does not see it): its gradient is rounding noise, which Adam blows up
        assert all((ours[n] - theirs[n]).norm() < 1e-4 * theirs[n].norm() for n in theirs if not n.endswith("qkv.bias"))
    x, _ = data_for(name)
    predictions = block.predict(x)
    for slot, model in enumerate(models):
        model.eval()
        alone_now = model(x)
        assert (predictions[slot] - alone_now).norm() < 1e-4 * alone_now.norm()


@pytest.mark.parametrize("name", MODELS)
def test_a_slot_that_is_not_a_number_does_not_touch_the_others(name: str) -> None:
    task = task_for(name)
    rows = []
    for breaks in (False, True):
        block = make_block(name, new_models(name, 3), task)
        if breaks:
            block.stack.rows[1].fill_(float("nan"))
        losses = block.train([epoch_of(s, 1, task) for s in range(3)], [0] * 3)
        rows.append(block.stack.rows.clone())
    assert losses[1].isnan().all()
    assert rows[1][1].isnan().all()
    assert torch.equal(rows[0][[0, 2]], rows[1][[0, 2]])


@pytest.mark.parametrize("name", MODELS)
def test_a_trial_with_dropout_gives_the_same_numbers_wherever_it_is(name: str) -> None:
    task = task_for(name)
    first = make_block(name, new_models(name, 4), task)
    first.train([epoch_of(s, 1, task) for s in range(4)], [0] * 4)
    second = make_block(name, new_models(name, 4)[2:3] * 2, task)
    second.train([None, epoch_of(2, 1, task)], [0, 0])
    x, _ = data_for(name)
    assert torch.allclose(first.predict(x)[2], second.predict(x)[1], atol=1e-5)
    assert torch.equal(second.stack.rows[0], make_block(name, new_models(name, 3)[2:], task).stack.rows[0])


def test_a_row_is_all_of_a_trial() -> None:
    task = task_for("patchtst")
    models = [patchtst(0.3) for _ in range(3)]
    block = make_block("patchtst", models, task)
    block.train([epoch_of(s, 1, task) for s in range(3)], [0] * 3)
    saved = block.stack.state(1)
    block.train([epoch_of(s, 2, task) for s in range(3)], [task.n_steps] * 3)
    other = make_block("patchtst", models, task)
    other.stack.set_state(2, saved)
    other.train([None, None, epoch_of(1, 2, task)], [0, 0, task.n_steps])
    assert torch.equal(other.stack.rows[2], block.stack.rows[1])


def test_a_slot_is_refilled_in_place() -> None:
    task = task_for("patchtst")
    models = new_models("patchtst", 3)
    block = make_block("patchtst", models[:2], task)
    block.train([epoch_of(s, 1, task) for s in range(2)], [0, 0])
    block.stack.put(0, models[2])
    block.train([epoch_of(2, 1, task), epoch_of(1, 2, task)], [0, task.n_steps])
    fresh = make_block("patchtst", models[1:], task)
    fresh.train([epoch_of(1, 1, task), epoch_of(2, 1, task)], [0, 0])
    assert torch.allclose(block.stack.rows[0], fresh.stack.rows[1], atol=1e-7)


def test_each_slot_drops_at_its_own_rate() -> None:
    masks = Masks(3, CPU)
    x = torch.ones(3 * 100, 1000)
    masks.next(x)
    masks.allocate()
    rates = (0.1, 0.5, 0.7)
    for slot, rate in enumerate(rates):
        masks.set_rates(slot, [rate])
    masks.begin_epoch([1, 2, 3])
    masks.advance()
    masks.begin()
    kept = masks.next(x).view(3, -1)
    for slot, rate in enumerate(rates):
        assert abs(float((kept[slot] == 0).float().mean()) - rate) < 0.005
        assert abs(float(kept[slot].mean()) - 1) < 0.01
        assert kept[slot].unique().tolist() == pytest.approx([0.0, 1 / (1 - rate)])


def test_masks_differ_from_step_to_step_and_between_slots() -> None:
    masks = Masks(2, CPU)
    x = torch.ones(2 * 64, 4)
    masks.next(x)
    masks.allocate()
    for slot in range(2):
        masks.set_rates(slot, [0.5])
    masks.begin_epoch([1, 2])
    drawn = []
    for _ in range(3):
        masks.advance()
        masks.begin()
        drawn += list(masks.next(x).clone().view(2, -1))
    for i, one in enumerate(drawn):
        assert all(0.3 < float((one == other).float().mean()) < 0.7 for other in drawn[:i])


def test_layers_of_one_model_keep_their_rates_apart() -> None:
    model = nn.Sequential(nn.Linear(4, 64), nn.Dropout(0.5), nn.Linear(64, 1), nn.Flatten(0), nn.Dropout(0.0))
    task = Task(
        n_train=8,
        batch_size=8,
        batch=lambda i: (torch.ones(len(i), 4), torch.ones(len(i))),
        loss=lambda outputs, targets, _: (outputs - targets) ** 2,
        decays=lambda *_: False,
    )
    block = Block(task, model, 2, device=CPU)
    block.stack.put(0, model)
    block.stack.put(1, model)
    assert block.stack.masks._rates == [(0.5, 0.0), (0.5, 0.0)]
    assert block.stack.masks._sizes == [8 * 64, 8]


class Counting(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MODELS)
def test_a_step_takes_as_many_operations_for_many_models_as_for_two(name: str) -> None:
    calls = []
    for k in (2, 12):
        task = task_for(name)
        block = make_block(name, new_models(name, k), task)
        block.train([epoch_of(s, 1, task) for s in range(k)], [0] * k)  # draws the masks ahead
        with Counting() as counting:
            block._cursor.zero_()
            block.stack.masks.advance()
            block._step()
        calls.append(counting.calls)
    assert calls[0] == calls[1]
    assert sum(calls[0].values()) > 50


def test_what_cannot_be_fused_is_said() -> None:
    task = task_for("patchtst")
    for layer, why in (
        (
            nn.BatchNorm2d(3, track_running_stats=False),
            r"layer '1' \(BatchNorm2d\) cannot be fused: it has no running statistics",
        ),
        (nn.LSTM(4, 4), r"layer '1' \(LSTM\) cannot be fused; those that can: Linear, LayerNorm"),
        (nn.Conv2d(3, 3, 3, padding_mode="circular"), "padding_mode = 'circular'"),
        (nn.Embedding(3, 3, max_norm=1.0), "max_norm"),
    ):
        with pytest.raises(ValueError, match=why):
            Block(task, nn.Sequential(nn.Linear(1, 1), layer), 2, device=CPU)


def test_every_layer_that_can_be_fused_is_in_a_model_here() -> None:
    used = {type(layer) for model in MODELS.values() for layer in model().modules()}
    used |= {nn.BatchNorm2d, ranks.BatchNorm2d, Cells, Prototypes}  # in test_fused_visual.py
    assert set(LAYERS) - {nn.BatchNorm1d} == used & set(LAYERS)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_the_captured_step_is_the_step() -> None:
    """On a GPU: the CUDA graph of a step gives what the CPU gives, also after a slot was refilled."""
    device = torch.device("cuda")
    x, y = data_for("patchtst")
    moved = x.to(device), y.to(device)
    task = task_for("patchtst")
    on_gpu = Task(
        n_train=task.n_train, batch_size=8, batch=lambda i: (moved[0][i], moved[1][i]), loss=focal, decays=is_decayed
    )
    torch.backends.cuda.matmul.allow_tf32 = False
    models = [without_dropout(model) for model in new_models("patchtst", 4)]
    rows = []
    for place, its_task in ((CPU, task), (device, on_gpu)):
        block = Block(its_task, models[0], 3, device=place, loss_names=["gamma"])
        for slot in range(3):
            block.stack.put(slot, models[slot])
        block.train([epoch_of(s, 1, its_task) for s in range(3)], [0] * 3)
        block.stack.put(1, models[3])
        block.train([epoch_of(s, 2, its_task) for s in range(3)], [its_task.n_steps, 0, its_task.n_steps])
        rows.append(block.stack.rows.cpu())
    assert ((rows[0] - rows[1]).norm(dim=1) / rows[0].norm(dim=1)).max() < 1e-4
