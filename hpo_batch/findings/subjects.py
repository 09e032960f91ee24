"""The subjects of a report, in the order of their sections. A new one is its folder and a line here."""

from __future__ import annotations

from typing import Final

from hpo_batch.findings.baseline.subject import SUBJECT as BASELINE
from hpo_batch.findings.best.subject import SUBJECT as BEST
from hpo_batch.findings.budgets.subject import SUBJECT as BUDGETS
from hpo_batch.findings.confirmed.subject import SUBJECT as CONFIRMED
from hpo_batch.findings.coverage.subject import SUBJECT as COVERAGE
from hpo_batch.findings.curves.subject import SUBJECT as CURVES
from hpo_batch.findings.effects.subject import SUBJECT as EFFECTS
from hpo_batch.findings.elites.subject import SUBJECT as ELITES
from hpo_batch.findings.expected.subject import SUBJECT as EXPECTED
from hpo_batch.findings.further.subject import SUBJECT as FURTHER
from hpo_batch.findings.gpus.subject import SUBJECT as GPUS
from hpo_batch.findings.health.subject import SUBJECT as HEALTH
from hpo_batch.findings.hours.subject import SUBJECT as HOURS
from hpo_batch.findings.importance.subject import SUBJECT as IMPORTANCE
from hpo_batch.findings.ledger.subject import SUBJECT as LEDGER
from hpo_batch.findings.lineage.subject import SUBJECT as LINEAGE
from hpo_batch.findings.metrics.subject import SUBJECT as METRICS
from hpo_batch.findings.noise.subject import SUBJECT as NOISE
from hpo_batch.findings.order.subject import SUBJECT as ORDER
from hpo_batch.findings.pooled.subject import SUBJECT as POOLED
from hpo_batch.findings.relations.subject import SUBJECT as RELATIONS
from hpo_batch.findings.subject import Subject
from hpo_batch.findings.survival.subject import SUBJECT as SURVIVAL
from hpo_batch.findings.transfer.subject import SUBJECT as TRANSFER
from hpo_batch.findings.trials.subject import SUBJECT as TRIALS

SUBJECTS: Final[tuple[Subject, ...]] = (
    BEST,
    CONFIRMED,
    TRANSFER,
    TRIALS,
    EFFECTS,
    IMPORTANCE,
    RELATIONS,
    ELITES,
    CURVES,
    METRICS,
    NOISE,
    HEALTH,
    GPUS,
    ORDER,
    COVERAGE,
    SURVIVAL,
    BUDGETS,
    POOLED,
    BASELINE,
    HOURS,
    LINEAGE,
    FURTHER,
    EXPECTED,
    LEDGER,
)
