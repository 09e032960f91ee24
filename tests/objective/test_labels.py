"""Numbers that a command prints, found by the text around them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import pytest

from hpo_batch.errors import UserError
from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.labels import Label, Numbers
from hpo_batch.objective.trial import Trial
from hpo_batch.records import Complete, Failed, Pruned, Reason, Verdict

from .conftest import FakeEngine


@pytest.mark.parametrize(
    ("label", "line", "number"),
    [
        ("acc {}", "epoch 0 acc 0.53", 0.53),
        ("acc {}", "acc\t 1", 1.0),
        ("val_loss={}", "[INFO] val_loss=1e-3, acc=.5", 1e-3),
        ("val_loss={}", "val_loss = 2", None),
        ("Accuracy: {}%", "Test: Accuracy:  98.5 %", 98.5),
        ("{} accuracy", "0.95 accuracy", 0.95),
        ("[{}/", "epoch [3/10]", 3.0),
        ("loss {}", "loss 0.5 then loss -0.25.", -0.25),
        # half a number is a wrong one
        ("loss {}", "loss 1,5", None),
        ("loss {}", "loss 1,530.25", None),
        ("loss {}", "loss 1_000", None),
        ("loss {}", "loss 0x10", None),
        ("loss {}", "loss 3, acc 4", 3.0),
        ("loss {}", "loss 3,acc 4", 3.0),
        ("loss {},", "loss 3,4", 3.0),
        ("loss {}", "loss tensor(0.5000, grad_fn=<NllLossBackward0>)", 0.5),
        ("loss {}", "loss tensor(2.5e-1, device='cuda:0')", 0.25),
        ("loss {}", "loss -inf", -math.inf),
        ("acc {}", "val_acc 0.5", None),
        ("acc {}", "val/acc 0.5", None),
        ("acc {}", "macc 0.5", None),
        ("time {}", "time 12ms", None),
        ("loss {}", "loss: 0.5", None),
        ("loss {}", "loss nano", None),
        ("größe {}", "größe 3", 3.0),
        ("a.b {}", "acb 3", None),
    ],
)
def test_the_last_number_with_its_label(label: str, line: str, number: float | None) -> None:
    assert Label.parse(label).find(line) == number


def test_nan_is_a_number() -> None:
    found = Label.parse("loss {}").find("loss nan")
    assert found is not None
    assert math.isnan(found)


@pytest.mark.parametrize(
    ("label", "line"),
    [("loss {}", "loss " + "1" * 1_000_000 + "x"), ("a b {}", "a " * 400_000), ("a {}", "a" + " " * 1_000_000),
     ("{} x", "1" * 1_000_000), ("a {} b", "a 1 " * 200_000)],
    ids=["digits", "words", "spaces", "before", "after"],
)  # fmt: skip
def test_lines_of_a_megabyte_take_no_time(label: str, line: str) -> None:
    began = time.process_time()
    Label.parse(label).find(line)
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("text", "why"),
    [("acc", "needs one {}"), ("{} and {}", "needs one {}"), ("{}", "no text beside"), ("  {} ", "no text beside"),
     ("a\n{}", "line break"), ("a \x1b[1m{}", "control character")],
)  # fmt: skip
def test_what_is_no_label(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        Label.parse(text)


def numbers(**labels: str) -> Numbers:
    return Numbers({name: Label.parse(text) for name, text in labels.items()})


def told(one: Numbers, *lines: str, to_end: bool = False) -> list[tuple[int, dict[str, float]]]:
    for line in lines:
        one.take(line)
    return list(one.steps(to_end=to_end))


def test_the_last_of_each_counts() -> None:
    found = numbers(loss="loss {}", acc="acc {}")
    assert told(found, "loss 3 acc 0.1", "loss 2", "nothing", to_end=True) == []
    assert found.metrics == {"loss": 2.0, "acc": 0.1}


def test_a_step_is_told_with_its_first_values_and_again_when_it_ends_if_they_changed() -> None:
    found = numbers(loss="loss {}", step="epoch {}")
    assert told(found, "epoch 1", "loss 9") == [(1, {"loss": 9.0})]
    assert told(found, "loss 8", "loss 7") == []
    assert told(found, "epoch 2 loss 6") == [(1, {"loss": 7.0}), (2, {"loss": 6.0})]
    assert told(found) == []
    assert told(found, "epoch 3", "epoch 4 loss 4", "loss 3", to_end=True) == [(4, {"loss": 3.0})]
    assert told(found, to_end=True) == []


def test_a_metric_that_comes_later_in_a_step_is_told_at_once() -> None:
    found = numbers(train="train {}", val="val {}", step="epoch {}")
    assert told(found, "epoch 1 train 3") == [(1, {"train": 3.0})]
    assert told(found, "val 4") == [(1, {"train": 3.0, "val": 4.0})]


@pytest.mark.parametrize("step", ["epoch -1", "epoch 1.5", "epoch nan"])
def test_a_step_that_does_not_count_is_none(step: str) -> None:
    assert told(numbers(loss="loss {}", step="epoch {}"), f"{step} loss 1", to_end=True) == []


def test_of_many_steps_the_same_are_kept_in_all_trials_and_the_last_one() -> None:
    found = numbers(loss="loss {}", step="step {}")
    kept = [step for i in range(0, 123_457, 64) for step, _ in told(found, f"step {i} loss 1")]
    assert kept == [64 * i for i in (*range(1000), *range(1009, 1930, 10))]
    assert told(found, "loss 2", to_end=True) == [(64 * 1929, {"loss": 2.0})]


@pytest.mark.parametrize("line", ["\x1b[32mval loss\x1b[0m: 0.5", "val \x1b[1mloss\x1b[m:\x1b[1m 0.5\x1b[m"])
def test_colours_that_end_within_a_label(make_python: Python, trial: Trial, line: str) -> None:
    outcome = make_python(f"print({line!r})", labels=labels(loss="val loss: {}")).run(trial)
    assert isinstance(outcome, Complete)
    assert outcome.values == (0.5,)


PRINTS = "for e in (1, 2): print(f'epoch {e}: \x1b[1mloss\x1b[0m {1 / e}', file=sys.stderr)\n"


def labels(**texts: str) -> dict[str, Label]:
    return {name: Label.parse(text) for name, text in texts.items()}


Python = Callable[..., CommandObjective]


def test_a_command_that_knows_nothing_of_us_has_a_result(make_python: Python, trial: Trial) -> None:
    outcome = make_python(PRINTS, labels=labels(loss="loss {}", epoch="epoch {}")).run(trial)
    assert isinstance(outcome, Complete)
    assert outcome.metrics == {"loss": 0.5, "epoch": 2.0}


def test_with_steps_it_has_a_curve(make_python: Python, trial: Trial, engine: FakeEngine) -> None:
    outcome = make_python(PRINTS, labels=labels(loss="loss {}", step="epoch {}")).run(trial)
    assert isinstance(outcome, Complete)
    assert engine.reports == [(1, {"loss": 1.0}), (2, {"loss": 0.5})]


def test_it_is_pruned_although_it_never_asks(make_python: Python, trial: Trial, engine: FakeEngine) -> None:
    engine.verdicts = {2: Verdict.PRUNE}
    code = "for e in range(9999): print(f'epoch {e}: loss {e}', flush=True); time.sleep(0.05)\n"
    outcome = make_python(code, labels=labels(loss="loss {}", step="epoch {}")).run(trial)
    assert isinstance(outcome, Pruned)
    assert 2 <= outcome.step < 9000


@pytest.mark.parametrize(
    ("code", "loss"),
    [("print('loss 3'); report(step=1, loss=2)", 2.0), ("report(step=1, loss=2); print('loss 3')", 2.0),
     ("print('RESULT: loss=1'); print('loss 3')", 1.0), ("report(loss=4); print('loss 3')", 4.0)],
)  # fmt: skip
def test_what_it_reports_counts_before_what_it_prints(
    make_python: Python, trial: Trial, code: str, loss: float
) -> None:
    outcome = make_python(code, labels=labels(loss="loss {}")).run(trial)
    assert isinstance(outcome, Complete)
    assert outcome.values == (loss,)


def test_a_label_that_is_never_printed_is_named(make_python: Python, trial: Trial) -> None:
    outcome = make_python("print('los 3')", labels=labels(loss="loss {}")).run(trial)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.NO_RESULT
    assert outcome.message == "no result: it printed no line with 'loss {}' ([objective] printed)"


def test_nan_fails_the_trial(make_python: Python, trial: Trial) -> None:
    outcome = make_python("print('loss nan')", labels=labels(loss="loss {}")).run(trial)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.NAN


def test_a_failed_command_has_no_result(make_python: Python, trial: Trial) -> None:
    outcome = make_python("print('loss 3', flush=True); sys.exit(3)", labels=labels(loss="loss {}")).run(trial)
    assert isinstance(outcome, Failed)
    assert outcome.reason is Reason.EXIT_CODE
