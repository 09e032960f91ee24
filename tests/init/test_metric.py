"""The metric of a script, by what it reports or prints."""

from __future__ import annotations

import ast

import pytest

from hpo_batch.init.metric import Metric, guess


@pytest.mark.parametrize(
    ("text", "name", "direction", "is_reported"),
    [
        ("import hpo_batch\nhpo_batch.report(epoch, train_loss=1, val_auc=2)", "val_auc", "maximize", True),
        ("import hpo_batch\nhpo_batch.report(1, {'val/auc': 2})", "val/auc", "maximize", True),
        ("print(f'RESULT: val_loss={loss:.3f}')", "val_loss", "minimize", True),
        ("print('RESULT: accuracy=%s' % x)", "accuracy", "maximize", True),
        ("print(f'RESULT: {best_loss}')", "best_loss", "minimize", True),
        ("print(f'epoch {e}: train_loss={a:.3f} val_loss={b:.3f}')", "val_loss", "minimize", False),
        ("print(f'Test set: Accuracy: {c:.1f}')", "Accuracy", "maximize", False),
        ("logger.info(f'val loss: {v:.4f}')", "val_loss", "minimize", False),
        ("print('val_loss:', v)", "val_loss", "minimize", False),
        ("from hpo_batch.integrations import LightningCallback\nself.log('val_acc', a)\nLightningCallback()",
         "val_acc", "maximize", True),
        ("from hpo_batch.integrations import HuggingFaceCallback\nHuggingFaceCallback()",
         "eval_loss", "minimize", True),
        ("import hpo_batch\nhpo_batch.report(3, quality=1)", "quality", None, True),
    ],
)  # fmt: skip
def test_the_name_tells_more_of_it(text: str, name: str, direction: str | None, is_reported: bool) -> None:
    assert guess(ast.parse(text)) == Metric(name=name, direction=direction, is_reported=is_reported)


@pytest.mark.parametrize("text", ["", "print('done')", "print(f'epoch {epoch}: {x}')", "x = 'loss'"])
def test_none_is_made_up(text: str) -> None:
    assert guess(ast.parse(text)) is None
