"""Run several seeds of a trial under one claim, one after the other, each with its own folder and checkpoint.

Results of finished seeds are in the attempt's checkpoint folder, ``seed-1.json`` beside ``seed-1/``. So the next
attempt inherits them like any checkpoint, and an attempt that finished a seed counts as progress.
"""

from __future__ import annotations

import contextlib
import logging
import math
import shutil
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import msgspec

from hpo_batch.errors import StorageError
from hpo_batch.files import decode, make_real_folder, read_regular, write_atomic
from hpo_batch.objective.later_seed import LaterSeed
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.outcome import of_stop
from hpo_batch.objective.trial import Engine, Progress, Trial, end
from hpo_batch.records import Complete, Failed, GivenBack, Outcome, Stopping, Verdict
from hpo_batch.store.attempt_folder import holds_files

log = logging.getLogger(__name__)


class Runs(Protocol):
    def run(self, trial: Trial) -> Outcome | GivenBack: ...


@dataclass(frozen=True, kw_only=True)
class Seeds:
    """The seeds of a claim, and how to run them."""

    seeds: tuple[int, ...]
    engine: Engine
    wanted: Wanted
    checkpoint: Path
    """the attempt's checkpoint folder"""
    first_is_done: Callable[[], None]
    """called when the first seed, the only one whose reports go to the study, is done"""
    keeps: bool = False
    """whether to keep the checkpoints of finished seeds"""

    def run(self, objective: Runs, trial: Trial) -> Outcome | GivenBack:
        """Run the seeds of a trial that have no result yet, and combine all results.

        Only the first seed's reports go to the study, and only the first can be pruned. A seed that fails or is given
        back ends the attempt; finished seeds are not run again.

        Raises:
            StorageError, Superseded: raised by the objective.
        """
        if len(self.seeds) == 1:
            return objective.run(trial)
        done: list[Complete] = []
        for i, seed in enumerate(self.seeds):
            kept = _kept(self.checkpoint / f"seed-{i + 1}.json", seed)
            if kept is not None:
                done.append(kept)
                continue
            why = self.engine.stopping() if i else None
            if why is not None:
                return of_stop(Progress(step=None, metrics={}, stopping=why), wanted=self.wanted)
            of_seed = self._trial(trial, i)
            try:
                ended = objective.run(of_seed)
            finally:
                end(of_seed)
                if i > 0:
                    with contextlib.suppress(OSError):
                        of_seed.dir.rmdir()  # fails if it is not empty: it has output or files of the user
            if isinstance(ended, Failed):
                which = f"seed {i + 1} of {len(self.seeds)} ({seed})"
                return replace(ended, message=f"{which}: {ended.message}")
            if not isinstance(ended, Complete):
                return ended
            if i == 0:
                self.first_is_done()
            if i + 1 < len(self.seeds):  # the last seed's result is recorded with the trial right away
                self._keep(i, ended)
            done.append(ended)
            values = ", ".join(f"{value:.6g}" for value in ended.values)
            log.info("trial %s: seed %s of %s: %s", trial.number, i + 1, len(self.seeds), values)
        return together(done)

    def _trial(self, trial: Trial, i: int) -> Trial:
        """The trial that the objective gets for one of the seeds."""
        checkpoint = self.checkpoint / f"seed-{i + 1}"
        folder = trial.dir if i == 0 else trial.dir / f"seed-{i + 1}"
        try:
            make_real_folder(folder)
        except OSError as error:
            raise StorageError.because(f"cannot make the folder of a seed, '{folder}'", error) from error
        resumes = trial.resumes and holds_files(checkpoint)
        context = replace(trial.context, seed=self.seeds[i], dir=folder, checkpoint=checkpoint, resumes=resumes)
        if i == 0:
            return Trial(context, self.engine)
        return LaterSeed(context, _LaterSeed(self.engine), index=i + 1, attempt_dir=trial.dir)

    def _keep(self, i: int, ended: Complete) -> None:
        """Save a seed's result for later attempts, which then do not need its checkpoint."""
        path = self.checkpoint / f"seed-{i + 1}.json"
        metrics = {name: value if math.isfinite(value) else str(value) for name, value in ended.metrics.items()}
        record = {"seed": self.seeds[i], "values": ended.values, "metrics": metrics}
        try:
            self.checkpoint.mkdir(parents=True, exist_ok=True)
            # no fsync of the folder: if the machine crashes within seconds, running the seed again is acceptable
            write_atomic(path, msgspec.json.encode(record) + b"\n", sync_folder=False)
        except OSError as error:
            log.warning("the result of seed %s is not kept for a next attempt, '%s': %s", i + 1, path, error)
            return
        if not self.keeps:
            shutil.rmtree(self.checkpoint / f"seed-{i + 1}", ignore_errors=True)


class _LaterSeed:
    """The engine of all seeds but the first: reports only show that the attempt is alive."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def take_report(self, step: int, metrics: Mapping[str, float]) -> Verdict:
        return self._engine.take_report(step, {})

    def stopping(self) -> Stopping | None:
        return self._engine.stopping()


def together(done: Sequence[Complete]) -> Complete:
    """Combine the outcomes of a trial's seeds: their means, and the metrics of each."""
    names = dict.fromkeys(name for one in done for name in one.metrics)
    values = tuple(statistics.mean(column) for column in zip(*(one.values for one in done), strict=True))
    metrics = {name: statistics.mean([one.metrics[name] for one in done if name in one.metrics]) for name in names}
    return Complete(values=values, metrics=metrics, replicates=tuple(dict(one.metrics) for one in done))


class _SeedFile(msgspec.Struct):
    seed: int
    values: tuple[float, ...]
    metrics: dict[str, float | str]


def _kept(path: Path, seed: int) -> Complete | None:
    """The result of a seed that an earlier attempt finished; None if there is no readable one."""
    try:
        file = decode(read_regular(path), _SeedFile)
    except (OSError, ValueError):
        return None
    metrics = {name: float(value) for name, value in file.metrics.items()}
    return Complete(values=file.values, metrics=metrics) if file.seed == seed else None
