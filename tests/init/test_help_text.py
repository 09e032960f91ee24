"""Help messages, as parsers print them on terminals of any kind."""

from __future__ import annotations

import pytest

from hpo_batch.init.help_text import parse
from hpo_batch.init.option import Kind, Option

RED, END = "\x1b[1;31m", "\x1b[0m"

WRAPPED = """\
usage: train.py [-h] [--learning-rate LEARNING_RATE] [--batch-size N]
                [--optimizer {sgd,adam}] --data DATA [--sizes SIZES [SIZES ...]]

options:
  -h, --help            show this help message and exit
  --learning-rate LEARNING_RATE
                        the rate of the optimizer, which is multiplied with
                        --batch-size where it is large (default: 0.001)
  --batch-size N, -b N  rows of a batch (default: 32)
  --optimizer {sgd,adam}
                        which one (default: adam)
  --data DATA           where the data are
  --sizes SIZES [SIZES ...]
                        sizes of layers (default: [1, 2])
  --amp, --no-amp       mixed precision (default: True)
  --fast                be fast (default: False)
"""
CLICK = """\
Usage: train.py [OPTIONS] DATA

  Trains.

Options:
  --lr FLOAT                      Learning rate.  [default: 0.001; x>0]
  -b, --batch-size INTEGER RANGE  Rows.  [default: 32; 1<=x<=1024]
  --norm / --no-norm              Normalise.  [default: norm]
  --optimizer [sgd|adam]          Which.  [default: sgd]
  --out PATH                      [required]
  --help                          Show this message and exit.
"""
TYPER = """\
 Usage: train.py [OPTIONS] DATA

\u256d\u2500 Arguments \u2500\u256e
\u2502 *    data      TEXT  [default: None] [required]               \u2502
\u2570\u2500\u256f
\u256d\u2500 Options \u2500\u256e
\u2502    --lr                          FLOAT    [default: 0.001]     \u2502
\u2502    --batch-size                  INTEGER  [default: 32]        \u2502
\u2502    --norm          --no-norm              [default: norm]      \u2502
\u2502 *  --out                         PATH     [required]           \u2502
\u2502    --help                                 Show this message    \u2502
\u2570\u2500\u256f
"""


def options(text: str) -> dict[str, Option]:
    return {one.flag: one for one in parse(text).options}


def test_a_message_that_is_wrapped_at_80_columns() -> None:
    found = options(WRAPPED)
    assert list(found) == [
        "--learning-rate", "--batch-size", "--optimizer", "--data", "--sizes", "--amp", "--fast",
    ]  # fmt: skip
    assert (found["--learning-rate"].kind, found["--learning-rate"].default) == (Kind.REAL, 0.001)
    assert (found["--batch-size"].kind, found["--batch-size"].default) == (Kind.INTEGER, 32)
    assert (found["--optimizer"].choices, found["--optimizer"].default) == (("sgd", "adam"), "adam")
    assert found["--data"].is_required
    assert found["--sizes"].kind is Kind.LIST
    assert (found["--amp"].off, found["--amp"].default) == ("--no-amp", True)
    assert (found["--fast"].is_flag, found["--fast"].default) == (True, False)
    assert [one.flag for one in found.values() if one.is_required] == ["--data"]


def test_colours_and_links_do_not_matter() -> None:
    coloured = WRAPPED.replace(
        "--learning-rate LEARNING_RATE\n", f"{RED}--learning-rate{END} {RED}LEARNING_RATE{END}\n"
    )
    coloured = coloured.replace("usage:", f"{RED}usage:{END}").replace("--data DATA  ", f"{RED}--data{END} DATA  ")
    assert coloured != WRAPPED
    assert options(coloured) == options(WRAPPED)


def test_click() -> None:
    found = options(CLICK)
    assert {name: (one.kind, one.default) for name, one in found.items()} == {
        "--lr": (Kind.REAL, 0.001),
        "--batch-size": (Kind.INTEGER, 32),
        "--norm": (Kind.BOOLEAN, True),
        "--optimizer": (Kind.TEXT, "sgd"),
        "--out": (Kind.PATH, None),
    }
    assert found["--norm"].off == "--no-norm"
    assert found["--out"].is_required


def test_the_boxes_of_typer() -> None:
    found = options(TYPER)
    assert {name: (one.kind, one.default) for name, one in found.items()} == {
        "--lr": (Kind.REAL, 0.001),
        "--batch-size": (Kind.INTEGER, 32),
        "--norm": (Kind.BOOLEAN, True),
        "--out": (Kind.PATH, None),
        "data": (Kind.UNKNOWN, None),
    }
    assert [name for name, one in found.items() if one.is_required] == ["--out", "data"]


@pytest.mark.parametrize("text", ["", "\x00\x1b[", "--", "  --\n  -- x\n", "usage:\n" * 1000, "  --a" + " -b" * 5000])
def test_nonsense_is_no_error(text: str) -> None:
    parse(text)


@pytest.mark.parametrize(
    ("shown", "kind"),
    [
        ("Union[float, Untyped], default: 0.01", Kind.REAL),
        ("Union[float, int, null], default: null", Kind.REAL),
        ("Optional[int], default: null", Kind.INTEGER),
        ("Union[bool, int], default: True", Kind.LIST),
        ("Union[str, Accelerator], default: auto", Kind.LIST),
    ],
)
def test_numbers_that_may_be_something_else(shown: str, kind: Kind) -> None:
    (option,) = parse(f"options:\n  --lr LR  (type: {shown})\n").options
    assert option.kind is kind
