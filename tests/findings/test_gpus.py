"""GPUs that were slowed down or faulty are told with their trials; what nobody has read is not "no"."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.findings.actions import ActionKind
from hpo_batch.findings.analyse import analyse
from hpo_batch.findings.gpus.numbers import gpu_health
from hpo_batch.findings.records import Finding
from hpo_batch.records import Answer, Usage
from hpo_batch.sources.read import read_tables
from hpo_batch.study.study import Study
from tests.findings.tables import table
from tests.study.helpers import claimed, complete, make, owner


def attempt(number: int, *, gpus: str = "GPU-1", **more: Any) -> dict[str, Any]:
    return {"number": number, "attempt": 1, "how": "complete", "seconds": 60.0, "node": "a", "gpus": gpus, **more}


def findings(*attempts: dict[str, Any]) -> dict[str, Finding]:
    numbers = sorted({one["number"] for one in attempts})
    rows = [{"x": number, "value": 0.7 + 0.01 * number} for number in numbers]
    found = analyse([table(rows, params=["x"], attempts=attempts)]).findings
    return {finding.key: finding for finding in found if finding.key.startswith("gpus")}


def test_trials_on_slow_gpus_are_told() -> None:
    attempts = [attempt(n, gpu_throttled=0.0, gpu_ecc_errors=0.0) for n in range(4)]
    attempts[1]["gpu_throttled"], attempts[2]["gpu_throttled"] = 0.45, 0.05  # the latter is nothing to speak of
    assert findings(*attempts)["gpus.throttled"].actions == ()  # there is no other node
    attempts[3]["node"] = "b"
    (finding,) = findings(*attempts).values()
    assert (finding.key, finding.answer) == ("gpus.throttled", Answer.YES)
    assert (
        "GPUs on a were slowed down by heat or power supply during trial 1, for up to 45 % of the time" in finding.text
    )
    assert [(action.kind, action.where) for action in finding.actions] == [(ActionKind.EXCLUDE_NODE, "a")]


def test_trials_with_memory_errors_are_to_be_looked_at() -> None:
    """Errors of all attempts count; two nodes are no reason to leave one out."""
    attempts = [attempt(n, gpu_throttled=0.0, gpu_ecc_errors=0.0) for n in range(4)]
    attempts[0]["gpu_ecc_errors"] = 2.0
    attempts.append(attempt(3, attempt=2, node="b", gpu_throttled=0.0, gpu_ecc_errors=1.0))
    (finding,) = findings(*attempts).values()
    assert (finding.key, finding.answer) == ("gpus.memory-errors", Answer.YES)
    assert "3 uncorrected memory errors of GPUs on a, b during trials 0, 3: their values may be wrong" in finding.text
    assert [(action.kind, action.trials) for action in finding.actions] == [(ActionKind.INSPECT, (0, 3))]


@pytest.mark.parametrize(
    ("measured", "answer", "words"),
    [
        (4, Answer.NO, "neither slowed down by heat or power supply nor had memory errors (4 of 4 trials with a GPU"),
        (1, Answer.CANNOT_TELL, "but only 1 of 4 trials with a GPU tell"),
        (0, Answer.NOT_MEASURED, "were not measured: pip install 'hpo-batch[gpu]' where workers run"),
    ],
)
def test_what_nobody_has_read_is_not_no(measured: int, answer: Answer, words: str) -> None:
    known = {"gpu_throttled": 0.0, "gpu_ecc_errors": None}  # MIG slices and consumer cards count no errors
    found = findings(*(attempt(n, **(known if n < measured else {})) for n in range(4)))
    assert list(found) == ["gpus"]
    assert found["gpus"].answer is answer
    assert words in found["gpus"].text


def test_without_gpus_there_is_nothing_to_say() -> None:
    assert findings(*(attempt(n, gpus="") for n in range(3))) == {}
    assert gpu_health(table([{"x": 1, "value": 0.5}], params=["x"])) is None


def test_they_are_told_from_what_workers_have_measured(root: Path) -> None:
    home = make(root, study="trials = 3")
    with Study.open(home, owner(1)) as study:
        for throttled, errors in ((0.0, 0.0), (0.5, 0.0), (0.0, 4.0)):
            claim = claimed(study)
            study.tell(claim, replace(complete(claim), usage=Usage(gpu_throttled=throttled, gpu_ecc_errors=errors)))
    (found,) = analyse(read_tables([home.name], root=root)).studies
    assert found.gpus is not None
    assert (found.gpus.trials, found.gpus.measured) == (3, 3)
    assert (found.gpus.throttled, found.gpus.memory_errors) == (((1, 0.5),), ((2, 4),))
