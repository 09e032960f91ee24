"""Finds the options of a script: in its source, else by running it with ``--help``, and never by importing it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.init import hydra
from hpo_batch.init.help_text import LIMIT_S, Help, NoHelp, ask
from hpo_batch.init.modules import parsed, read_text
from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.init.overrides import config_file, variables
from hpo_batch.init.propose import without_duplicates
from hpo_batch.init.source import Source, read_source
from hpo_batch.text.names import listed

_TRAINING: Final = ("train", "fit", "run", "main", "finetune", "fine-tune")
"""subcommands that train, if the user names none"""
_LIGHTNINGS_FOLDER: Final = "--trainer.default_root_dir"
_KNOWN: Final = "argparse, click, typer, tyro, jsonargparse, Hydra, absl, fire"


def read_script(
    path: Path, *, subcommand: str, python: str, limit_s: float = LIMIT_S, tell: Callable[[str], None] = lambda _: None
) -> Script:
    """The options of a script.

    Args:
        path: of the script.
        subcommand: whose options to read; empty: the one that trains, if there are any.
        python: what runs the script to ask for its help.
        limit_s: seconds that it may take for that.
        tell: is told what takes long, before it begins.

    Raises:
        UserError: there is no such script, it is not Python, or its options cannot be found.
    """
    text = read_text(path)
    tree, source = parsed(path, text), read_source(path, text)
    if "hydra" in source.parsers:
        options, notes = hydra.read_options(path, tree)
        if options:
            return Script(path=path, text=text, options=options, is_hydra=True, notes=notes)
    if options := variables(path, tree):
        return Script(path=path, text=text, options=options, has_equals=True)
    if not source.parsers:
        raise UserError(
            f"'{path}' reads no options that init knows ({_KNOWN}), and a sweep needs something to set; "
            "'hpo-batch init --command' writes a script that has some"
        )
    entries, named = config_file(path, tree)
    if entries:
        name = named.partition("=")[0]
        others = [option for option in source.options if option.flag != name]
        return Script(path=path, text=text, options=(*entries, *others), has_equals=True, given=(named,))
    if source.is_whole:
        name = _chosen(path, tuple(source.of_subcommands), subcommand)
        return _script(path, text, source.of_subcommands.get(name) or _behind(name, source.options), name, ())
    tell(f"asking '{python} {path} --help', which takes as long as its imports")
    return _asked(path, text, source, subcommand=subcommand, python=python, limit_s=limit_s)


def _asked(path: Path, text: str, source: Source, *, subcommand: str, python: str, limit_s: float) -> Script:
    """Run the script with ``--help``; where that fails, what the source says has to do."""
    argv = [python, str(path)]
    # its own help lists subcommands, of which fit has the options; asking twice would import torch twice
    name = subcommand or ("fit" if "LightningCLI" in source.parsers else "")
    answer = ask([*argv, *name.split()], limit_s=limit_s)
    if isinstance(answer, Help) and answer.subcommands and not subcommand:
        name = _chosen(path, answer.subcommands, subcommand)
        answer = ask([*argv, name], limit_s=limit_s)
    if isinstance(answer, Help):
        known = {option.flag: option for option in (*source.options, *source.of_subcommands.get(name, ()))}
        options = [_completed(option, known.get(option.flag), source.fields) for option in answer.options]
        if "fire" in source.parsers:
            options = [_of_python(option) for option in options]
        if not answer.subcommands and name not in source.of_subcommands:
            options = list(_behind(subcommand, options))
        found = replace(_script(path, text, tuple(options), name, ()), fields=frozenset(source.fields))
        # TrainingArguments do nothing without; both take an optional value, which is true
        switches = tuple(f"--{one.name}" for one in options if one.name in ("do_train", "do_eval"))
        if "HfArgumentParser" in source.parsers:
            return replace(found, given=switches)
        if "LightningCLI" in source.parsers and any(one.flag == _LIGHTNINGS_FOLDER for one in options):
            # it saves its configuration there, and ends with an error if one is there already (SaveConfigCallback in
            # lightning/pytorch/cli.py): all trials but the first would fail in a folder that they share
            return replace(found, given=(_LIGHTNINGS_FOLDER, "{trial_dir}"))
        return found
    assert isinstance(answer, NoHelp)
    if not source.options and not any(source.of_subcommands.values()):
        raise UserError(
            f"'{path}': '{python} {path} --help' shows no options: {answer.why}. Make it work, or write the sweep by "
            "hand: docs/objective.md, A command"
        )
    name = _chosen(path, tuple(source.of_subcommands), subcommand)
    options_read = source.of_subcommands.get(name) or _behind(name, source.options)
    note = f"read from the source alone, since '{python} {path} --help' shows no options: {answer.why}"
    return _script(path, text, tuple(options_read), name, (note,))


def _script(path: Path, text: str, options: tuple[Option, ...], name: str, notes: tuple[str, ...]) -> Script:
    if not options:
        raise UserError(f"'{path}' has no options, and a sweep needs something to set")
    unique = tuple(without_duplicates(options))
    return Script(path=path, text=text, options=unique, subcommand=name, notes=notes)


def _behind(words: str, options: Sequence[Option]) -> tuple[Option, ...]:
    """The options of a script without subcommands that is given words: its first positional arguments are known."""
    known = [option for option in options if option.is_positional][: len(words.split())]
    return tuple(option for option in options if option not in known)


def _completed(option: Option, read: Option | None, fields: Mapping[str, Option]) -> Option:
    """An option of the help message, with what the source alone says: types and defaults are often not shown."""
    field = fields.get(option.name.replace("-", "_"))
    if read is None and field is not None and not option.is_flag:
        return replace(
            option,
            kind=field.kind if option.kind is Kind.UNKNOWN else option.kind,
            default=field.default if option.default is None else option.default,
        )
    if read is None:
        return option
    return replace(
        option,
        kind=read.kind if read.kind is not Kind.UNKNOWN else option.kind,
        default=read.default if read.default is not None else option.default,
        choices=read.choices or option.choices,
        is_required=read.is_required or option.is_required,
        is_flag=read.is_flag,
        off=read.off or option.off,
        why_left=read.why_left,
    )


def _of_python(option: Option) -> Option:
    """fire reads values as Python does: true is a text."""
    if option.kind is not Kind.BOOLEAN:
        return option
    return replace(option, kind=Kind.TEXT, choices=("True", "False"), default=str(option.default), is_flag=False)


def _chosen(path: Path, names: Sequence[str], wanted: str) -> str:
    """The subcommand to read.

    Raises:
        UserError: there is none of that name, or several of which none trains.
    """
    if wanted:
        if names and wanted not in names:
            raise UserError(f"'{path}' has no subcommand '{wanted}'; it has {listed(sorted(names), most=20)}")
        return wanted
    if len(names) <= 1:
        return names[0] if names else ""
    found = next((name for name in _TRAINING if name in names), None)
    if found is None:
        example = f"hpo-batch init --from '{path} {sorted(names)[0]}'"
        raise UserError(f"'{path}' has the subcommands {listed(sorted(names), most=20)}; name one: {example}")
    return found
