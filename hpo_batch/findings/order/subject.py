"""Whether the metric moved with the order of the trials."""

from __future__ import annotations

from hpo_batch.findings.order.numbers import Order, order
from hpo_batch.findings.order.page import section
from hpo_batch.findings.order.words import sentences
from hpo_batch.findings.subject import StudyInput, Subject


def order_of(study: StudyInput) -> Order | None:
    """Of a study."""
    return order(study.data)


SUBJECT = Subject(
    name="order",
    records={"order": lambda study: study.once(order_of)},
    sentences=sentences,
    section=section,
)
