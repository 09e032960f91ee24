"""Which node fails its trials while the others do well, from the order of the journal."""

from __future__ import annotations

import json
from pathlib import Path

import optuna
import pytest

from hpo_batch.records import Failed, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.store.nodes import IN_A_ROW, failing_nodes
from hpo_batch.study.study import Study
from tests.study.helpers import claimed, complete, make, owner, plain, revise, state_of

FAILED = Failed(reason=Reason.EXCEPTION, message="no")
SPACE = {"study": "trials = 1000", "space": "n = { low = 1, high = 100000 }"}


def history(home: StudyHome, turns: str) -> None:
    """``"a+ b-"``: a trial on node a that finished, then one on b that failed; ``"c:"`` is one that runs on c."""
    held = []
    for i, turn in enumerate(turns.split()):
        context = Study.open(home, owner(i, host=turn[0]))
        study = context.__enter__()
        claim = claimed(study)
        if turn[1] == ":":
            held.append(context)
            continue
        study.tell(claim, complete(claim) if turn[1] == "+" else FAILED)
        context.__exit__(None, None, None)
    for context in held:
        context.__exit__(None, None, None)


def found(home: StudyHome) -> list[tuple[str, int, int, int, int]]:
    nodes = failing_nodes(state_of(home))
    return [(n.node, len(n.trials), n.succeeded, n.failed, n.outlived) for n in nodes]


CASES: dict[str, tuple[str, list[tuple[str, int, int, int, int]]]] = {
    "fails while another succeeds": ("x- a+ x- a+ x-", [("x", 3, 2, 0, 0)]),
    "two in a row are too few": ("x- a+ x- a+", []),
    "a success on the node begins another row": ("x- x- x- x+ a+ x- x-", []),
    "others succeeded only before": ("a+ a+ a+ x- x- x-", []),
    "all fail": ("x- a- x- a- x- a-", []),
    "others go on since before": ("a: b: x- x- x-", [("x", 3, 0, 0, 2)]),
    "others began later": ("x- x- x- a:", []),
    "others began in between": ("x- a: x- x-", [("x", 3, 0, 0, 1)]),
    "who runs on the node itself": ("x: x- x- x-", []),
    "failures elsewhere count too": ("x- a- a+ x- b- x- x-", [("x", 4, 1, 2, 0)]),
    "two nodes": ("x- y- x- y- x- y- a+", [("y", 3, 1, 2, 0), ("x", 3, 1, 3, 0)]),
    "one machine": ("x- x- x- x- x-", []),
}


@pytest.mark.parametrize("what", CASES)
def test_a_node_is_named_if_it_fails_in_a_row_while_others_do_well(root: Path, what: str) -> None:
    turns, expected = CASES[what]
    home = make(root, **SPACE, tables={"failures": "stop_after = 50"})
    history(home, turns)
    assert found(home) == expected


def test_only_what_ended_since_the_last_submission_counts(root: Path) -> None:
    home = make(root, **SPACE)
    history(home, "x- x- x- a+")
    assert len(found(home)) == 1
    revise(home, **SPACE)
    assert found(home) == []
    history(home, "x- x- a+")
    assert found(home) == []


def test_a_trial_that_no_worker_of_ours_ran_is_nobodys(root: Path) -> None:
    home = make(root, **SPACE)
    history(home, "x- x- a+")
    study = plain(home)
    study.enqueue_trial({"n": 7})
    study.tell(study.ask(), state=optuna.trial.TrialState.FAIL)
    assert found(home) == []
    history(home, "x-")
    assert found(home) == [("x", 3, 1, 0, 0)]


@pytest.mark.parametrize(
    ("turns", "to_blame"),
    [
        ("x- a+ x- x-", False),  # one success elsewhere: it may be chance
        (" ".join(["x-", *["a+"] * 9, "x- x-"]), True),
        (" ".join(["a: b: c: d: e: f: g: h: i:", "x- x- x-"]), True),
        (" ".join(["x- a- b- a+ b- a+ b+ a- x- x- x-"]), False),  # where half of them fail, four in a row are nothing
    ],
)
def test_a_node_is_to_blame_if_chance_does_not_explain_it(root: Path, turns: str, to_blame: bool) -> None:
    home = make(root, **SPACE, tables={"failures": "stop_after = 50"})
    history(home, turns)
    (node,) = failing_nodes(state_of(home))
    assert node.is_to_blame is to_blame
    assert json.loads(json.dumps(node.as_json()))["is_to_blame"] is to_blame


def test_a_node_in_words(root: Path) -> None:
    home = make(root, **SPACE, tables={"failures": "stop_after = 50"})
    history(home, "a: b: x- a+ x- b- x-")
    (node,) = failing_nodes(state_of(home))
    assert str(node) == (
        "x: the last 3 trials failed (exception); on other nodes 1 have finished, 1 have failed, "
        "2 were begun before and still run"
    )
    assert node.trials == (2, 4, 6)
    assert len(node.trials) == IN_A_ROW
