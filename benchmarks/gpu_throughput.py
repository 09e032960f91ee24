"""How many trials per hour does one device give, for the models of the documents, and how?

    .venv/bin/python benchmarks/gpu_throughput.py --out build/gpu.json                 # on a GPU: all shapes and modes
    .venv/bin/python benchmarks/gpu_throughput.py --bf16 --compile --modes eager fused  # in bfloat16, compiled
    .venv/bin/python benchmarks/gpu_throughput.py --whole              # whole trials of our trainer: alone and fused

Without a GPU it runs a small shape on the CPU. That shows that it works and says nothing of a GPU: a figure of a GPU is
one that was measured on it. Every row is measured in this run: steps of one model per second, with 105 features, 9
tokens and 7,190 windows as in the documents; a trial has 50 epochs. Reports, metrics and checkpoints are in `--whole`
only.

  seeds     as the documents' code: a DataLoader on the CPU, attention with its weights, `loss.item()` at every step
  eager     as our trainer: data on the device, SDPA, fused AdamW, no waiting for the device
  graph     the same, with the whole step as one CUDA graph
  streams   k such graphs on k streams of one process
  procs     k processes of `eager` on the device; mps: under an MPS daemon of their own
  fused     K models as one (`hpo_batch.training.fused`); on a GPU as one CUDA graph
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from hpo_batch.training.fused.block import Block, Epoch, Task
from hpo_batch.training.patchtst.model import PatchTST
from hpo_batch.training.patchtst.settings import Settings
from hpo_batch.training.patchtst.train import train, train_many

FEATURES, DAYS, CONTEXT, WINDOWS, EPOCHS = 105, 8022, 80, 7190, 50
SHAPES = {  # d_model, layers, heads, feed-forward ratio, batch size
    "d16 L2": (16, 2, 4, 2.0, 8),
    "d32 L2": (32, 2, 4, 2.0, 128),
    "d64 L4": (64, 4, 8, 2.0, 128),
    "d128 L6": (128, 6, 8, 4.0, 64),
    "d256 L8": (256, 8, 8, 4.0, 32),
}
MODES = ("seeds", "eager", "graph", "streams", "procs", "mps", "fused")
DROPOUT = 0.3
Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Row:
    shape: str
    mode: str
    k: int
    model_steps_per_s: float = 0.0
    s_per_trial: float = 0.0
    trials_per_hour: float = 0.0
    prepare_s: float = 0.0
    """before the first step: building, capturing, compiling"""
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Bench:
    device: torch.device
    seconds: float
    bf16: bool
    compile: bool

    def settings(self, shape: str) -> Settings:
        d_model, n_layers, n_heads, ratio, batch_size = SHAPES[shape]
        return Settings.from_params(
            {
                "data": "random",
                "context": CONTEXT,
                "patch_len": 16,
                "stride": 8,
                "d_model": d_model,
                "n_layers": n_layers,
                "n_heads": n_heads,
                "d_ff_ratio": ratio,
                "batch_size": batch_size,
                "dropout": DROPOUT,
            }
        )

    def data(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Windows (7190, 80, 105), views of one series, and labels."""
        generator = torch.Generator().manual_seed(0)
        series = torch.randn(DAYS, FEATURES, generator=generator).to(device)
        labels = (torch.rand(WINDOWS, generator=generator) < 0.2).float().to(device)
        return series.unfold(0, CONTEXT, 1).transpose(1, 2)[:WINDOWS], labels

    def model(self, shape: str) -> nn.Module:
        return PatchTST(self.settings(shape), n_features=FEATURES).to(self.device).train()

    def sync(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16, cache_enabled=False)

    def rate(self, step: Step) -> float:
        """Steps per second, after three."""
        for _ in range(3):
            step()
        self.sync()
        count, began = 0, time.perf_counter()
        while (taken := time.perf_counter() - began) < self.seconds:
            for _ in range(max(1, count)):  # twice as many each time, so that waiting for the device costs nothing
                step()
            self.sync()
            count += max(1, count)
        return count / taken


class SeedsAttention(nn.Module):
    """`nn.MultiheadAttention` that returns its weights, in the place of our attention."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(d_model, n_heads, dropout=DROPOUT, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        result: Tensor = self.attention(x, x, x, need_weights=True)[0]
        return result


def seeds(bench: Bench, shape: str) -> Step:
    """As the documents' own code, https://github.com/J0nd1sk/financial_ts_scaling, trains."""
    d_model, _, n_heads, _, size = SHAPES[shape]
    model = bench.model(shape)
    for block in model.blocks:  # type: ignore[union-attr]
        block.attend = SeedsAttention(d_model, n_heads).to(bench.device)  # type: ignore[union-attr, assignment]
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, weight_decay=1e-3)
    x, y = bench.data(torch.device("cpu"))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=size, shuffle=True)
    batches = iter(loader)

    def step() -> None:
        nonlocal batches
        if (batch := next(batches, None)) is None:
            batches = iter(loader)
            batch = next(batches)
        inputs, labels = (part.to(bench.device) for part in batch)
        optimizer.zero_grad()
        loss = functional.binary_cross_entropy(torch.sigmoid(model(inputs)), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        loss.item()

    return step


def eager(bench: Bench, shape: str, *, for_graph: bool = False) -> Step:
    model, size = bench.model(shape), SHAPES[shape][-1]
    on_gpu = bench.device.type == "cuda"
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True, capturable=on_gpu and for_graph)
    x, y = bench.data(bench.device)
    forward = torch.compile(model) if bench.compile else model

    def step() -> None:
        batch = torch.randint(WINDOWS, (size,), device=bench.device)
        with bench.autocast():
            logits = forward(x[batch])
        loss = functional.binary_cross_entropy_with_logits(logits.float(), y[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def graph(bench: Bench, shape: str) -> Step:
    step = eager(bench, shape, for_graph=True)
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.synchronize()
    captured = torch.cuda.CUDAGraph()
    with torch.cuda.graph(captured):
        step()
    replay: Step = captured.replay
    return replay


def streams(bench: Bench, shape: str, k: int) -> Step:
    steps = [graph(bench, shape) for _ in range(k)]
    lanes = [torch.cuda.Stream() for _ in range(k)]  # type: ignore[no-untyped-call]

    def step() -> None:
        for one, lane in zip(steps, lanes, strict=True):
            with torch.cuda.stream(lane):
                one()

    return step


def fused(bench: Bench, shape: str, k: int) -> Step:
    x, y = bench.data(bench.device)
    task = Task(
        n_train=WINDOWS,
        batch_size=SHAPES[shape][-1],
        batch=lambda index: (x[index], y[index]),
        loss=lambda logits, labels, _: functional.binary_cross_entropy_with_logits(
            logits.float(), labels, reduction="none"
        ),
        decays=lambda name, parameter: parameter.ndim >= 2 and name != "position",
        autocast=bench.bf16,
    )
    model = bench.model(shape)
    block = Block(task, model, k, device=bench.device)
    for slot in range(k):
        block.stack.put(slot, model)
    if bench.compile:
        block.stack.model = torch.compile(block.stack.model)  # type: ignore[assignment]
    order = torch.randperm(WINDOWS)
    rates = [1e-4] * task.n_steps
    epochs = [Epoch(order=order, learning_rates=rates, seed=slot, number=1, weight_decay=1e-3) for slot in range(k)]
    run, left = block.stepper(epochs), task.n_steps

    def step() -> None:
        nonlocal run, left
        if not left:
            run, left = block.stepper(epochs), task.n_steps
        run()
        left -= 1

    return step


def procs(bench: Bench, shape: str, k: int, env: dict[str, str] | None = None) -> float:
    """Steps per second of k processes together, each over the same seconds."""
    words = [sys.executable, __file__, "--child", "--shapes", shape, "--seconds", str(max(4.0, bench.seconds))]
    words += ["--bf16"] * bench.bf16
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        place = {**os.environ, **(env or {}), "MEET": folder, "OMP_NUM_THREADS": "1"}
        children = [subprocess.Popen(words, env=place, stdout=subprocess.PIPE, text=True) for _ in range(k)]
        for child in children:
            stack.callback(child.kill)
        while len(list(Path(folder).iterdir())) < k:
            if any(child.poll() is not None for child in children):
                raise RuntimeError("a process ended before all were ready")
            time.sleep(0.05)
        (Path(folder) / "go").touch()
        return sum(float(child.communicate(timeout=300)[0]) for child in children)


def child(bench: Bench, shape: str) -> None:
    step = eager(bench, shape)
    step()
    bench.sync()
    folder = Path(os.environ["MEET"])
    (folder / str(os.getpid())).touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    print(bench.rate(step))


@contextlib.contextmanager
def mps() -> Iterator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        env = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        control = "nvidia-cuda-mps-control"
        subprocess.run([control, "-d"], env={**os.environ, **env}, check=True, timeout=20)
        try:
            yield env
        finally:
            subprocess.run([control], input="quit\n", text=True, env={**os.environ, **env}, timeout=30, check=False)


def measure(bench: Bench, shape: str, mode: str, k: int) -> Row:
    """One row; a mode that fails says so in it."""
    began = time.perf_counter()
    prepared = 0.0
    try:
        if mode == "procs":
            rate = procs(bench, shape, k)
        elif mode == "mps":
            with mps() as env:
                rate = procs(bench, shape, k, env)
        else:
            makers: dict[str, Callable[[], Step]] = {
                "seeds": lambda: seeds(bench, shape),
                "eager": lambda: eager(bench, shape),
                "graph": lambda: graph(bench, shape),
                "streams": lambda: streams(bench, shape, k),
                "fused": lambda: fused(bench, shape, k),
            }
            step = makers[mode]()
            step()
            bench.sync()
            prepared = time.perf_counter() - began
            rate = bench.rate(step) * (k if mode in ("streams", "fused") else 1)
    except (RuntimeError, subprocess.SubprocessError, OSError) as error:
        return Row(shape=shape, mode=mode, k=k, error=f"{type(error).__name__}: {str(error)[:200]}")
    steps = math.ceil(WINDOWS / SHAPES[shape][-1]) * EPOCHS
    return Row(
        shape=shape,
        mode=mode,
        k=k,
        model_steps_per_s=rate,
        s_per_trial=steps / rate,
        trials_per_hour=3600 * rate / steps,
        prepare_s=prepared,
    )


def plan(bench: Bench, modes: Sequence[str], ks: Sequence[int]) -> list[tuple[str, int]]:
    """The modes that this device has, each with its numbers of models."""
    on_gpu = bench.device.type == "cuda"
    rows: list[tuple[str, int]] = []
    for mode in modes:
        if mode in ("graph", "streams", "mps") and not on_gpu:
            continue
        if mode == "mps" and shutil.which("nvidia-cuda-mps-control") is None:
            continue
        numbers = {"streams": (4, 16), "procs": (2, 4, 8) if on_gpu else (2,), "mps": (2, 4, 8), "fused": tuple(ks)}
        rows += [(mode, k) for k in numbers.get(mode, (1,))]
    return rows


class WholeTrial:
    """A trial of our trainer outside a study, on scikit-learn's digits."""

    attempt, resumes, cpus, deadline = 1, False, 1, None

    def __init__(self, number: int, folder: Path, params: dict[str, Any], device: str) -> None:
        self.number = self.seed = number
        self.checkpoint = folder / str(number)
        self.params = params
        self.device = device
        self.reports: list[dict[str, float]] = []

    def report(self, step: int, **metrics: float) -> None:
        self.reports.append(metrics)

    def should_stop(self) -> bool:
        return False


class WholeTrials:
    cpus = 1

    def __init__(self, trials: list[WholeTrial], device: str) -> None:
        self.waiting, self.device, self.done = trials, device, 0

    def take(self, at_most: int | None = None) -> list[WholeTrial]:
        taken, self.waiting = self.waiting, []
        return taken

    def end(self, trial: WholeTrial, result: object) -> None:
        assert isinstance(result, dict), result
        self.done += 1


def whole(bench: Bench, k: int, *, epochs: int, turns: int) -> None:
    """Trials per hour of whole trials, one after another and together, in turns: metrics and checkpoints included."""
    params = {"d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff_ratio": 2.0, "batch_size": 8, "epochs": epochs}
    print(f"\nwhole trials: d16 L2, batch 8, digits, {epochs} epochs, K = {k}, one thread\n")
    print(
        "turn | alone: s of wall, of CPU | fused: s of wall, of CPU | trials per hour, wall | CPU\n---|---|---|---|---"
    )
    for turn in range(1, turns + 1):
        took = []
        for together in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                trials = [
                    WholeTrial(
                        number,
                        Path(folder),
                        {**params, "learning_rate": 1e-3 * (1 + number), "dropout": number / 40},
                        bench.device.type,
                    )
                    for number in range(k)
                ]
                began = time.perf_counter(), time.process_time()
                if together:
                    train_many(WholeTrials(trials, bench.device.type))
                else:
                    for trial in trials:
                        train(trial)
                took.append((time.perf_counter() - began[0], time.process_time() - began[1]))
        (wall, cpu), (wall_fused, cpu_fused) = took
        print(
            f"{turn} | {wall:.1f}, {cpu:.1f} | {wall_fused:.1f}, {cpu_fused:.1f} | {wall / wall_fused:.1f} times | "
            f"{cpu / cpu_fused:.1f} times",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="JSON with all rows, rewritten after each")
    parser.add_argument("--shapes", nargs="+", choices=SHAPES)
    parser.add_argument("--modes", nargs="+", choices=MODES, default=MODES)
    parser.add_argument("-k", type=int, nargs="+", help="fused models; default: 16 64 128, on a CPU 16")
    parser.add_argument("--seconds", type=float, default=2.0, help="of a measurement")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--whole", action="store_true", help="only whole trials of our trainer")
    parser.add_argument("--epochs", type=int, default=5, help="of a whole trial")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    on_gpu = torch.cuda.is_available()
    torch.set_num_threads(1)  # launching is what costs; more threads than cores make small models slower
    torch.backends.cuda.matmul.allow_tf32 = True
    bench = Bench(
        device=torch.device("cuda" if on_gpu else "cpu"), seconds=given.seconds, bf16=given.bf16, compile=given.compile
    )
    if given.child:
        child(bench, given.shapes[0])
        return
    card = torch.cuda.get_device_name() if on_gpu else f"CPU ({platform.machine()}), no GPU: its figures are open"
    print(f"{card}, torch {torch.__version__}, {date.today().isoformat()}, one thread"
          f"{', bf16' if given.bf16 else ''}{', compiled' if given.compile else ''}\n")  # fmt: skip
    if given.whole:
        whole(bench, (given.k or [16])[0], epochs=given.epochs, turns=given.turns)
        return
    shapes = given.shapes or (list(SHAPES)[1:] if on_gpu else ["d16 L2"])
    rows: list[Row] = []
    print("shape | mode | K | model steps/s | s per trial | trials per hour | times eager | s to prepare")
    print("---|---|---|---|---|---|---|---")
    for shape in shapes:
        one_eager = math.nan
        for mode, k in plan(bench, given.modes, given.k or ([16, 64, 128] if on_gpu else [16])):
            row = measure(bench, shape, mode, k)
            rows.append(row)
            if mode == "eager":
                one_eager = row.trials_per_hour
            print(
                f"{shape} | {mode} | {k} | {row.error}" if row.error else
                f"{shape} | {mode} | {k} | {row.model_steps_per_s:,.0f} | {row.s_per_trial:.2f} | "
                f"{row.trials_per_hour:,.0f} | {row.trials_per_hour / one_eager:.1f} | {row.prepare_s:.1f}",
                flush=True,
            )  # fmt: skip
            if given.out is not None:
                given.out.parent.mkdir(parents=True, exist_ok=True)
                facts = {"device": card, "torch": torch.__version__, "date": date.today().isoformat()}
                facts |= {"bf16": given.bf16, "compile": given.compile}
                given.out.write_text(json.dumps({**facts, "rows": [asdict(one) for one in rows]}, indent=1) + "\n")


if __name__ == "__main__":
    main()
