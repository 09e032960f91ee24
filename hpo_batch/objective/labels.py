"""Finds the numbers that a command prints, by the text around them: ``[objective] printed``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from hpo_batch.errors import UserError

_DIGITS: Final = 3
"""significant digits of the counts that are kept of many steps: all up to 1,000, then every 10th, from 10,000 on every
100th. A script that counts batches would otherwise fill the journal: 200,000 steps took 20 MB and 20 s"""
STEP: Final = "step"
"""the name that counts the epochs or steps; no metric"""
HOLE: Final = "{}"
"""stands for the number"""
# also as print(tensor) shows it. Atomic groups: a line of a megabyte of digits would otherwise take minutes
_NUMBER: Final = r"(?:(?:tf\.T|t)ensor\()?([-+]?(?>(?>\d+(?:\.\d*)?|\.\d+)(?>[eE][-+]?\d+)?|(?i:nan|inf(?:inity)?)))"


@dataclass(frozen=True, kw_only=True)
class Label:
    """A text with a number in it: ``val loss: {}``. A space stands for any number of spaces."""

    text: str
    pattern: re.Pattern[str]
    marker: bytes
    """a part of every line that has it"""

    @classmethod
    def parse(cls, text: str) -> Label:
        """Raises UserError if it does not have one ``{}``, or no text around that."""
        before, hole, after = text.partition(HOLE)
        if not hole or HOLE in after:
            raise UserError(f"'{text}' needs one {{}}, which stands for the number: 'val loss: {{}}'")
        words = [*before.split(), *after.split()]
        if not words:
            raise UserError(f"'{text}' has no text beside {{}}, so that every number would fit")
        if "\n" in text or "\r" in text:
            raise UserError(f"{text!r} has a line break; a line is looked at by itself")
        if not "".join(words).isprintable():
            raise UserError(f"{text!r} has a control character, which no line has; colours are removed from lines")
        # "acc {}" is not found in "val_acc 0.5", nor 12 in "12ms", nor 1 in "1,530.2" or "1,5"
        start = r"(?<![\w./-])" if before.strip()[:1].isalnum() else "" if before.strip() else r"(?<![\w.])"
        end = rf"\s*{_spaced(after)}" if after.strip() else r"(?!\w|,\d)"
        return cls(
            text=text,
            pattern=re.compile(rf"{start}{_spaced(before)}\s*{_NUMBER}{end}"),
            # no more than a run of letters: a colour may end before the colon of "val loss: {}"
            marker=max((run for word in words for run in re.findall(r"\w+|\W+", word)), key=_worth).encode(),
        )

    def find(self, line: str) -> float | None:
        """The last such number in a line."""
        found = [match[1] for match in self.pattern.finditer(line)]
        return float(found[-1]) if found else None


class Numbers:
    """The numbers that a command has printed so far. For each label, the last one counts.

    Args:
        labels: by metric; that of ``step`` counts the steps that the others belong to.
    """

    def __init__(self, labels: Mapping[str, Label]) -> None:
        self._labels = {name: label for name, label in labels.items() if name != STEP}
        self._counter = labels.get(STEP)
        self.markers = tuple(label.marker for label in labels.values())
        self.metrics: dict[str, float] = {}
        """the last number of each metric"""
        self._steps: list[tuple[int, dict[str, float]]] = []
        """steps that are not told yet, the newest last"""
        self._counted = 0
        """steps up to the newest"""
        self._told: tuple[int, dict[str, float]] | None = None

    def take(self, line: str) -> None:
        """Look at a line. It belongs to the last step that was printed, in this line or before it."""
        count = self._counter.find(line) if self._counter is not None else None
        if count is not None and count.is_integer() and count >= 0 and (not self._steps or self._steps[-1][0] != count):
            self._counted += 1
            self._steps.append((int(count), {}))
        for name, label in self._labels.items():
            value = label.find(line)
            if value is None:
                continue
            self.metrics[name] = value
            if self._steps:
                self._steps[-1][1][name] = value

    def steps(self, *, to_end: bool) -> Iterator[tuple[int, dict[str, float]]]:
        """Steps with their metrics that were not told before: the newest with its first values, and again once it ends.

        A command may print its loss after each batch; what is told of a step is stored by the study. Of more than 1,000
        steps some are left out, by their count, so that all trials have the same; never the last one.

        Args:
            to_end: the command has ended, so that the newest step has, too.
        """
        newest = len(self._steps) - 1
        for i, (step, metrics) in enumerate(self._steps):
            is_new = self._told is None or self._told[0] != step or self._told[1].keys() != metrics.keys()
            is_kept = (to_end and i == newest) or _is_kept(self._counted - newest + i)
            if metrics and is_kept and (is_new or ((i < newest or to_end) and self._told != (step, metrics))):
                self._told = (step, dict(metrics))
                yield step, dict(metrics)
        del self._steps[:-1]


def _is_kept(count: int) -> bool:
    return bool(count % 10 ** max(0, len(str(count)) - _DIGITS) == 0)


def _worth(run: str) -> tuple[bool, int]:
    return run[0].isalnum() or run[0] == "_", len(run)


def _spaced(text: str) -> str:
    return r"\s+".join(map(re.escape, text.split()))
