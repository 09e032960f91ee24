"""Scripts that judge by metrics of the library evaluate, which computes mappings."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hpo_batch.init.metric import guess
from hpo_batch.init.write import from_script
from tests.init.test_traits import BEGIN, END

SCRIPT = f"""
import evaluate
{BEGIN}
p.add_argument('--lr', type=float, default=0.1)
{END}
metric = evaluate.load("glue", task) if task else evaluate.load("accuracy")
for epoch in range(3):
    eval_metric = metric.compute()
    logger.info(f"epoch {{epoch}}: {{eval_metric}}")
"""


def test_all_of_what_is_computed_is_reported_and_one_number_judges(folder: Path) -> None:
    (folder / "train.py").write_text(SCRIPT)
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    assert 'metric = "accuracy"\ndirection = "maximize"' in made.files[Path("sweep.toml")]
    (step,) = made.steps
    assert "'hpo_batch.report(epoch, eval_metric)'" in step


@pytest.mark.parametrize(("loaded", "name"), [("seqeval", "overall_f1"), ("rouge", "rougeL"), ("f1", "f1")])
def test_the_number_of_each_metric(loaded: str, name: str) -> None:
    found = guess(ast.parse(f"m = evaluate.load({loaded!r})\nresults = m.compute()\nprint(f'val: {{results}}')"))
    assert found is not None
    assert (found.name, found.is_mapping) == (name, True)


def test_a_metric_that_is_a_number_is_no_mapping() -> None:
    found = guess(ast.parse("m = evaluate.load('wer')\nwer = m.compute()\nprint(f'val_loss: {wer}')"))
    assert found is not None
    assert (found.name, found.is_mapping) == ("val_loss", False)
