"""A subject of a report is one folder and one line: one that is made here, outside the package, is in all documents."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hpo_batch.document.blocks import Section
from hpo_batch.document.drawing import Figure
from hpo_batch.document.svg import Canvas, scale
from hpo_batch.document.tables import table as document_table
from hpo_batch.findings.best.subject import SUBJECT as BEST
from hpo_batch.findings.health.subject import SUBJECT as HEALTH
from hpo_batch.findings.hours.subject import SUBJECT as HOURS
from hpo_batch.findings.noise.subject import SUBJECT as NOISE
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.report import report, write
from hpo_batch.findings.subject import (
    Page,
    Place,
    Ranked,
    ReportInput,
    StudyInput,
    Subject,
    make_section,
    per_study,
)
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.records import Answer
from hpo_batch.results.table import TrialsTable
from tests.findings.tables import table


@dataclass(frozen=True, kw_only=True)
class Drift:
    """How much better the second half of the trials is than the first."""

    difference: float
    n: int


def drift(study: StudyInput) -> Drift:
    y = study.data.y
    half = len(y) // 2
    return Drift(difference=float(np.mean(y[half:]) - np.mean(y[:half])), n=len(y))


def mean_drift(report: ReportInput) -> float:
    return float(np.mean([study.more["drift"].difference for study in report.findings]))


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    found = study.more["drift"]
    finding = Finding(
        key="drift",
        study=study.label,
        question="Did the metric drift?",
        answer=Answer.YES if found.difference > 0.05 else Answer.NO,
        text=f"{study.label}: later trials differ from earlier ones by {found.difference:.2f}",
        n=found.n,
    )
    yield Ranked(Place.WARNING, finding)


def section(page: Page) -> Section | None:
    def blocks(study: StudyFindings) -> list:  # type: ignore[type-arg]
        found = study.more["drift"]
        canvas = Canvas(width=200, height=100)
        canvas.y_axis(scale([0.0, found.difference], start=80, end=20), left=40, right=190)
        figure = Figure(
            name=f"drift-{page.file_names[study.label]}",
            title="Drift",
            caption="Later less earlier trials.",
            panels=(canvas.panel("The drift, drawn"),),
        )
        return [document_table("Halves of the search", ["difference"], [[f"{found.difference:.2f}"]]), figure]

    return make_section("drift", "Drift", "Did it drift?", per_study(page.findings, blocks), "No cause is named.")


DRIFT = Subject(
    name="drift",
    records={"drift": drift},
    common={"mean_drift": mean_drift},
    sentences=sentences,
    section=section,
)


def drifting() -> TrialsTable:
    return table([{"lr": 0.1 * (i % 3), "value": 0.5 + 0.1 * (i >= 6) + 0.001 * i} for i in range(12)], params=["lr"])


def test_a_subject_from_outside_is_in_every_document(tmp_path: Path) -> None:
    made = report([drifting()], subjects=[BEST, NOISE, HEALTH, DRIFT, HOURS])
    write(made, tmp_path / "report")
    told = json.loads((tmp_path / "report" / "report.json").read_text())
    assert told["studies"][0]["drift"] == {"difference": made.findings.studies[0].more["drift"].difference, "n": 12}
    assert told["mean_drift"] == told["studies"][0]["drift"]["difference"] > 0.1
    assert "more" not in told
    assert "more" not in told["studies"][0]
    assert told["studies"][0]["efficiency"]["why"]  # the other subjects of the list are there, and no further ones
    assert told["studies"][0]["effects"] == []
    keys = [finding["key"] for finding in told["findings"]]
    assert keys.index("drift") < keys.index("noise.floor")
    markdown = (tmp_path / "report" / "report.md").read_text()
    page = (tmp_path / "report" / "report.html").read_text()
    for text in (markdown, page):
        assert "later trials differ from earlier ones by 0.11" in text
        assert "Halves of the search" in text
        assert "No cause is named." in text
    assert "(figures/drift-study.svg)" in markdown
    assert "The drift, drawn" in page
    assert "The drift, drawn" in (tmp_path / "report" / "figures" / "drift-study.svg").read_text()
    titles = [section.title for section in made.document.sections]
    assert titles.index("Noise and suspects") < titles.index("Drift") < titles.index("All findings and methods")


def test_names_and_keys_of_subjects_are_their_own() -> None:
    names = [subject.name for subject in SUBJECTS]
    assert len(set(names)) == len(names)
    keys = [key for subject in SUBJECTS for key in (*subject.records, *subject.common)]
    assert len(set(keys)) == len(keys)
    folder = Path(__file__).parents[2] / "hpo_batch" / "findings"
    assert sorted(names) == sorted(path.parent.name for path in folder.glob("*/subject.py"))


def test_sources_may_be_files_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("lr,value\n" + "".join(f"{0.1 * (i % 3)},{0.5 + 0.01 * i}\n" for i in range(12)))
    made = report([str(path), drifting()], subjects=[BEST, NOISE, HEALTH, HOURS])
    assert [study.summary.n for study in made.findings.studies] == [12, 12]
    assert made.sources[0].endswith("runs.csv")
