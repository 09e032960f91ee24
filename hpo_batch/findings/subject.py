"""What a subject of a report is made of: one question about the trials, its numbers, sentences, section and keys.

A subject is a folder with ``numbers.py`` (records and what computes them), ``words.py`` (sentences), ``page.py`` and
``figure.py`` (its section), and ``subject.py``, which says how they go together. ``subjects.SUBJECTS`` lists all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, auto
from typing import Any, NamedTuple, TypeAlias, TypeVar

from hpo_batch.document.blocks import Block, Part, Section
from hpo_batch.document.drawing import Figure
from hpo_batch.findings.elites.plotted import PlottedTrials
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.frame import Data
from hpo_batch.findings.records import Finding, Findings, StudyFindings

Record = TypeVar("Record")
Blocks: TypeAlias = list[Block]


class Place(IntEnum):
    """Where a finding stands among all of a report: what is listed first here is said first."""

    # what makes the numbers wrong, or the report easy to misread
    NO_TRIALS = auto()
    UNFINISHED = auto()
    CONSTANT_METRIC = auto()
    COLLAPSE = auto()
    NOT_DETERMINISTIC = auto()
    SUSPECT = auto()
    DECISIVE_OUTLIER = auto()
    INFLUENCE = auto()
    NOT_DETERMINISTIC_BY_SUSPECTS = auto()
    BAD_NODE = auto()
    DRIFT = auto()
    ONE_STUDY_FILLS_THE_TOP = auto()
    WARNING = auto()
    """of a subject without a place of its own"""

    # what the trials show
    CONFIRMED = auto()
    MATRIX = auto()
    ALL_NOISE = auto()
    INTERACTION = auto()
    SURVIVORS = auto()
    SEPARATED = auto()
    EFFECT = auto()
    SURVIVAL = auto()
    EQUAL_STEPS = auto()
    PAIRED = auto()
    ORDER_OF_BESTS = auto()
    SLOPE = auto()
    TOP_OF_ALL = auto()
    OUTLIER = auto()
    NO_INFLUENCE = auto()
    EXPECTED = NO_INFLUENCE  # one place for both: they are listed study by study
    PREDICTED = auto()
    OPTIMISM = auto()
    BASELINE = auto()
    NOISE_FLOOR = auto()
    RESULT = auto()
    """of a subject without a place of its own"""

    # what the search could have done better
    COVERAGE_BELOW_RANDOM = auto()
    WASTED_REPEATS = auto()
    COLLAPSE_NOT_MEASURED = auto()
    EDGES_THAT_MATTER = auto()
    FURTHER = auto()
    ADVICE = auto()
    """of a subject without a place of its own"""

    # what the trials do not show, and what is as it should be
    IMPORTANCE = auto()
    NO_CLEAR_EFFECT = auto()
    ELITE_SHARES = auto()
    CONSISTENCY = auto()
    TRANSFER = auto()
    FIDELITY = auto()
    UNTESTED_EFFECT = auto()
    NOT_VARIED = auto()
    ONE_VALUE_COMPLETED = auto()
    NO_COLLAPSE = auto()
    NO_DRIFT = auto()
    REPLICATES = auto()
    EDGES = auto()
    COVERAGE = auto()
    COVERAGE_UNKNOWN = auto()
    HOURS = auto()
    DETAIL = auto()
    """of a subject without a place of its own"""


class Ranked(NamedTuple):
    """A finding and where it stands."""

    place: Place
    finding: Finding
    within: float = 0.0
    """among the findings of one place: smaller comes first, equal ones stay in the order of the studies"""


@dataclass(frozen=True, kw_only=True, eq=False)
class StudyInput:
    """The trials of one study; a record that several subjects need is computed once."""

    data: Data
    label: str
    known: Known = field(default_factory=Known)
    seed: int = 0
    _records: dict[Callable[[StudyInput], Any], Any] = field(default_factory=dict)

    def once(self, compute: Callable[[StudyInput], Record]) -> Record:
        """What ``compute`` gives for this study."""
        if compute not in self._records:
            self._records[compute] = compute(self)
        record: Record = self._records[compute]
        return record


@dataclass(frozen=True, kw_only=True)
class ReportInput:
    """All studies of a report that have a single metric, with their findings, in one order."""

    studies: Sequence[StudyInput]
    findings: Sequence[StudyFindings]
    top: int
    """trials over all studies whose shares are compared"""
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Page:
    """What a section is made from."""

    findings: Findings
    file_names: Mapping[str, str]
    """by label of the study: what its figures' files are called"""
    plotted: Mapping[str, PlottedTrials]
    """by label of the study: its trials, one by one"""


class Shortened(NamedTuple):
    """Findings of a very large study with fewer of its trials in one record, for report.json."""

    study: StudyFindings
    what: str
    """the record, as a path of keys"""
    n: int
    n_all: int


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One question that a report answers. What a subject has not, it leaves out."""

    name: str
    records: Mapping[str, Callable[[StudyInput], object]] = field(default_factory=dict)
    """key of a study in report.json: what computes the record. One that is no field of ``StudyFindings`` is in its
    ``more``"""
    records_of_several_metrics: Mapping[str, Callable[[StudyInput], object]] = field(default_factory=dict)
    """the same, for a study with several metrics, in which no trial is the best"""
    common: Mapping[str, Callable[[ReportInput], object]] = field(default_factory=dict)
    """key of report.json: what computes the record from all studies together"""
    adjust: Callable[[Sequence[StudyFindings]], Sequence[StudyFindings]] | None = None
    """the studies again, with p-values adjusted for the claims of all of them"""
    sentences: Callable[[StudyFindings, Findings], Iterator[Ranked]] | None = None
    """about one study"""
    speaks_without_trials: bool = False
    """whether there are sentences about a study in which no trial completed"""
    common_sentences: Callable[[Findings], Iterator[Ranked]] | None = None
    """about all studies together"""
    section: Callable[[Page], Section | None] | None = None
    shorten: Callable[[StudyFindings, int], Shortened] | None = None
    """a study of more trials than report.json lists one by one"""


def make_section(key: str, title: str, question: str, parts: Sequence[Part], not_shown: str) -> Section | None:
    """A section of the parts that hold anything; None if none does."""
    filled = tuple(part for part in parts if part.blocks)
    return Section(key=key, title=title, question=question, parts=filled, not_shown=not_shown) if filled else None


def per_study(findings: Findings, blocks: Callable[[StudyFindings], Blocks]) -> list[Part]:
    """A part per study; its heading is left out where there is only one."""
    one = len(findings.studies) == 1
    return [Part(heading="" if one else study.label, blocks=tuple(blocks(study))) for study in findings.studies]


def add(blocks: Blocks, figure: Figure | None) -> None:
    """Append a figure, if there is one."""
    if figure is not None:
        blocks.append(figure)
