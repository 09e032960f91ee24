"""A private MPS daemon for the workers of one array task, so that their kernels run concurrently.

Without MPS, kernels of several processes take turns on the GPU (https://docs.nvidia.com/deploy/mps/index.html). Each
task has its own daemon in a folder of the node, independent of daemons of other users. If it cannot start, the workers
share the GPU without it, which is slower but otherwise the same.
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
    """Run a daemon for the length of the block; yields the variables for its workers, or none if it cannot start."""
    folder = Path(tempfile.mkdtemp(prefix="hpo-batch-mps-", dir=_temporary(environ)))
    variables = {"CUDA_MPS_PIPE_DIRECTORY": str(folder / "pipe"), "CUDA_MPS_LOG_DIRECTORY": str(folder / "log")}
    env = {**environ, **variables}
    try:
        for path in variables.values():
            Path(path).mkdir()
        if not _start(env, folder):
            yield {}
            return
        try:
            yield variables
        finally:
            _quit(env, folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _start(env: Mapping[str, str], folder: Path) -> bool:
    output = folder / "start.log"  # not a pipe, which the daemon may keep open, so that we would wait for its end
    try:
        process = processes.start([CONTROL, "-d"], stdout=output, stderr=output, env=env)
    except CommandMissing:
        log.warning("[job] mps: '%s' is not installed on this node: workers share the GPU without MPS", CONTROL)
        return False
    code = processes.wait(process, _START_S)
    if code == 0:
        log.info("MPS daemon started in '%s'", folder)
        return True
    processes.signal_group(process, 9)
    processes.wait(process, _START_S)
    how = f"exit code {code}" if code is not None else f"no answer within {_START_S:g} s"
    words = " ".join(output.read_text(encoding="utf-8", errors="replace").split())[:400]
    log.warning("[job] mps: '%s -d': %s: %s: workers share the GPU without MPS", CONTROL, how, words or "no output")
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
    """A folder of this node with a short path: a Unix socket's path has at most 107 characters.

    https://man7.org/linux/man-pages/man7/unix.7.html
    """
    for name in _TEMPORARY:
        path = environ.get(name, "")
        if path and len(path) < 60 and Path(path).is_dir():
            return path
    return "/tmp"
