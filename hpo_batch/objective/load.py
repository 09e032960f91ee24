"""Loads the objective of a sweep, or checks without importing it that it exists.

Only ``import_function`` imports the user's code.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import os
import pkgutil
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from hpo_batch.errors import UserError
from hpo_batch.extras import EXTRAS, install, require
from hpo_batch.objective.command import CommandObjective
from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.labels import Label
from hpo_batch.objective.metrics import Wanted
from hpo_batch.objective.placeholders import Template, split
from hpo_batch.objective.trial import Trial
from hpo_batch.objective.trials import ManyFunction, read_many
from hpo_batch.records import GivenBack, Outcome
from hpo_batch.text.names import did_you_mean

if TYPE_CHECKING:
    from hpo_batch.sweep import schema


OURS = "hpo_batch.training."
"""trainers that ship with hpo-batch, which need torch"""
MANY: Final = "train_many"
"""name of the optional function that trains several trials together"""


class Objective(Protocol):
    """The user's code, ready to run attempts."""

    def run(self, trial: Trial) -> Outcome | GivenBack: ...


def load(objective: schema.Objective, *, metrics: tuple[str, ...], computed: Mapping[str, str]) -> Objective:
    """Load an objective. A function is imported now, after the sweep's environment variables are set.

    Args:
        objective: ``[objective]`` of the sweep.
        metrics: ``[study] metric``.
        computed: ``[metrics]``, name -> formula.

    Raises:
        UserError: the function cannot be imported, or the command or a formula is invalid.
    """
    wanted = Wanted.parse(metrics, computed)
    cwd = Path(objective.cwd).absolute() if objective.cwd is not None else None
    if objective.function is not None:
        os.environ.update(objective.env)
        function = import_function(objective.function, cwd=cwd)
        return FunctionObjective(function=function, wanted=wanted)
    assert objective.command is not None
    template = Template.parse(objective.command)
    labels = {name: Label.parse(text) for name, text in objective.printed.items()}
    return CommandObjective(template=template, wanted=wanted, cwd=cwd, env=dict(objective.env), labels=labels)


def import_function(spec: str, *, cwd: Path | None = None) -> Callable[..., Any]:
    """Import the function ``package.module:name``.

    Args:
        spec: of the function.
        cwd: folder added to ``sys.path``, as with ``python -m``; default: the working directory.

    Raises:
        UserError: it does not exist, its module fails to import (see ``__cause__``), or it is not callable.
    """
    module_name, name = _split(spec)
    folder = str((cwd or Path.cwd()).absolute())
    # first in sys.path, as with `python -m`; only once, since a process may load several objectives
    if sys.path[:1] != [folder]:
        sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        with _no_arguments():
            found: Any = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and f"{module_name}.".startswith(f"{error.name}."):
            raise UserError(_no_module(spec, module_name, folder)) from None
        raise UserError(_needs(spec, module_name, error.name)) from error
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a script without a guard may call sys.exit() when it is imported
        hint = "; guard its main code with if __name__ == '__main__'" if isinstance(error, SystemExit) else ""
        raise UserError(
            f"'{spec}': module '{module_name}' failed while it was imported: {type(error).__name__}: {error}{hint}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise UserError(_no_name(spec, part, dir(found)))
        found = getattr(found, part)
    if not callable(found):
        raise UserError(
            f"'{spec}' is a {type(found).__name__}; the objective must be a function of one argument, the trial"
        )
    function: Callable[..., Any] = found
    return function


def _needs(spec: str, module_name: str, package: str | None) -> str:
    message = f"'{spec}': module '{module_name}' needs '{package}', which is not installed"
    is_ours = module_name.startswith(OURS)
    return f"{message}: {install(package)}" if is_ours and package in EXTRAS else message


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """Hide our command-line arguments from user code that parses ``sys.argv`` at import."""
    ours = sys.argv
    sys.argv = ours[:1]
    try:
        yield
    finally:
        sys.argv = ours


def many_of(spec: str) -> str:
    """The name of the ``train_many`` in the module of a function, ``package.module:train_many``."""
    return f"{_split(spec)[0]}:{MANY}"


def import_many(spec: str, *, must: bool) -> ManyFunction | None:
    """The ``train_many`` beside the function ``package.module:name``, which is imported already; None without one.

    Args:
        spec: of the function.
        must: whether to reject a module without one.

    Raises:
        UserError: there must be one, and there is none; or see ``import_function``, or it does not say its shape.
    """
    if getattr(sys.modules[_split(spec)[0]], MANY, None) is None:
        if not must:
            return None
        raise UserError(_no_name(many_of(spec), MANY, set()))
    return read_many(import_function(many_of(spec)), spec=many_of(spec))


def find_function(spec: str, *, cwd: Path | None = None) -> Path | None:
    """Find the file that defines ``package.module:name`` without running any user code; None if there is no source.

    Names that only an import could resolve, such as those of a star import, are assumed to exist.

    Raises:
        UserError: there is no such module, or no such name in it; or it is a trainer of ours, and torch is missing.
    """
    module_name, name = _split(spec)
    if module_name.startswith(OURS):
        require("torch", what=f"'{spec}'")
    folder = str((cwd or Path.cwd()).absolute())
    importlib.invalidate_caches()
    found = _find_module(module_name, folder)
    if found is None:
        raise UserError(_no_module(spec, module_name, folder))
    if found.origin is None or not found.origin.endswith(".py"):
        if found.origin is None:
            raise UserError(f"'{spec}': '{module_name}' is a folder without code; name a module in it")
        return None
    path = Path(found.origin)
    try:
        tree = ast.parse(path.read_bytes(), filename=str(path))
    except (SyntaxError, ValueError, RecursionError, OSError) as error:
        where = f"{path}:{error.lineno}" if isinstance(error, SyntaxError) else f"{path}"
        raise UserError(f"'{spec}': cannot read {where}: {error}") from None
    names = set(_names_in(tree.body))
    first = name.split(".")[0]
    if first not in names and not names & {"*", "__getattr__"}:
        raise UserError(_no_name(spec, first, names))
    return path


def missing_files(objective: schema.Objective, *, cwd: Path | None = None) -> list[str]:
    """Messages for the program and script of a command, if they do not exist on this machine.

    Args:
        objective: of the sweep.
        cwd: base of ``[objective] cwd``; default: the working directory.
    """
    if objective.command is None:
        return []
    words = split(objective.command)
    folder = (cwd or Path.cwd()) / (objective.cwd or ".")
    program, scripts = words[0], [word for word in words[1:2] if word.endswith((".py", ".sh")) and "{" not in word]
    missing = []
    found = shutil.which(folder / program if "/" in program else program, path=objective.env.get("PATH"))
    if "{" not in program and found is None:
        missing.append(f"'{program}' is not a command on this machine")
    for script in scripts:
        try:
            (folder / script).stat()
        except PermissionError:  # such as in a colleague's home directory
            missing.append(f"file '{script}' cannot be read (permission denied)")
        except (OSError, ValueError):
            missing.append(f"no file '{script}' in {folder.resolve()}")
    return missing


def _split(spec: str) -> tuple[str, str]:
    module_name, colon, name = spec.partition(":")
    parts = [*module_name.split("."), *name.split(".")]
    if not colon or not all(part.isidentifier() for part in parts):
        raise UserError(f"'{spec}' is not a function; write it as 'package.module:name', such as 'train:train'")
    return module_name, name


def _find_module(module_name: str, folder: str) -> ModuleSpec | None:
    """The module's spec, without ``importlib.util.find_spec``, which imports the parent packages."""
    top, *rest = module_name.split(".")
    found = _find_in([folder, *sys.path], top) or _ask_finders(top)
    for part in rest:
        if found is None:
            return None
        found = _find_in(found.submodule_search_locations or (), f"{found.name}.{part}")
    return found


def _find_in(path: Sequence[str], full_name: str) -> ModuleSpec | None:
    """A module or package in the folders of ``path``, or a namespace package.

    Not ``PathFinder``, which needs the outer package imported to find a namespace package in it.
    """
    portions: list[str] = []
    for folder in path:
        finder = pkgutil.get_importer(folder)
        found = finder.find_spec(full_name) if finder is not None else None
        if found is not None and found.loader is not None:
            return found
        portions += (found.submodule_search_locations or ()) if found is not None else ()
    if not portions:
        return None
    package = ModuleSpec(full_name, None, is_package=True)
    package.submodule_search_locations = portions
    return package


def _ask_finders(top: str) -> ModuleSpec | None:
    """Ask all finders: for built-in modules, and for editable installs, which add their own."""
    for finder in sys.meta_path:
        found = finder.find_spec(top, None)
        if found is not None:
            return found
    return None


def _names_in(body: Sequence[ast.stmt]) -> Iterator[str]:
    """Names bound by the statements of a module, including those in ``if``, ``try`` and ``with``."""
    for statement in body:
        match statement:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Import(names=aliases) | ast.ImportFrom(names=aliases):
                yield from (alias.asname or alias.name.split(".")[0] for alias in aliases)
            case ast.Assign(targets=targets):
                yield from (node.id for target in targets for node in ast.walk(target) if isinstance(node, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield name
            case ast.Try():
                blocks = (statement.body, *(h.body for h in statement.handlers), statement.orelse, statement.finalbody)
                for block in blocks:
                    yield from _names_in(block)
            case ast.If() | ast.For() | ast.While():
                yield from _names_in([*statement.body, *statement.orelse])
            case ast.With():
                yield from _names_in(statement.body)


def _no_module(spec: str, module_name: str, folder: str) -> str:
    top, _, rest = module_name.partition(".")
    if rest == "py":
        return f"'{spec}': write the module's name without '.py': '{top}:{spec.partition(':')[2]}'"
    known = [module.name for module in pkgutil.iter_modules([folder])]
    hint = did_you_mean(top, known) if top not in known else ""
    return f"'{spec}': there is no module '{module_name}' in '{folder}' or among the installed packages{hint}"


def _no_name(spec: str, name: str, known: Iterable[str]) -> str:
    public = sorted(n for n in known if not n.startswith("_"))
    hint = did_you_mean(name, public, otherwise=f"; it has {', '.join(public[:12]) or 'no names'}")
    if name == MANY:  # asked for by job.fuse, and no misspelling of another
        hint = '; write it ("Several small trials at once" in docs/objective.md), or remove job.fuse'
    return f"'{spec}': module '{spec.partition(':')[0]}' has no '{name}'{hint}"
