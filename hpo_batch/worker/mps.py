"""A private MPS daemon for the workers of one array task: their kernels run side by side instead of in turns.

Each task has its own, in a folder of the node: what another user's daemon does, or left behind, is of no concern. Where
it cannot be started the workers share the GPU without it, which is slower and otherwise the same.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.errors import CommandMissing, CommandTimeout

log = logging.getLogger(__name__)

CONTROL: Final = "nvidia-cuda-mps-control"
_START_S: Final = 30.0
_QUIT_S: Final = 30.0
_TEMPORARY: Final = ("SLURM_TMPDIR", "TMPDIR")


@contextlib.contextmanager
def daemon(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """The variables that lead workers to a daemon that runs while the block does; none if it could not be started."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-batch-mps-", dir=_temporary(environ)))
    led = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    env = {**environ, **led}
    try:
        for path in led.values():
            Path(path).mkdir()
        if not _start(env, folder):
            yield {}
            return
        try:
            yield led
        finally:
            _quit(env, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(env: Mapping[str, str], folder: Path) -> bool:
    said = folder / "start.log"  # a file: a daemon may keep a pipe open, whose end we would wait for
    try:
        process = processes.start([CONTROL, "-d"], stdout=said, stderr=said, env=env)
    except CommandMissing:
        log.warning("[job] mps: '%s' is not on this node: the workers share the GPU without MPS", CONTROL)
        return False
    code = processes.wait(process, _START_S)
    if code == 0:
        log.info("MPS daemon started in '%s'", folder)
        return True
    processes.signal_group(process, 9)
    processes.wait(process, _START_S)
    how = f"exit code {code}" if code is not None else f"no answer within {_START_S:g} s"
    words = " ".join(said.read_text(encoding="utf-8", errors="replace").split())[:400]
    log.warning("[job] mps: '%s -d': %s: %s: the workers share the GPU without MPS", CONTROL, how, words or "no words")
    return False


def _quit(env: Mapping[str, str], folder: Path) -> None:
    try:
        done = processes.run([CONTROL], timeout_s=_QUIT_S, env=env, input="quit\n")
    except (CommandMissing, CommandTimeout) as error:
        log.warning("the MPS daemon in '%s' was not stopped: %s", folder, error)
        return
    if done.returncode == 0:
        log.info("MPS daemon stopped")
    else:
        log.warning("the MPS daemon in '%s' was not stopped: %s", folder, (done.stderr or done.stdout).strip())


def _temporary(environ: Mapping[str, str]) -> str:
    """A folder of this node with a short name: the path of a socket in it ends at 107 characters."""
    for name in _TEMPORARY:
        path = environ.get(name, "")
        if path and len(path) < 60 and Path(path).is_dir():
            return path
    return "/tmp"
