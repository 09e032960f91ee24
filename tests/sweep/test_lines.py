"""The line of every key, however it is written."""

from __future__ import annotations

from typing import Any

import pytest
import tomli
from hypothesis import given, settings
from hypothesis import strategies as st

from hpo_batch.sweep.lines import Key, key_lines, line_of


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a = 1\nb = 2", {("a",): 1, ("b",): 2}),
        ("\n\n# c = 1\n  a\t=\t1 # b = 2\n", {("a",): 4}),
        ("[t]\n\na = 1", {("t",): 1, ("t", "a"): 3}),
        (" [ t . u ] # x\n a = 1", {("t",): 1, ("t", "u"): 1, ("t", "u", "a"): 2}),
        # a table's own header counts, not that of one inside it
        ("[t.u]\na = 1\n[t]\nb = 1", {("t",): 3, ("t", "u"): 1, ("t", "u", "a"): 2, ("t", "b"): 4}),
        ("a.b.c = 1\na.d = 2", {("a",): 1, ("a", "b"): 1, ("a", "b", "c"): 1, ("a", "d"): 2}),
        ("'a.b' = 1\n\"c\\u0041\" . d = 2", {("a.b",): 1, ("cA",): 2, ("cA", "d"): 2}),
        ('"a=b" = "c=d"\ne = "]#\\""\nf = 1', {("a=b",): 1, ("e",): 2, ("f",): 3}),
        ("a = [\n 1,\n # ]\n 2,\n]\nb = 1", {("a",): 1, ("a", 0): 2, ("a", 1): 4, ("b",): 6}),
        ("a = [\n]\nb = 1", {("a",): 1, ("b",): 3}),
        ("a = { b = 1, c.d = 2 }\ne = {}", {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1, ("e",): 2}),
        ("a = {\n  b = 1,\n  c = { d = 2 },\n}\ne = 1",
         {("a",): 1, ("a", "b"): 2, ("a", "c"): 3, ("a", "c", "d"): 3, ("e",): 5}),
        ("a = [\n  { b = 1 },\n  { b = 2 } ]",
         {("a",): 1, ("a", 0): 2, ("a", 0, "b"): 2, ("a", 1): 3, ("a", 1, "b"): 3}),
        ('a = """x\n b = 1\n"" \\""" """\nc = 1', {("a",): 1, ("c",): 4}),
        ('a = """x""""\nb = 1', {("a",): 1, ("b",): 2}),
        ('a = """""x"""""\nb = 1', {("a",): 1, ("b",): 2}),
        ('a = """"""\nb = ""\nc = 1', {("a",): 1, ("b",): 2, ("c",): 3}),
        ('a = """\\\\"""\nb = "\\\\"\nc = 1', {("a",): 1, ("b",): 2, ("c",): 3}),
        ("a = '''x\n'''''\nb = '\\'\nc = 1", {("a",): 1, ("b",): 3, ("c",): 4}),
        ("a = 2024-01-01 10:00:00 # x\nb = 04:00:00\nc = -inf", {("a",): 1, ("b",): 2, ("c",): 3}),
        ("[[t]]\na = 1\n[[t]]\na = 2\n[t.u]\nb = 3",
         {("t",): 1, ("t", 0): 1, ("t", 0, "a"): 2, ("t", 1): 3, ("t", 1, "a"): 4, ("t", 1, "u"): 5,
          ("t", 1, "u", "b"): 6}),
        ("[[t]]\n[[t.u]]\na = 1\n[[t.u]]\n[t.u.v]\n[[t]]\n[[t.u]]",
         {("t",): 1, ("t", 0): 1, ("t", 0, "u"): 2, ("t", 0, "u", 0): 2, ("t", 0, "u", 0, "a"): 3, ("t", 0, "u", 1): 4,
          ("t", 0, "u", 1, "v"): 5, ("t", 1): 6, ("t", 1, "u"): 7, ("t", 1, "u", 0): 7}),
        ("\ta = 1\r\nb = [\r\n1]\r\n[t]\r\n", {("a",): 1, ("b",): 2, ("b", 0): 3, ("t",): 4}),
        ("", {}),
        ("# only a comment", {}),
    ],
)  # fmt: skip
def test_lines(text: str, expected: dict[Key, int]) -> None:
    tomli.loads(text)
    assert key_lines(text) == expected


def test_the_nearest_table_around_a_key() -> None:
    lines = key_lines("[a]\nb = { c = 1 }\n[d.e]")
    assert line_of(("a", "b", "c"), lines) == 2
    assert line_of(("a", "b", "x"), lines) == 2
    assert line_of(("a", "x", "y"), lines) == 1
    assert line_of(("d",), lines) == 3
    assert line_of(("x",), lines) is None
    assert line_of((), lines) is None


names = st.text(alphabet="ab .\"'\\#=[]{}ü\n", min_size=1, max_size=4)
texts = st.text(alphabet="ab \"'\\#=[]{},\n", max_size=8)


def basic(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


class Writer:
    """Writes a document in one of many ways, and the line of each key as it goes."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw = draw
        self.text = ""
        self.lines: dict[Key, int] = {}

    @property
    def line(self) -> int:
        return self.text.count("\n") + 1

    def blank(self) -> None:
        self.text += self.draw(st.sampled_from(["", " ", "\t", "\n", '# a = ["\n', "\n\n  "]))

    def value(self, key: Key, depth: int = 0) -> None:
        kind = self.draw(
            st.sampled_from(["number", "text", "multi", "literal", *(["list", "table"] if depth < 2 else [])])
        )
        if kind == "number":
            self.text += self.draw(st.sampled_from(["1", "-1.5e3", "true", "2024-01-01 00:00:00", "inf"]))
        elif kind == "text":
            self.text += basic(self.draw(texts))
        elif kind == "multi":
            inner = self.draw(texts).replace("\\", "\\\\").replace('"""', '""\\"')
            self.text += f'"""{inner}"""'
        elif kind == "literal":
            self.text += "'" + self.draw(texts).replace("'", "").replace("\n", "") + "'"
        elif kind == "list":
            self.text += "["
            for i in range(self.draw(st.integers(0, 3))):
                self.blank()
                self.lines[(*key, i)] = self.line
                self.value((*key, i), depth + 1)
                self.blank()
                self.text += ","
            self.blank()
            self.text += "]"
        else:
            self.text += "{"
            for i, name in enumerate(self.draw(st.lists(names, unique=True, max_size=3))):
                self.text += "," if i else ""
                self.blank()
                self.assignment((*key, name), depth + 1)
                self.blank()
            self.text += "}"

    def assignment(self, key: Key, depth: int = 0) -> None:
        self.lines[key] = self.line
        self.text += f"{basic(str(key[-1]))} = "
        self.value(key, depth)


@st.composite
def documents(draw: st.DrawFn) -> tuple[str, dict[Key, int]]:
    writer = Writer(draw)
    counts: dict[Key, int] = {}
    for name in draw(st.lists(names, unique=True, max_size=4)):
        writer.blank()
        writer.assignment((name,))
        writer.text += draw(st.sampled_from(["\n", " # x = 1\n"]))
    for name in draw(st.lists(names, unique=True, max_size=3)):
        if (name,) in writer.lines:
            continue
        is_array = draw(st.booleans())
        for _ in range(draw(st.integers(1, 2)) if is_array else 1):
            writer.blank()
            table: Key = (name,)
            writer.lines.setdefault(table, writer.line)
            if is_array:
                counts[table] = counts.get(table, -1) + 1
                table = (name, counts[table])
                writer.lines[table] = writer.line
            writer.text += f"[[ {basic(name)} ]]\n" if is_array else f"[{basic(name)}]\n"
            for inner in draw(st.lists(names, unique=True, max_size=3)):
                writer.assignment((*table, inner))
                writer.text += "\n"
    return writer.text, writer.lines


@settings(deadline=None, max_examples=200)
@given(documents())
def test_any_document(document: tuple[str, dict[Key, int]]) -> None:
    text, lines = document
    parsed = tomli.loads(text)
    assert key_lines(text) == lines
    assert set(lines) == set(keys_of(parsed))


def keys_of(node: Any, key: Key = ()) -> list[Key]:
    if isinstance(node, dict):
        inner = [(key_part, value) for key_part, value in node.items()]
    elif isinstance(node, list):
        inner = list(enumerate(node))
    else:
        return []
    return [k for part, value in inner for k in ((*key, part), *keys_of(value, (*key, part)))]
