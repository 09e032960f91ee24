"""Finds the options of a script: in its source, else by running it with ``--help``, and never by importing it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch.errors import UserError
from hpo_batch.init import hydra
from hpo_batch.init.defaults_list import load
from hpo_batch.init.help_text import LIMIT_S, Help, NoHelp, ask
from hpo_batch.init.modules import module_of, parsed, read_text
from hpo_batch.init.option import Kind, Option, Script
from hpo_batch.init.overrides import config_file, variables
from hpo_batch.init.propose import without_duplicates
from hpo_batch.init.source import Source, read_source
from hpo_batch.init.typed import Typed
from hpo_batch.text.names import listed

_TRAINING: Final = ("train", "fit", "run", "main", "finetune", "fine-tune")
"""subcommands that train, if the user names none"""
_LIGHTNINGS_FOLDER: Final = "--trainer.default_root_dir"
_CALLBACKS: Final = "--trainer.callbacks"
_KNOWN: Final = "argparse, click, typer, tyro, jsonargparse, Hydra, absl, fire"


def read_script(
    path: Path,
    *,
    subcommand: str,
    python: str,
    typed: Typed | None = None,
    limit_s: float = LIMIT_S,
    tell: Callable[[str], None] = lambda _: None,
) -> Script:
    """The options of a script.

    Args:
        path: of the script.
        subcommand: whose options to read; empty: the one that trains, if there are any.
        python: what runs the script to ask for its help.
        typed: what the user types to run it; None: its path.
        limit_s: seconds that it may take for that.
        tell: is told what takes long, before it begins.

    Raises:
        UserError: there is no such script, it is not Python, or its options cannot be found.
    """
    text = read_text(path)
    tree, words = parsed(path, text), typed.words if typed else ()
    module = typed.module if typed else ""
    if not module and (typed is None or not typed.launcher or typed.launcher == (typed.python,)):
        module = module_of(path, tree, text)
    runs = [python, *(("-m", module) if module else (str(path),))]
    how = _How(argv=tuple(runs), subcommand=subcommand, words=words, limit_s=limit_s, tell=tell)
    return replace(_configured(_read(path, text, tree, how), _config_of(words)), module=module)


@dataclass(frozen=True, kw_only=True)
class _How:
    """How a script is run."""

    argv: tuple[str, ...]
    subcommand: str
    words: tuple[str, ...]
    limit_s: float
    tell: Callable[[str], None]


def _read(path: Path, text: str, tree: ast.Module, how: _How) -> Script:
    subcommand, source = how.subcommand, read_source(path, text)
    if "hydra" in source.parsers:
        found = hydra.read_application(path, tree, words=how.words)
        if found.options:
            return _of_hydra(path, text, found)
    if options := variables(path, tree, files=subcommand.split()):
        return Script(path=path, text=text, options=options, has_equals=True, subcommand=subcommand)
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
    how.tell(f"asking '{' '.join(how.argv)} --help', which takes as long as its imports")
    return _asked(path, text, source, how)


def _of_hydra(path: Path, text: str, found: hydra.Application) -> Script:
    given = tuple(word for word in found.given if "LightningCallback" not in word or "LightningCallback" not in text)
    return Script(
        path=path,
        text=text,
        options=found.options,
        is_hydra=True,
        given=given,
        metric=found.metric,
        direction=found.direction,
        notes=found.notes,
    )


def _asked(path: Path, text: str, source: Source, how: _How) -> Script:
    """Run the script with ``--help``; where that fails, what the source says has to do."""
    subcommand, config = how.subcommand, _config_of(how.words)
    # its own help lists subcommands, of which fit has the options; asking twice would import torch twice
    name = subcommand or ("fit" if source.has_fit else "")
    answer = ask([*how.argv, *name.split(), *config], limit_s=how.limit_s)
    if isinstance(answer, Help) and answer.subcommands and not subcommand:
        name = _chosen(path, answer.subcommands, subcommand)
        answer = ask([*how.argv, name, *config], limit_s=how.limit_s)
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
        if config and source.parsers & {"LightningCLI", "jsonargparse"}:
            found = _with_config(found, config)
        return replace(found, given=_of_lightning(options, text)) if "LightningCLI" in source.parsers else found
    assert isinstance(answer, NoHelp)
    if not source.options and not any(source.of_subcommands.values()):
        raise UserError(
            f"'{path}': '{' '.join(how.argv)} --help' shows no options: {answer.why}. Make it work, or write the "
            "sweep by hand: docs/objective.md, A command"
        )
    name = _chosen(path, tuple(source.of_subcommands), subcommand)
    options_read = source.of_subcommands.get(name) or _behind(name, source.options)
    note = f"read from the source alone, since '{' '.join(how.argv)} --help' shows no options: {answer.why}"
    return _script(path, text, tuple(options_read), name, (note,))


def _of_lightning(options: Sequence[Option], text: str) -> tuple[str, ...]:
    """What a LightningCLI is told: the trial's folder, and our callback."""
    flags = {one.flag for one in options}
    # it saves its configuration there, and ends with an error if one is there already (SaveConfigCallback in
    # lightning/pytorch/cli.py): all trials but the first would fail in a folder that they share
    folder = (_LIGHTNINGS_FOLDER, "{trial_dir}") if _LIGHTNINGS_FOLDER in flags else ()
    has_own = "LightningCallback" in text or _CALLBACKS not in flags
    return folder if has_own else (*folder, f"{_CALLBACKS}+=hpo_batch.integrations.LightningCallback")


def _with_config(script: Script, words: Sequence[str]) -> Script:
    """A script with the options of classes that a file names: ``--model.init_args.lr`` stands in no help."""
    file = Path(words[-1].removeprefix("--config="))
    known = {one.flag for one in script.options}
    keys = hydra.options_of(load(file), "--") if file.suffix in (".yaml", ".yml") and file.is_file() else ()
    more = [one for one in keys if one.flag not in known and not one.flag.startswith("--config")]
    return replace(script, options=(*script.options, *more))


def _configured(script: Script, words: Sequence[str]) -> Script:
    """A script whose defaults are those of the file that the user names: ``parser.set_defaults(**values)``."""
    file = Path(words[-1].removeprefix("--config=")) if words else Path()
    if file.suffix not in (".yaml", ".yml") or not file.is_file() or script.is_hydra:
        return script
    given = {key.replace("-", "_"): value for key, value in load(file).items() if isinstance(value, int | float | str)}
    options = [
        replace(one, default=given[name], is_typed=True) if (name := one.name.replace("-", "_")) in given else one
        for one in script.options
    ]
    return replace(script, options=tuple(options))


def _config_of(words: Sequence[str]) -> tuple[str, ...]:
    """``--config file.yaml`` among words: parsers that read it show other defaults in their help."""
    for i, word in enumerate(words):
        if word.startswith("--config="):
            return (word,)
        if word in ("--config", "-c"):
            return tuple(words[i : i + 2])
    return ()


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
