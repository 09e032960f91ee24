"""The configuration that Hydra makes of YAML files with defaults lists. Nothing of the application runs.

The only user of yaml. https://hydra.cc/docs/advanced/defaults_list/
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

from hpo_batch.errors import UserError
from hpo_batch.init.modules import read_text
from hpo_batch.init.option import HOW

_PACKAGE = re.compile(r"^#\s*@package\s+(\S+)", re.MULTILINE)
_ROUNDS: Final = 4
"""of composing until no file overrides a choice any more"""
_DEEPEST: Final = 20


class Composer:
    """Lays the files of a folder over each other, as Hydra does; groups are tables of their name.

    Args:
        root: the folder of ``config_path``.
        choices: of groups, instead of those in the defaults lists: ``{"model": "large"}``.
    """

    def __init__(self, root: Path, choices: Mapping[str, str]) -> None:
        self.notes: dict[str, None] = {}
        self._root = root
        self._typed = dict(choices)
        self._choices = dict(choices)

    def compose(self, file: Path) -> dict[str, Any]:
        """The values of a file and of all that its defaults list names.

        Raises:
            UserError: one of them cannot be read.
        """
        for _ in range(_ROUNDS):
            before = dict(self._choices)
            self.notes.clear()
            values = self._composed(file, depth=0)
            for group, choice in self._typed.items():  # experiment=a, where the defaults list does not name the group
                if group not in self._seen(file):
                    values = _merged(values, self._group(self._root, group, choice, depth=0))
            if self._choices == before:
                break
        return values

    def _seen(self, file: Path) -> set[str]:
        entries = load(file).get("defaults", [])
        named = [group for entry in entries if isinstance(entry, Mapping) for group in entry]
        return {_words(str(group))[1].strip("/") for group in named}

    def _composed(self, file: Path, *, depth: int) -> dict[str, Any]:
        raw = load(file)
        defaults = raw.pop("defaults", [])
        if depth > _DEEPEST:
            return raw
        values: dict[str, Any] = {}
        for entry in defaults if isinstance(defaults, list) else []:
            if entry == "_self_":
                values = _merged(values, raw)
                raw = {}
            elif isinstance(entry, str):
                other = self._file(file.parent, entry)
                values = _merged(values, self._composed(other, depth=depth + 1) if other else {})
            elif isinstance(entry, Mapping):
                for group, given in entry.items():
                    for choice in self._chosen(str(group), given):
                        values = _merged(values, self._group(file.parent, str(group), choice, depth=depth))
        return _merged(values, raw)

    def _chosen(self, group: str, given: object) -> Iterator[str]:
        """What a group stands for; nothing for null, and for what is overridden elsewhere."""
        is_override, name = _words(group)
        name = name.strip("/").partition("@")[0]
        if is_override:
            if isinstance(given, str) and name not in self._typed:
                self._choices[name] = given
            return
        choice = self._choices.get(name, given)
        yield from (str(one) for one in (choice if isinstance(choice, list) else [choice]) if isinstance(one, str))

    def _group(self, folder: Path, group: str, choice: str, *, depth: int) -> dict[str, Any]:
        name, _, package = _words(group)[1].partition("@")
        file = self._file(folder, f"{name}/{choice}")
        path = name.strip("/")
        if path.startswith("hydra") or file is None:
            return {}
        others = sorted(one.stem for one in file.parent.glob("*.y*ml") if one.stem != file.stem)
        if others and not set(path.split("/")) & HOW:
            self.notes[f"the group {path} could be searched too: {path} = {[file.stem, *others]}"] = None
        values = self._composed(file, depth=depth + 1)
        header = _PACKAGE.search(read_text(file))
        where = package or (header[1] if header else "_group_")
        if where == "_global_":
            return values
        for part in reversed((path.replace("/", ".") if where == "_group_" else where).split(".")):
            values = {part: values}
        return values

    def _file(self, folder: Path, name: str) -> Path | None:
        """The file of ``model/small`` beside the one that names it, or of ``/model/small`` in the root."""
        place = self._root if name.startswith("/") else folder
        stem = re.sub(r"\.ya?ml$", "", name.strip("/"))
        return next((one for end in ("yaml", "yml") if (one := place / f"{stem}.{end}").is_file()), None)


def load(file: Path) -> dict[str, Any]:
    """The table in a YAML file; empty if the file is.

    Raises:
        UserError: it cannot be read, or holds something else.
    """
    try:
        values = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"'{file}' is not valid YAML: {str(error).splitlines()[0]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise UserError(f"'{file}' is not a configuration of Hydra: it holds no table")
    return {str(key): value for key, value in values.items()}


def _words(group: str) -> tuple[bool, str]:
    """Whether a group is overridden, and its name without what stands before it."""
    words = group.split()
    return "override" in words[:-1], words[-1] if words else ""


def _merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        merged[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged
