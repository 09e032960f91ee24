"""A sweep as the text of a TOML file, made from a frozen sweep: what differs from the defaults, with comments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, replace
from pathlib import Path
from typing import Any

from hpo_batch.errors import SweepInvalid, UserError
from hpo_batch.files import write_files
from hpo_batch.space.build import RESERVED
from hpo_batch.sweep.load import loads
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.sweep.tables import Table, keys_of, to_raw
from hpo_batch.sweep.templates import read_template
from hpo_batch.text.lines import printable
from hpo_batch.text.values import toml_line

SINGLE = ("metric", "direction")
"""lists that are written as their only element"""


def sweep_text(
    sweep: Sweep,
    *,
    near: Path,
    header: Sequence[str] = (),
    above: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The TOML of a sweep.

    Args:
        sweep: frozen, for one budget; its label is not written.
        near: folder that the file is for, where its template is looked for.
        header: comment at the top, without ``#``.
        above: comments above the first ``[[trial]]`` of a set, by the set's name; under other names, above a table.

    Raises:
        UserError: the template of the sweep's job is not to be found.
    """
    raw = _written(sweep, near)
    trials = raw.pop("trial", [])
    above = above or {}
    blocks = [_comment(header)] if header else []
    blocks += _tables(raw, above)
    met: set[str | None] = set()
    for trial in trials:
        group = trial.get("set")
        comment = above.get(group or "", ()) if group not in met else ()
        met.add(group)
        blocks.append("\n".join([*_comment_lines(comment), *_trial_lines(trial)]))
    return "\n\n".join(blocks) + "\n"


def budgets_text(
    sweeps: Sequence[Sweep],
    *,
    near: Path,
    header: Sequence[str] = (),
    above: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """The TOML of several sweeps as the ``[[budget]]``s of one file: what they have in common stands above them.

    Args:
        sweeps: frozen, each with the label of its budget.
        near: as in ``sweep_text``.
        header: as in ``sweep_text``.
        above: comments above a ``[[budget]]``, by its label.

    Raises:
        UserError: the template of a sweep's job is not to be found.
    """
    above = above or {}
    written = [_written(sweep, near) for sweep in sweeps]
    common = _common(written)
    blocks = [_comment(header)] if header else []
    blocks += _tables({key: table for key, table in common.items() if key != "trial"}, {})
    blocks += ["\n".join(_trial_lines(trial)) for trial in common.get("trial", [])]
    for sweep, raw in zip(sweeps, written, strict=True):
        own = _rest(raw, common)
        assert sweep.budget is not None
        head = [*_comment_lines(above.get(sweep.budget, ())), "[[budget]]", toml_line("name", sweep.budget)]
        blocks.append("\n".join(head))
        trials = own.pop("trial", [])
        blocks += _tables(own, {}, prefix="budget.")
        blocks += ["\n".join(_trial_lines(trial, prefix="budget.")) for trial in trials]
    return "\n\n".join(blocks) + "\n"


def _written(sweep: Sweep, near: Path) -> dict[str, Any]:
    """What a file says of a sweep, by table; what is the default is left out."""
    raw = to_raw(replace(sweep, budget=None))
    written: dict[str, Any] = {}
    for key in keys_of(Sweep):
        if key.name == "job":
            table: Any = _of_job(sweep.job, near)
        elif key.name == "trial":
            table = [_changed(trial) for trial in sweep.trial]
        elif isinstance(getattr(sweep, key.attribute), Table):
            table = _changed(getattr(sweep, key.attribute))
        else:
            table = raw.get(key.name)
        if table:
            written[key.name] = table
    return written


def _common(written: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What is the same in all sweeps: whole lists, and tables key by key."""
    first = written[0]
    common: dict[str, Any] = {}
    for name, table in first.items():
        others = [raw.get(name, {}) for raw in written[1:]]
        if isinstance(table, list):
            if all(repr(other) == repr(table) for other in others):
                common[name] = table
        elif kept := {
            key: value
            for key, value in table.items()
            if all(key in other and repr(other[key]) == repr(value) for other in others)
        }:
            common[name] = kept
    return common


def _rest(raw: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """What a budget says beside the common part, over which it is merged."""
    rest = {}
    for name, table in raw.items():
        if isinstance(table, list):
            own: Any = [] if name in common else table
        else:
            own = {key: value for key, value in table.items() if key not in common.get(name, {})}
        if own:
            rest[name] = own
    return rest


def _tables(raw: Mapping[str, Any], above: Mapping[str, Sequence[str]], *, prefix: str = "") -> list[str]:
    return [
        "\n".join(
            [
                *_comment_lines(above.get(name, ())),
                *(_space_lines(table, prefix) if name == "space" else _table_lines(f"{prefix}{name}", table)),
            ]
        )
        for name, table in raw.items()
    ]


def write_sweep(path: Path, files: Mapping[Path, str]) -> None:
    """Write a new sweep file and what belongs beside it, if the sweep is valid.

    Args:
        path: of the sweep.
        files: texts of all files, the sweep's among them.

    Raises:
        UserError: a file exists, or the text is no valid sweep; nothing is written.
        StorageError: they cannot be written.
    """
    try:
        loads(files[path], path=path)
    except SweepInvalid as error:
        raise UserError(f"the sweep would not be valid, and was not written:\n{error}") from error
    write_files(files)


def _space_lines(table: Mapping[str, Any], prefix: str) -> Iterator[str]:
    yield f"[{prefix}space]"
    yield from (toml_line(name, value) for name, value in table.items() if name not in RESERVED)
    for name in RESERVED:
        if table.get(name):
            yield ""
            yield f"[{prefix}space.{name}]"
            yield from (toml_line(key, value) for key, value in table[name].items())


def _trial_lines(trial: Mapping[str, Any], *, prefix: str = "") -> list[str]:
    return [f"[[{prefix}trial]]", *(toml_line(key, value) for key, value in trial.items())]


def _table_lines(name: str, values: Mapping[str, Any]) -> list[str]:
    return [f"[{name}]", *(toml_line(key, value) for key, value in values.items())]


def _changed(table: Table, base: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Keys whose value is not the default, or that of ``base``, as TOML has them."""
    raw = to_raw(table)
    defaults = {key.name: key.default for key in keys_of(type(table)) if key.default is not MISSING}
    changed = {}
    for key in keys_of(type(table)):
        value = raw.get(key.name)
        default = getattr(table, key.attribute) == defaults[key.name] if key.name in defaults else False
        if base is not None and key.name in base:
            default = value == base[key.name]
        if value is not None and not default:
            changed[key.name] = value[0] if key.name in SINGLE and len(value) == 1 else value
    return changed


def _of_job(job: Job, near: Path) -> dict[str, Any]:
    """What the file says of the job beside its template."""
    template = read_template(job.template, near).raw if job.template is not None else {}
    changed = _changed(job, template)
    changed.pop("scheduler", None)
    return changed


def _comment(lines: Sequence[str]) -> str:
    return "\n".join(_comment_lines(lines))


def _comment_lines(lines: Sequence[str]) -> list[str]:
    return [f"# {printable(line)}".rstrip() for line in lines]
