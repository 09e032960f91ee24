"""Where several numbers of a script could be its result, none is taken silently."""

from __future__ import annotations

import ast
import textwrap

import pytest

from hpo_batch.init.metric import guess

UNSURE = {
    "parts of the data": """
        for epoch in range(3):
            for phase in ['val', 'train']:
                print(f'{phase} loss: {loss:.4f}')
    """,
    "a function for all parts": """
        def run(split, epoch):
            print(f'{split} epoch {epoch} loss {loss:.3f}')
    """,
    "a function for two loaders": """
        def test(loader, epoch):
            print(f'loss {loss:.3f}')
        for epoch in range(3):
            test(train_loader, epoch)
            test(test_loader, epoch=epoch)
    """,
    "a method for two loaders": """
        class Trainer:
            def test(self, loader):
                print(f'loss {loss:.3f}')
            def fit(self):
                self.test(self.train)
                self.test(self.valid)
    """,
    "batches": """
        for epoch in range(3):
            for i, batch in enumerate(loader):
                print(f'epoch {epoch} loss {loss:.3f}')
    """,
    "batches in a function": """
        def train(epoch):
            for step, batch in enumerate(train_loader):
                print(f'epoch {epoch} loss {loss:.3f}')
    """,
    "batches in a function that counts nothing else": """
        def train(epoch):
            for batch in tqdm(batches):
                print(f'loss {loss:.3f}')
    """,
    "folds": """
        for fold in range(5):
            print(f'fold {fold} accuracy {accuracy:.3f}')
    """,
    "folds of trainings": """
        for fold in range(5):
            for epoch in range(3):
                print(f'epoch {epoch} val_loss {val_loss:.3f}')
    """,
    "folds of trainings in a function": """
        def fit(fold):
            for epoch in range(3):
                print(f'epoch {epoch} val_loss {val_loss:.3f}')
        for train, test in folds.split(x):
            fit(train)
    """,
    "models": """
        for name in ('teacher', 'student'):
            print(f'loss {loss:.3f}')
    """,
    "before the training": """
        print(f'before: val_loss={val_loss:.3f}')
        for epoch in range(3):
            loss.backward()
            print(f'epoch {epoch} loss={loss:.3f}')
    """,
    "beside what is compared with": """
        for epoch in range(3):
            print(f'val_loss={val_loss:.3f}')
        print(f'baseline: val_loss={other:.3f}')
    """,
    "only with an option": """
        if epoch and not args.fast:
            print(f'loss {loss:.3f}')
    """,
    "only with an option of a dict": """
        if config['report']:
            print(f'loss {loss:.3f}')
    """,
    "folds in a comprehension": """
        def fit(fold):
            print(f'accuracy {accuracy:.3f}')
        scores = [fit(fold) for fold in range(5)]
    """,
    "folds in processes": """
        def fit(fold):
            print(f'accuracy {accuracy:.3f}')
        scores = pool.map(fit, range(5))
    """,
    "the first of the epochs": """
        for epoch in range(3):
            if epoch == 0:
                print(f'val_loss {val_loss:.3f}')
    """,
    "the first and the others": """
        for epoch in range(3):
            if epoch == 0:
                print(f'at first, val_loss {val_loss:.3f}')
            else:
                print(f'epoch {epoch}, val_loss {val_loss:.3f}')
    """,
    "a share": "print(f'accuracy: {correct}/{total}')",
    "thousands": "print(f'loss {loss:,.2f}')",
    "thousands with format": "print('loss {:,}'.format(loss))",
    "an option": "print(f'loss={args.loss}')",
    "a constant": "print(f'loss={0.5}')",
    "a function that nobody calls": """
        def selftest():
            print(f'val_loss {val_loss}')
    """,
}


@pytest.mark.parametrize("case", UNSURE)
def test_none_is_taken_of_several_numbers(case: str) -> None:
    found = guess(ast.parse(textwrap.dedent(UNSURE[case])))
    assert found is None or not found.labels


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        # the end, and not an epoch of the training
        ("for epoch in range(3):\n  print(f'epoch {epoch} loss {loss}')\nprint(f'test accuracy {acc}')",
         {"acc": "test accuracy {}"}),
        ("print(f'test accuracy {acc}')\nfor epoch in []:\n  print(f'train loss {loss}')", {"acc": "test accuracy {}"}),
        # the mean, and not a fold
        ("for fold in range(5):\n  print(f'fold {fold} val_acc {acc}')\nprint(f'mean accuracy: {sum(a) / 5}')",
         {"mean_accuracy": "mean accuracy: {}"}),
        # not what is measured beside it
        ("print(f'std loss: {std}')\nprint(f'loss: {loss.mean()}')", {}),
        ("print(f'loss std={std}')\nprint(f'loss={loss}')", {"loss": "loss={}"}),
        # one function in two places, for the same data
        ("def test(data, epoch):\n  print(f'test loss {loss}')\ntest(x, 0)\nfor e in range(3):\n  test(x, e)",
         {"loss": "test loss {}"}),
        ("print('val {v:.3f} at {e}'.format(e=epoch, v=val_loss))", {"val_loss": "val {}"}),
        ("print(f\"epoch {epoch} val {logs['val_loss']:.3f}\")", {"val_loss": "val {}"}),
        ("print(f'valid {self.val_loss:.3f}')", {"val_loss": "valid {}"}),
        ("print(f'rmse {rmse:.3f}m')", {"rmse": "rmse {}m"}),
        ("print(f'loss={loss},{acc}')", {"loss": "loss={},"}),
        ("print(f'took {time():.1f}s, loss {loss}')", {"loss": "loss {}"}),
        # the validation, and not the batches, though they have the same name
        ("for i, x in enumerate(batches):\n  print(f'batch {i} loss {loss}')\nprint(f'* loss {loss}')",
         {"loss": "* loss {}"}),
        ("if rank == 0:\n  print(f'loss={loss}')", {"loss": "loss={}"}),
    ],
)  # fmt: skip
def test_the_number_that_is_taken(text: str, labels: dict[str, str]) -> None:
    found = guess(ast.parse(text))
    assert found is not None
    assert found.labels == labels


def test_of_two_with_one_name_the_later_one_is_to_be_reported() -> None:
    found = guess(ast.parse("for epoch in range(3):\n  print(f'loss {a}')\n  print(f'loss {b}')"))
    assert found is not None
    assert found.place is not None
    assert (found.place.line, found.variable, dict(found.labels)) == (3, "b", {})
