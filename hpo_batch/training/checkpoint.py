"""Checkpoints that survive a kill at any instant and a disk that lies: `epoch-000012.1a2b3c4d.pt`.

The last part of the name is the CRC-32 of the content, so a torn or altered file is known without unpickling it; the
file itself is plain `torch.load` food. The newest two are kept: if one turns out bad, the one before it is used.
One process writes to a directory at a time.
"""

from __future__ import annotations

import io
import logging
import re
import zlib
from pathlib import Path
from typing import Any

import torch

from hpo_batch.files import write_atomic

log = logging.getLogger(__name__)
NAME = re.compile(r"epoch-(\d+)\.[0-9a-f]{8}\.pt")


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
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            return state
        log.warning("checkpoint '%s' of epoch %d is damaged; using the one before it", path, epoch)
        path.unlink(missing_ok=True)
    return None


def _name(epoch: int, content: bytes) -> str:
    return f"epoch-{epoch:06d}.{zlib.crc32(content):08x}.pt"


def _found(directory: Path) -> list[tuple[int, Path]]:
    """Epoch and path of every checkpoint, newest first."""
    if not directory.is_dir():
        return []
    matches = ((NAME.fullmatch(path.name), path) for path in directory.iterdir())
    return sorted(((int(match[1]), path) for match, path in matches if match), reverse=True)
