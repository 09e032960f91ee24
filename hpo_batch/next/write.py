"""Writes sweep files from sweep files: single keys change, comments and order stay. The only user of tomlkit."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, AoT, Array, InlineTable, Item, Table

from hpo_batch.errors import UserError
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.lines import printable

OURS = re.compile(r"(?:^|; )(?:repair|expand|quota|fix|drop|narrow|keep): .*")
"""what an earlier refine has said of a parameter, from there to the end of its comment"""
OUR_HEAD = ("# refined from ", "# reasons: ")
PLAIN = 88
"""columns up to which an array of values stays on one line"""


class Draft:
    """A sweep file that is being edited."""

    def __init__(self, text: str) -> None:
        """Raises UserError for text that is not TOML."""
        try:
            self.document = tomlkit.parse(text.removeprefix("\ufeff"))
        except TOMLKitError as error:
            raise UserError(f"not valid TOML: {error}") from error

    @property
    def text(self) -> str:
        return self.document.as_string()

    def copy(self) -> Draft:
        return Draft(self.text)

    def head(self, lines: Sequence[str]) -> None:
        """Put comment lines above everything."""
        above = "".join(f"# {printable(line)}\n" for line in lines)
        below = "".join(line for line in self.text.splitlines(keepends=True) if not line.startswith(OUR_HEAD))
        self.document = tomlkit.parse(f"{above}\n{below.lstrip(chr(10))}")

    def set(self, keys: Sequence[str], value: Any, *, comment: str = "") -> None:
        """Set a key, whose table is made if need be. A comment behind the old value stays, the new one follows it."""
        table = self._table(keys[:-1])
        _put(table, keys[-1], value, comment)

    def remove(self, *keys: str) -> Any:
        """Remove a key or table; what it held, None if it is not there."""
        table: Any = self.document
        for key in keys[:-1]:
            table = table.get(key)
            if not isinstance(table, Mapping):
                return None
        return _plain(table.pop(keys[-1])) if keys[-1] in table else None

    def take_budget(self, name: str) -> None:
        """Make the sweep of one ``[[budget]]`` the only one: its keys are laid over the file's, as ``load`` does."""
        budgets = self.document.get("budget", [])
        (own,) = [_plain(budget) for budget in budgets if budget.get("name") == name]
        self.document.pop("budget")
        del own["name"]
        self._lay_over((), own)

    def add_trials(self, trials: Sequence[Mapping[str, Any]]) -> None:
        """Append ``[[trial]]`` tables."""
        if not trials:
            return
        held = self.document.get("trial")
        tables = held if isinstance(held, AoT) else tomlkit.aot()
        if isinstance(held, Array):  # trial = [{...}]: arrays of inline tables cannot be mixed with [[trial]]
            for one in _plain(self.document.pop("trial")):
                tables.append(_table_of(one))
        for one in trials:
            tables.append(_table_of(one))
        if tables is not held:
            self.document["trial"] = tables

    def _table(self, keys: Sequence[str]) -> Any:
        table: Any = self.document
        for key in keys:
            if key not in table:
                table[key] = tomlkit.inline_table() if isinstance(table, InlineTable) else tomlkit.table()
            table = table[key]
        return table

    def _lay_over(self, keys: tuple[str, ...], over: Mapping[str, Any]) -> None:
        for key, value in over.items():
            there = _plain(self._table(keys)).get(key)
            if isinstance(value, Mapping) and isinstance(there, Mapping):
                self._lay_over((*keys, key), value)
            else:
                self.set((*keys, key), value)


def checked(draft: Draft, path: Path) -> Sweep:
    """The sweep that a draft describes.

    Args:
        draft: without budgets.
        path: where the file is to be.

    Raises:
        SweepInvalid: it has mistakes.
    """
    (sweep,) = loads(draft.text, path=path)
    return sweep


def _put(table: Any, key: str, value: Any, comment: str) -> None:
    old = _held(table, key)
    told = ""
    if isinstance(old, Item) and not isinstance(old, Table | AoT):
        told = old.trivia.comment
    text = _joined(told, comment)
    if isinstance(old, AbstractTable) and isinstance(value, Mapping):
        _update(old, value, text, comment)
        return
    if isinstance(old, Array) and _edited(old, value):
        if text and not isinstance(table, InlineTable):
            old.comment(text)
        return
    new = _item(value)
    if isinstance(old, Array) and isinstance(value, Mapping) and repr(_plain(old)) == repr(value.get("choices")):
        new["choices"] = old  # as it stands, with the comments between its values
    if isinstance(old, AbstractTable) and isinstance(table, Table) and isinstance(old, Table):
        del table[key]  # a table of its own cannot become a value where it stands
    table[key] = new
    if text and not isinstance(table, InlineTable):
        held = _held(table, key)
        assert held is not None
        held.comment(text)


def _held(table: Any, key: str) -> Item | None:
    """An item with its comment; tables give true and false as Python's."""
    if key not in table:
        return None
    container = table.value if isinstance(table, AbstractTable) else table
    item = container.item(key)
    return item if isinstance(item, Item) else None


def _update(old: Any, value: Mapping[str, Any], text: str, comment: str) -> None:
    """Change single keys of a table, so that its layout stays."""
    for key in [key for key in old if key not in value]:
        del old[key]
    for key, inner in value.items():
        held = _held(old, key)
        if repr(_plain(held)) != repr(inner) and not (isinstance(held, Array) and _edited(held, inner)):
            old[key] = _item(inner)
    if isinstance(old, InlineTable):
        if text:
            old.comment(text)
    elif comment:
        first = _held(old, next(iter(value)))
        assert first is not None
        first.comment(_joined(first.trivia.comment, comment))


def _edited(array: Array, value: Any) -> bool:
    """Take out and add elements where they stand, so that comments between them stay; False if that is not all."""
    if not isinstance(value, list | tuple) or "\n" not in array.as_string():
        return False  # nothing stands between elements on one line, and tomlkit adds them without a space
    there = [repr(inner) for inner in _plain(array)]
    wanted = [repr(inner) for inner in value]
    rest = [inner for inner in there if inner in wanted]
    front = len(wanted) - len(rest) if wanted[len(wanted) - len(rest) :] == rest else 0
    if wanted[front : front + len(rest)] != rest or len(set(there)) < len(there):
        return False
    for place in reversed([i for i, inner in enumerate(there) if inner not in wanted]):
        del array[place]
    for place, inner in enumerate(value[:front]):
        array.insert(place, _item(inner))
    for inner in value[front + len(rest) :]:
        array.append(_item(inner))
    return [repr(inner) for inner in _plain(array)] == wanted


def _joined(told: str, comment: str) -> str:
    """An old comment and a new one, without what an earlier refine has said."""
    told = OURS.sub("", told.strip().lstrip("# ")) if comment else told.strip().lstrip("# ")
    return "; ".join(printable(part) for part in dict.fromkeys((told, comment)) if part)


def _item(value: Any) -> Any:
    if isinstance(value, Mapping):
        table = tomlkit.inline_table()
        for key, inner in value.items():
            table[key] = _item(inner)
        return table
    if isinstance(value, list | tuple):
        array = tomlkit.array()
        for inner in value:
            array.append(_item(inner))
        return array.multiline(len(array.as_string()) > PLAIN)
    return tomlkit.item(value)


def _table_of(value: Mapping[str, Any]) -> Table:
    table = tomlkit.table()
    for key, inner in value.items():
        table[key] = _item(inner)
    return table


def _plain(value: Any) -> Any:
    return value.unwrap() if hasattr(value, "unwrap") else value
