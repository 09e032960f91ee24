"""All trials, one by one, to look things up in."""

from __future__ import annotations

from hpo_batch.findings.subject import Subject
from hpo_batch.findings.trials.page import section

SUBJECT = Subject(name="trials", section=section)
