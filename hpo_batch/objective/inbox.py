"""Collects what a running command reports: steps and results in the metrics file, and results in its output."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from pathlib import Path

from hpo_batch.files import append_text
from hpo_batch.objective.labels import Label, Numbers
from hpo_batch.objective.tail import RESULT, Printed, Tail, parse_metrics, shown_text, size_of
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.variables import REPORTED
from hpo_batch.records import Complete, GivenBack, Outcome
from hpo_batch.store.attempt_folder import STREAMS


class Inbox:
    """Forwards a command's steps to its trial, and keeps its results and unreadable lines.

    Args:
        labels: of the numbers to look for in its output, by metric.
    """

    def __init__(self, trial: Trial, folder: Path, labels: Mapping[str, Label]) -> None:
        self._trial = trial
        self._copy = trial.metrics_file
        self._copy_start = size_of(self._copy)
        self._is_new = size_of(folder / REPORTED) == 0
        self._reports = Tail(folder / REPORTED)
        # both streams: Python's logging writes to stderr, Hydra's configuration of it to stdout
        self.numbers = Numbers(labels)
        self._streams = [Tail(folder / stream, having=(*RESULT, *self.numbers.markers)) for stream in STREAMS]
        self._unread: list[bytes] = []
        self._steps = 0
        self._has_others = False
        """whether a step had values that are not numbers"""
        self._finals = 0
        """number of lines without a step; the last one is the result, and earlier ones are stored nowhere else"""
        self.printed = Printed()
        self.final: dict[str, float] = {}
        """the last line without a step"""
        self.wrong: dict[str, object] = {}
        """values in that line that are not numbers"""
        self.odd: dict[str, object] = {}
        """values in steps that are not numbers, such as null for a missing measurement"""
        self.torn = ""
        """the last line of the metrics file, if it is unreadable"""

    def read(self, *, to_end: bool = False, is_whole: bool = True) -> None:
        """Read new lines.

        Args:
            to_end: read to the end of the files, without the limit per call.
            is_whole: accept a last line without newline, which may be torn if the command was killed.
        """
        for text in self._reports.read(to_end=to_end):
            if text.strip():
                self._take(text)
        for stream in self._streams:
            for text in stream.read(to_end=to_end, unended=is_whole):
                self.printed.take(text)
                if any(marker in text for marker in self.numbers.markers):
                    self.numbers.take(shown_text(text))
        for step, metrics in self.numbers.steps(to_end=to_end):
            self._trial.report(step, metrics)
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
            # validated again there, and stored like a report of a function
            self._trial.report(line.step, line.metrics)

    def is_copied(self, outcome: Outcome | GivenBack) -> bool:
        """Whether all contents of the command's metrics file are also in ours, or in the result."""
        has_more = self._unread or self._reports.dropped or self._has_others or self.wrong or self._finals > 1
        is_in_result = isinstance(outcome, Complete) or not self.final
        # ranks of a trial share the command's file
        if not self._is_new or has_more or not is_in_result or self._trial.world_size > 1:
            return False
        if self._steps == 0:
            return bool(self.final)
        try:
            with self._copy.open("rb") as file:
                file.seek(self._copy_start)
                return sum(1 for _ in file) >= self._steps  # fewer if the disk was full
        except OSError:
            return False

    def mention_unread(self, stderr: Path) -> None:
        """Append a note to stderr if lines of the metrics file were unreadable."""
        count = len(self._unread) + self._reports.dropped
        if not count:
            return
        first = f", the first: {self._unread[0][:200].decode(errors='replace')!r}" if self._unread else ""
        lines = "1 line" if count == 1 else f"{count} lines"
        with contextlib.suppress(OSError):
            append_text(stderr, f"hpo-batch: {lines} of the metrics file could not be read{first}\n")
