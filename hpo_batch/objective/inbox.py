"""What a running command says of itself: steps in the metrics file, results there and on its output."""

from __future__ import annotations

import contextlib
from pathlib import Path

from hpo_batch.files import append_text
from hpo_batch.objective.tail import RESULT, Printed, Tail, parse_metrics, size_of
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.variables import REPORTED
from hpo_batch.records import Complete, GivenBack, Outcome
from hpo_batch.store.attempt_folder import STREAMS


class Inbox:
    """Passes the steps of a command on to its trial, and keeps what is no step, or could not be read."""

    def __init__(self, trial: Trial, folder: Path) -> None:
        self._trial = trial
        self._copy = trial.metrics_file
        self._copy_start = size_of(self._copy)
        self._is_new = size_of(folder / REPORTED) == 0
        self._reports = Tail(folder / REPORTED)
        # both streams: Python's logging writes to stderr, Hydra's to stdout
        self._streams = [Tail(folder / stream, having=RESULT) for stream in STREAMS]
        self._unread: list[bytes] = []
        self._steps = 0
        self._has_others = False
        """whether a step held more than numbers"""
        self._finals = 0
        """lines without a step: the last one is the result, and those before it are kept nowhere else"""
        self.printed = Printed()
        self.final: dict[str, float] = {}
        """the last line without a step"""
        self.wrong: dict[str, object] = {}
        """what that line held beside numbers"""
        self.odd: dict[str, object] = {}
        """what steps held beside numbers: null, where nothing was measured"""
        self.torn = ""
        """the last line of the metrics file, if it could not be read"""

    def read(self, *, to_end: bool = False, is_whole: bool = True) -> None:
        """Read what is new.

        Args:
            to_end: all of it, rather than as much as one look may take.
            is_whole: whether a last line without its newline counts: a command that was killed may have torn it.
        """
        for text in self._reports.read(to_end=to_end):
            if text.strip():
                self._take(text)
        for stream in self._streams:
            for text in stream.read(to_end=to_end, unended=is_whole):
                self.printed.take(text)
        if any(stream.dropped_having for stream in self._streams):
            self.printed.unread = "(a line of more than a megabyte with RESULT in it)"

    def _take(self, text: bytes) -> None:
        line = parse_metrics(text)
        self.torn = "" if line is not None else text[:200].decode(errors="replace")
        if line is None:
            self._unread.append(text)
        elif line.step is None:
            self._finals += 1
            self.final, self.wrong = line.metrics, line.others
        else:
            self.odd = {**self.odd, **line.others}
            self._has_others = self._has_others or bool(line.others)
            self._steps += 1
            self._trial.report(line.step, line.metrics)

    def is_copied(self, outcome: Outcome | GivenBack) -> bool:
        """Whether everything in the command's metrics file is also in ours, or in the result."""
        has_more = self._unread or self._reports.dropped or self._has_others or self.wrong or self._finals > 1
        is_in_result = isinstance(outcome, Complete) or not self.final
        # the ranks of one trial share the command's file
        if not self._is_new or has_more or not is_in_result or self._trial.world_size > 1:
            return False
        if self._steps == 0:
            return bool(self.final)
        try:
            with self._copy.open("rb") as file:
                file.seek(self._copy_start)
                return sum(1 for _ in file) >= self._steps  # fewer: the disk was full
        except OSError:
            return False

    def mention_unread(self, stderr: Path) -> None:
        """Say once, where users look first, that lines of the metrics file were left out."""
        count = len(self._unread) + self._reports.dropped
        if not count:
            return
        first = f", the first: {self._unread[0][:200].decode(errors='replace')!r}" if self._unread else ""
        lines = "1 line" if count == 1 else f"{count} lines"
        with contextlib.suppress(OSError):
            append_text(stderr, f"hpo-batch: {lines} of the metrics file could not be read{first}\n")
