"""What sections are made with: a part per study, and nothing where there is nothing to say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from hpo_batch.document.blocks import Block, Part, Section
from hpo_batch.document.drawing import Figure
from hpo_batch.findings.records import Findings, StudyFindings

Blocks: TypeAlias = list[Block]


def make_section(key: str, title: str, question: str, parts: Sequence[Part], not_shown: str) -> Section | None:
    kept = tuple(part for part in parts if part.blocks)
    return Section(key=key, title=title, question=question, parts=kept, not_shown=not_shown) if kept else None


def per_study(findings: Findings, blocks: Callable[[StudyFindings], Blocks]) -> list[Part]:
    """A part per study; its heading is left out where there is only one."""
    one = len(findings.studies) == 1
    return [Part(heading="" if one else study.label, blocks=tuple(blocks(study))) for study in findings.studies]


def add(blocks: Blocks, figure: Figure | None) -> None:
    if figure is not None:
        blocks.append(figure)
