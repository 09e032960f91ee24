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
from hpo_batch.sweep.schema import Job, PlannedTrial, Sweep
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
    above = above or {}
    raw = to_raw(replace(sweep, budget=None))
    blocks = [_comment(header)] if header else []
    for key in keys_of(Sweep):
        table = raw.get(key.name)
        if key.name == "trial" or not table:
            continue
        if key.name == "space":
            lines = list(_space_lines(table))
        elif key.name == "job":
            lines = _table_lines("job", _of_job(sweep.job, near))
        elif isinstance(getattr(sweep, key.attribute), Table):
            lines = _table_lines(key.name, _changed(getattr(sweep, key.attribute)))
        else:
            lines = _table_lines(key.name, table)
        if lines:
            blocks.append("\n".join([*_comment_lines(above.get(key.name, ())), *lines]))
    met: set[str | None] = set()
    for trial in sweep.trial:
        comment = above.get(trial.set or "", ()) if trial.set not in met else ()
        met.add(trial.set)
        blocks.append("\n".join([*_comment_lines(comment), *_trial_lines(trial)]))
    return "\n\n".join(blocks) + "\n"


def write_sweep(path: Path, text: str) -> None:
    """Write a new sweep file, if it is valid.

    Raises:
        UserError: the file exists, or the text is no valid sweep; nothing is written.
        StorageError: it cannot be written.
    """
    try:
        loads(text, path=path)
    except SweepInvalid as error:
        raise UserError(f"the sweep would not be valid, and was not written:\n{error}") from error
    write_files({path: text})


def _space_lines(table: Mapping[str, Any]) -> Iterator[str]:
    yield "[space]"
    yield from (toml_line(name, value) for name, value in table.items() if name not in RESERVED)
    for name in RESERVED:
        if table.get(name):
            yield ""
            yield f"[space.{name}]"
            yield from (toml_line(key, value) for key, value in table[name].items())


def _trial_lines(trial: PlannedTrial) -> list[str]:
    changed = _changed(trial)
    return ["[[trial]]", *(toml_line(key, value) for key, value in changed.items())]


def _table_lines(name: str, values: Mapping[str, Any]) -> list[str]:
    return [f"[{name}]", *(toml_line(key, value) for key, value in values.items())] if values else []


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
