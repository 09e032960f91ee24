"""Finds the numbers that a command prints, by the text around them: ``[objective] printed``. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from hpo_batch.errors import UserError

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
        if not any(re.search(r"\S", word) for word in words):
            raise UserError(f"'{text}' has no text beside {{}}, so that every number would fit")
        if "\n" in text or "\r" in text:
            raise UserError(f"{text!r} has a line break; a line is looked at by itself")
        # "acc {}" is not found in "val_acc 0.5", nor 12 in "12ms"
        start = r"(?<![\w./-])" if before.strip()[:1].isalnum() else "" if before.strip() else r"(?<![\w.])"
        end = rf"\s*{_spaced(after)}" if after.strip() else r"(?!\w)"
        return cls(
            text=text,
            pattern=re.compile(rf"{start}{_spaced(before)}\s*{_NUMBER}{end}"),
            marker=max(words, key=len).encode(),
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
        self._told: tuple[int, dict[str, float]] | None = None

    def take(self, line: str) -> None:
        """Look at a line. It belongs to the last step that was printed, in this line or before it."""
        count = self._counter.find(line) if self._counter is not None else None
        if count is not None and count.is_integer() and count >= 0 and (not self._steps or self._steps[-1][0] != count):
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

        A command may print its loss after each batch; what is told of a step is stored by the study.

        Args:
            to_end: the command has ended, so that the newest step has, too.
        """
        newest = len(self._steps) - 1
        for i, (step, metrics) in enumerate(self._steps):
            is_new = self._told is None or self._told[0] != step or self._told[1].keys() != metrics.keys()
            if metrics and (is_new or ((i < newest or to_end) and self._told != (step, metrics))):
                self._told = (step, dict(metrics))
                yield step, dict(metrics)
        del self._steps[:-1]


def _spaced(text: str) -> str:
    return r"\s+".join(map(re.escape, text.split()))
