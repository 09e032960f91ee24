"""Where init says to report: what it says is done to the letter, and the script runs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import tomli

from hpo_batch.envvars import EnvVar
from hpo_batch.init.write import from_script
from hpo_batch.objective.labels import Label, Numbers

HEAD = "import argparse\np = argparse.ArgumentParser()\np.add_argument('--lr', type=float, default=0.1)\n"


def edited(text: str, step: str) -> str:
    """The script with the line that a step names, and the import at its top."""
    found = re.search(r"after line (\d+), add '(hpo_batch\.report\(.*\))', and 'import hpo_batch' at the top", step)
    found = found or re.search(r"in line (\d+): .* report it there with (hpo_batch\.report\(.*\))\n", step)
    assert found is not None, step
    lines = text.splitlines()
    statement = next(line for line in reversed(lines[: int(found[1])]) if "print(" in line or "info(" in line)
    indent = re.match(r" *", statement)
    assert indent is not None
    lines.insert(int(found[1]), indent[0] + found[2])
    return "\n".join(["import hpo_batch", *lines]) + "\n"


CASES: dict[str, tuple[str, str, list[int | None]]] = {
    "a loop over epochs": ("""
for epoch in range(3):
    loss = 1 / (epoch + 1)
    print('loss', loss)
""", "loss", [0, 1, 2]),
    "a call over several lines": ("""
for e in range(1, 3):
    print(
        f'epoch {e}: val_loss={a.lr / e}'
    )
x = 1
""", "val_loss", [1, 2]),
    "after a loop over batches": ("""
for epoch in range(2):
    for i, x in enumerate('ab'):
        pass
    acc = 1.0
    print('acc', acc)
""", "acc", [0, 1]),
    "in a loop over batches": ("""
for epoch in range(2):
    for i, x in enumerate('ab'):
        loss = 0.5
        print('loss', loss)
""", "loss", [0, 0, 1, 1]),
    "a function that knows no epoch": ("""
def test():
    test_loss = 0.25
    print(f'test loss: {test_loss:.2f}')
for epoch in range(2):
    test()
""", "test_loss", [None, None]),
    "a function that is given the epoch": ("""
def test(model, epoch):
    for i, x in enumerate('ab'):
        loss = 0.25
    print('loss: %.3f' % loss)
for n in range(2):
    test(0, n)
""", "loss", [0, 1]),
    "while": ("""
step = 0
while step < 4:
    step += 2
    loss = 1.0
    print('loss', loss)
""", "loss", [2, 4]),
    "counted up": ("""
iter_num = 0
while True:
    iter_num += 1
    loss = 1.0
    print('loss', loss)
    if iter_num == 2:
        break
""", "loss", [1, 2]),
    "at the end": ("""
for name in ['a', 'b']:
    pass
acc = 0.5
print('acc =', acc)
""", "acc", [None]),
    "a loop that does not count": ("""
for fold in ['a', 'b']:
    acc = 0.5
    print('acc =', acc)
""", "acc", [None, None]),
    "a counter without a name": ("""
for _ in range(2):
    loss = 0.1
    print('loss', loss)
""", "loss", [None, None]),
    "a method": ("""
class Trainer:
    def fit(self):
        for ep, _ in enumerate('ab'):
            val_acc = 0.5
            if ep:
                print('val acc', val_acc)
Trainer().fit()
""", "val_acc", [1]),
    "a logger": ("""
import logging
for epoch in range(2):
    loss = 0.1
    logging.info('loss: %.3f', loss)
""", "loss", [0, 1]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_a_script_that_is_edited_as_told_reports(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text, name, steps = CASES[case]
    monkeypatch.chdir(tmp_path)
    script = Path("train.py")
    script.write_text(f"{HEAD}a = p.parse_args()\n{text}")
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    told = next(iter(made.steps), made.files[Path("sweep.toml")].replace("\n# ", " "))
    script.write_text(edited(script.read_text(), told))
    metrics = tmp_path / "metrics.jsonl"
    subprocess.run([sys.executable, script], check=True, env={**os.environ, EnvVar.METRICS_FILE: str(metrics)})
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line.get("step") for line in lines] == steps
    assert all(isinstance(line[name], float) for line in lines)


@pytest.mark.parametrize("case", CASES)
def test_a_script_that_is_not_edited_prints_the_same(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text, name, steps = CASES[case]
    monkeypatch.chdir(tmp_path)
    script = Path("train.py")
    script.write_text(f"{HEAD}a = p.parse_args()\n{text}")
    sweep = tomli.loads(from_script("train.py", sweep=Path("sweep.toml"), environ={}).files[Path("sweep.toml")])
    printed = sweep["objective"].get("printed")
    # nobody has configured the logger; a batch is no epoch, and one of two models not the result
    if case in ("a logger", "in a loop over batches", "a loop that does not count"):
        assert printed is None
        return
    numbers = Numbers({one: Label.parse(label) for one, label in printed.items()})
    said = subprocess.run([sys.executable, script], check=True, capture_output=True, text=True).stdout
    for line in said.splitlines():
        numbers.take(line)
    assert list(numbers.metrics) == [name]
    assert [step for step, _ in numbers.steps(to_end=True)] == ([] if "step" not in printed else sorted({*steps}))
