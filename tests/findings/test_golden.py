"""The whole report of a small study, word by word: a change of words is seen in review.

Renew it with ``RENEW_GOLDEN=1 pytest tests/findings/test_golden.py`` and read the difference.
"""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from hpo_batch.document.markdown import markdown
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.documents import report_document
from hpo_batch.findings.elites.plotted import plotted_trials
from hpo_batch.sources.read import read_tables

GOLDEN = Path(__file__).parent / "golden" / "small-study.md"


def small_study(path: Path) -> Path:
    """Two parameters that matter and one that does not, replicates, a failure, and a run that was cut short."""
    draw = random.Random(5)
    lines = ["trial,state,lr,width,activation,seed,epochs,val_auc"]
    for i in range(48):
        lr, width, activation = draw.choice([1e-4, 1e-3, 1e-2]), draw.choice([32, 64]), draw.choice(["relu", "gelu"])
        value = 0.7 + {1e-4: 0.0, 1e-3: 0.04, 1e-2: 0.01}[lr] + 0.02 * (width == 64) + draw.gauss(0, 0.006)
        cut_short = i == 17
        state, value_text = ("FAIL", "") if i == 30 else ("COMPLETE", f"{value - 0.2 * cut_short:.4f}")
        lines.append(f"{i},{state},{lr},{width},{activation},{i},{2 if cut_short else 20},{value_text}")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_the_report_of_a_small_study_reads_as_it_did(tmp_path: Path) -> None:
    tables = read_tables([str(small_study(tmp_path / "small.csv"))], root=tmp_path / "logs")
    findings = analyse(tables)
    trials = [plotted_trials(tables[0], study=findings.studies[0].label)]
    found = markdown(report_document(findings, trials, version="1"))
    if os.environ.get("RENEW_GOLDEN"):
        GOLDEN.write_text(found, encoding="utf-8")
        pytest.skip(f"renewed {GOLDEN.name}")
    assert found.splitlines() == GOLDEN.read_text(encoding="utf-8").splitlines()
