"""Texts of other people are read in time that grows with their length: patterns and parsers, with twice the text."""

from __future__ import annotations

import ast
import importlib
import itertools
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hpo_batch
from hpo_batch.monitor.output import last_lines
from hpo_batch.objective.placeholders import Template
from hpo_batch.objective.tail import Printed, parse_metrics
from hpo_batch.text.lines import harmless, one_line
from hpo_batch.text.secrets import masked, secrets_in

PLACES = ("search", "match", "fullmatch", "sub", "subn", "split", "findall", "finditer", "compile")
MOST = 8_000
TOO_MUCH = 2.9
BRIEF_S = 0.02
"""what takes less is no danger at these lengths, and too little to be measured"""
USERS_OWN = ("hpo_batch.training", "hpo_batch.integrations")


def patterns() -> Iterator[tuple[str, re.Pattern[str], str]]:
    """Every pattern that is written in the package, where it can be told without running a function, and its use."""
    whole = "\n".join(path.read_text() for path in Path(hpo_batch.__path__[0]).rglob("*.py"))
    for found in pkgutil.walk_packages(hpo_batch.__path__, "hpo_batch."):
        if found.name.startswith(USERS_OWN) or found.name.endswith("__main__"):
            continue
        module = importlib.import_module(found.name)
        source = Path(str(module.__file__)).read_text()
        tree = ast.parse(source)
        names = {id(n.value): ast.unparse(getattr(n, "target", None) or n.targets[0]) for n in ast.walk(tree)
                 if isinstance(n, ast.Assign | ast.AnnAssign) and n.value is not None}  # fmt: skip
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in PLACES):
                continue
            if not (isinstance(node.func.value, ast.Name) and node.func.value.id == "re" and node.args):
                continue
            try:
                text = eval(compile(ast.Expression(node.args[0]), "", "eval"), vars(module))
            except NameError:  # of a function's own
                continue
            given = [*node.args[1:], *(word.value for word in node.keywords if word.arg == "flags")]
            given = [one for one in given if re.fullmatch(r"(re\.[A-Z]+( \| )?)+", ast.unparse(one))]
            flags = [eval(compile(ast.Expression(one), "", "eval"), vars(module)) for one in given]
            uses = {node.func.attr}
            if node.func.attr == "compile":
                name = names.get(id(node), "?")
                uses = (
                    set(re.findall(rf"\b{name}\.(\w+)\(", source if name.startswith("_") else whole)) & set(PLACES)
                    if name.isidentifier()
                    else {"search"}
                )
            anchored = uses and uses <= {"match", "fullmatch"}
            use = sorted(uses)[-1] if anchored else "search"
            yield f"{found.name}:{node.lineno}", re.compile(text, *flags[-1:]), use


def pumps(pattern: re.Pattern[str]) -> Iterator[str]:
    """What an attacker repeats: pieces of the pattern itself, blanks, letters, quotes, and pairs of them."""
    literal = [
        word for word in re.findall(r"[A-Za-z*]{2,}(?: [A-Za-z*]{2,})*|[^\w\s]", pattern.pattern) if len(word) < 30
    ]
    pieces = list(dict.fromkeys(["a", " ", "0", "\\", "A", *literal]))[:10]
    yield from pieces
    yield from (a + b for a, b in itertools.permutations(pieces, 2))


def seconds(run: Callable[[str], object], text: str) -> float:
    began = time.process_time()
    run(text)
    return time.process_time() - began


def grows(run: Callable[[str], object], make: Callable[[int], str], most: int = MOST) -> float | None:
    """How many times as long twice the text takes, at the first length that takes time worth speaking of, if any."""
    size = 500
    while seconds(run, make(size)) < BRIEF_S:
        if size >= most:
            return None
        size *= 2
    longer = min(seconds(run, make(size)) for _ in range(3))
    shorter = min(seconds(run, make(size // 2)) for _ in range(3))
    ratio = longer / max(shorter, 1e-6)
    if ratio > TOO_MUCH:  # once more at twice the length: caches and other processes make a ratio, and not two
        ratio = min(ratio, min(seconds(run, make(2 * size)) for _ in range(2)) / longer)
    return ratio if longer > BRIEF_S else None


SHORT_TEXTS = {
    "hpo_batch.text.secrets": ("(//?)", "given what ends in an @ alone; its functions are tried below"),
    "hpo_batch.sweep.lines": ('"""', "matched at a place, not searched for"),
    "hpo_batch.expressions.names": ("'(?:", "expressions have at most 500 characters"),
}


def test_every_pattern_is_linear() -> None:
    """Quadratic time makes four times as much of twice the text, and linear two."""
    slow = []
    count = 0
    for place, pattern, use in patterns():
        count += 1
        known = SHORT_TEXTS.get(place.partition(":")[0])
        if known is not None and pattern.pattern.startswith(known[0]):
            continue
        run = getattr(pattern, use)
        for pump in pumps(pattern):
            ratio = grows(run, lambda n: (pump * n)[:n] + "\x00")  # noqa: B023
            if ratio is not None and ratio > TOO_MUCH:
                slow.append(f"{place}: {use} {pattern.pattern[:60]!r} on {pump!r}: {ratio:.1f} times")
                break
    assert count > 100
    assert not slow, "\n".join(slow)


READERS: dict[str, Callable[[str], object]] = {
    "RESULT lines": lambda text: Printed().take(f"RESULT: {text}".encode()),
    "lines that may be meant": lambda text: Printed().take(f"{text} RESULT: 1 {text}".encode()),
    "metrics": lambda text: parse_metrics(text.encode()),
    "text/secrets": masked,
    "secrets": lambda text: secrets_in([text]),
    "secrets of a URL": lambda text: secrets_in([f"postgresql://{text}"]),
    "a URL": lambda text: masked(f"postgresql://{text}"),
    "hydra": lambda text: Template.parse(["python", "{overrides}"]).fill({"x": text}, {}),
    "for a terminal": lambda text: harmless(text) + one_line(text),
}
PIECES = (
    *(
        "a",
        " ",
        "=",
        ",",
        "a=",
        "a=1 ",
        "a = ",
        "\\",
        "\\'",
        "'",
        '"',
        "/a:",
        "//a:",
        "@",
        "a@",
        "pass=",
        "passpass",
        "pass=%7b",
    ),
    *(
        "pass={",
        "%3d",
        "+",
        "\x1b[",
        "\x1b]",
        "\x1b[1;",
        "RESULT",
        "RESULT:",
        "result ",
        "final ",
        "1",
        "1:",
        ".",
        "-",
        "{",
    ),
    *("[", '{"a":', "$", "${", "\r", "\t", "\n", "\x0b", "é", "\u202e"),
)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_is_linear(reader: str) -> None:
    slow = []
    for piece in PIECES:
        ratio = grows(READERS[reader], lambda n: (piece * n)[:n], most=64_000)  # noqa: B023
        if ratio is not None and ratio > TOO_MUCH:
            slow.append(f"{piece!r}: {ratio:.1f} times")
    assert not slow, slow


@pytest.mark.parametrize("piece", ["a", " ", "\r", "a\r", "\n", "\x1b["])
def test_the_end_of_a_file(piece: str, tmp_path: Path) -> None:
    """64 kB without a return were four billion steps."""
    path = tmp_path / "stderr"

    def read(text: str) -> object:
        path.write_text(text)
        return last_lines(path, 10)

    ratio = grows(read, lambda n: (piece * n)[:n], most=64_000)
    assert ratio is None or ratio < TOO_MUCH


def test_a_line_that_took_seconds() -> None:
    line = b"RESULT: " + b"x" * 9_990
    assert seconds(lambda _: [Printed().take(line) for _ in range(200)], "") < 2


def test_what_is_a_result_stays_one() -> None:
    for text, read in {
        "loss=0.5 acc=0.9": {"loss": 0.5, "acc": 0.9},
        "loss = 0.5,acc= 0.9,": {"loss": 0.5, "acc": 0.9},
        "loss=0.5\tacc =0.9": {"loss": 0.5, "acc": 0.9},
        "a=1 b": {}, "a b=1": {}, "a==1": {}, "a=1=2": {}, "a=,b=1": {}, "=1": {}, "a=": {}, "a=x": {},
        "a=1 a=2": {}, ",": {},
        "a,=1": {}, "a=1;b=2": {}, "a=1\x0bb=2": {},
    }.items():  # fmt: skip
        printed = Printed()
        printed.take(f"RESULT: {text}".encode())
        assert printed.metrics == read, text
