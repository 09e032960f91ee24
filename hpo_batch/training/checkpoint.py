"""Checkpoints that survive a kill at any instant and a disk that lies: `epoch-000012.1a2b3c4d.pt`.

The last part of the name is the CRC-32 of the content, so a torn or altered file is known without unpickling it; the
file itself is plain `torch.load` food. The newest two are kept: if one turns out bad, the one before it is used.
One process writes to a directory at a time.

`Checkpoint` keeps the whole state of a training in such files; `save` and `load` are one file.
"""

from __future__ import annotations

import io
import logging
import random
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

import numpy as np
import torch

from hpo_batch.files import write_atomic
from hpo_batch.training import ranks

log = logging.getLogger(__name__)
NAME = re.compile(r"epoch-(\d+)\.[0-9a-f]{8}\.pt")
FORMAT: Final = 1
"""of what `Checkpoint` writes; another number is another layout, which is not read"""
_OURS: Final = ("format", "torch", "identity", "rng", "epoch")


_PLAIN: Final = (bool, int, float, str, bytes, type(None))


class HasState(Protocol):
    """A model, an optimizer, a scheduler, a gradient scaler: whatever has a state to save."""

    def state_dict(self) -> Any: ...
    def load_state_dict(self, state_dict: Any, /) -> Any: ...


Part: TypeAlias = HasState | torch.Generator


class Checkpoint:
    """The whole state of a training, in a directory: what is continued from it gives the numbers of one run.

    Saved are the state of every part, and the generators of random numbers of Python, NumPy and torch (all GPUs). In a
    trial of several ranks (`ranks.join`) call it in each: rank 0 writes and reads for all.

    ```python
    checkpoint = Checkpoint(trial.checkpoint, {**trial.params, "seed": trial.seed}, {"model": model, "optimizer": adam})
    saved = checkpoint.restore() if trial.resumes else None
    for epoch in range(saved["epoch"] + 1 if saved else 1, 51):
        ...
        checkpoint.save(epoch, {"best": best})
    ```
    """

    def __init__(self, directory: Path, identity: Mapping[str, Any], parts: Mapping[str, Part]) -> None:
        """
        Args:
            directory: of this trial alone; made when something is saved. It holds two files at most.
            identity: what the numbers depend on, as plain values: parameters and seed. A checkpoint of something else
                is not continued.
            parts: everything with a state, by name: model, optimizer, scheduler, the generator of the data's order.

        Raises:
            ValueError: a part has a name that the file uses itself.
        """
        _check_names(parts)
        self.directory, self.identity, self.parts = directory, dict(identity), dict(parts)

    def save(self, epoch: int, values: Mapping[str, Any] | None = None) -> Path | None:
        """Write the state after `epoch`, whole or not at all, and `values`: numbers, texts, tensors, dicts of them.

        Returns the file; None in ranks above 0, which write nothing.

        Raises:
            TypeError: something is an object that torch would not load again (`weights_only`), such as a NumPy scalar.
            ValueError: a name is taken.
            OSError: it cannot be written; what was there is still there.
        """
        if ranks.rank() > 0:
            return None
        _check_names(values or {})
        if both := set(self.parts) & set(values or {}):
            raise ValueError(f"names of parts and of values at once: {', '.join(sorted(both))}")
        state = {name: _state_of(part) for name, part in self.parts.items()}
        ours = {"format": FORMAT, "torch": str(torch.__version__), "identity": self.identity, "epoch": epoch}
        content = {**(values or {}), **state, **ours}
        _check_plain(content, "the checkpoint")
        return save(self.directory, epoch, {**content, "rng": _rng()})

    def restore(self) -> dict[str, Any] | None:
        """Bring all parts and generators to the newest valid checkpoint; its `epoch` and the values saved with it.

        None if there is none to continue; parts and generators are then as they were, and a warning says why.
        """
        state = ranks.from_first(load(self.directory) if ranks.rank() == 0 else None)
        if state is None:
            return None
        if why := self._why_not(state):
            log.warning("training from the start: the checkpoint in '%s' is %s", self.directory, why)
            return None
        if state["torch"] != str(torch.__version__):
            log.warning(
                "the checkpoint in '%s' was written by torch %s, and this is torch %s: the numbers may differ from "
                "those of one run",
                self.directory, state["torch"], torch.__version__,
            )  # fmt: skip
        for name, part in self.parts.items():
            _restore(part, state[name])
        _restore_rng(state["rng"])
        return {name: value for name, value in state.items() if name == "epoch" or name not in {*_OURS, *self.parts}}

    def _why_not(self, state: Mapping[str, Any]) -> str | None:
        if state.get("format") != FORMAT:
            return f"of format {state.get('format', 'unknown')}, and this version of hpo-batch reads format {FORMAT}"
        if missing := [name for name in ("identity", "torch", "rng", *self.parts) if name not in state]:
            return f"without {', '.join(missing)}"
        if state["identity"] != self.identity:
            return f"of other parameters or seed ({_difference(state['identity'], self.identity)})"
        model = self.parts.get("model")
        if model is not None and _shapes(_state_of(model)) != _shapes(state["model"]):
            return "of a model of another shape"
        return None


def _check_names(names: Mapping[str, Any]) -> None:
    if taken := [name for name in names if name in _OURS]:
        raise ValueError(f"a checkpoint uses these names itself: {', '.join(taken)}; choose others")


def _check_plain(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, inner in value.items():
            _check_plain(inner, f"{where}[{key!r}]")
    elif isinstance(value, list | tuple):
        for index, inner in enumerate(value):
            _check_plain(inner, f"{where}[{index}]")
    elif type(value) not in _PLAIN and not isinstance(value, torch.Tensor):
        raise TypeError(
            f"{where} is a {type(value).__name__}: save numbers, texts, tensors, and lists or dicts of them"
        )


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    names = sorted(name for name in {*theirs, *ours} if theirs.get(name, _OURS) != ours.get(name, _OURS))
    shown = [f"{name} {theirs.get(name, 'not set')!r} there, {ours.get(name, 'not set')!r} here" for name in names[:3]]
    return "; ".join([*shown, *([f"and {len(names) - 3} more"] if len(names) > 3 else [])])


def _shapes(state: Any) -> dict[str, tuple[int, ...]]:
    values = state.items() if isinstance(state, Mapping) else ()
    return {name: tuple(value.shape) for name, value in values if isinstance(value, torch.Tensor)}


def _state_of(part: Part) -> Any:
    return part.get_state() if isinstance(part, torch.Generator) else part.state_dict()


def _restore(part: Part, state: Any) -> None:
    if isinstance(part, torch.Generator):
        part.set_state(state)
    else:
        part.load_state_dict(state)


def _rng() -> dict[str, Any]:
    version, internal, gauss = random.getstate()
    numpy: dict[str, Any] = np.random.get_state(legacy=False)
    return {
        # As tensors: pickling 1,249 numbers one by one takes as long as a small model.
        "python": [version, torch.tensor(internal), gauss],
        "numpy": {
            **numpy,
            "state": {**numpy["state"], "key": torch.from_numpy(numpy["state"]["key"].astype(np.int64))},
        },
        "torch": torch.get_rng_state(),
        # A GPU that nobody has used has no state to speak of, and asking for it would start CUDA.
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None,  # type: ignore[no-untyped-call]
    }


def _restore_rng(state: Mapping[str, Any]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal.tolist()), gauss))
    numpy = state["numpy"]
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": numpy["state"]["key"].numpy().astype(np.uint32)}})
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


def save(directory: Path, epoch: int, state: dict[str, Any]) -> Path:
    """Write `state` whole or not at all, then remove all but it and the newest of an earlier epoch."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getvalue()
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / _name(epoch, content)
    write_atomic(path, content)
    earlier = [old for number, old in _found(directory) if number < epoch]
    # Later epochs can only be of a run that was given up: kept, they would be taken for the newest.
    for old in {old for _, old in _found(directory)} - {path, *earlier[:1]}:
        old.unlink(missing_ok=True)
    for torn in directory.glob(".epoch-*.tmp"):
        torn.unlink(missing_ok=True)
    return path


def load(directory: Path) -> dict[str, Any] | None:
    """The newest valid checkpoint with its tensors on the CPU, None if there is none. Bad files are removed."""
    for epoch, path in _found(directory):
        content = path.read_bytes()
        if path.name == _name(epoch, content):
            state = _unpacked(path, content)
            if state is not None:
                return state
            continue
        log.warning("checkpoint '%s' of epoch %d is damaged (torn or altered); using the one before it", path, epoch)
        path.unlink(missing_ok=True)
    return None


def _unpacked(path: Path, content: bytes) -> dict[str, Any] | None:
    """What was saved; None if it is no checkpoint, or one that this version of torch cannot read."""
    try:
        state = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # torch raises what its readers of zip and pickle do: EOFError, UnicodeDecodeError, ...
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("torch %s cannot read checkpoint '%s': %s", torch.__version__, path, reason)
        return None
    if not isinstance(state, dict):
        log.warning("'%s' is no checkpoint: it holds a %s", path, type(state).__name__)
        return None
    return state


def _name(epoch: int, content: bytes) -> str:
    return f"epoch-{epoch:06d}.{zlib.crc32(content):08x}.pt"


def _found(directory: Path) -> list[tuple[int, Path]]:
    """Epoch and path of every checkpoint, newest first."""
    if not directory.is_dir():
        return []
    matches = ((NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(((int(match[1]), path) for match, path in matches if match and path.is_file()), reverse=True)
