"""``hpo-batch confirm``: write a sweep that trains the best configurations again, with new seeds."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import hint, logs_root, root_option
from hpo_batch.cli.report import facts_options
from hpo_batch.cli.sources import column_options, read_sources
from hpo_batch.errors import StorageError, UserError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hpo_batch.findings.known import Known
    from hpo_batch.results.table import TrialsTable


@dataclass(frozen=True, kw_only=True)
class NextOptions:
    """The values of ``next_options``."""

    sweep: Path | None
    output: Path | None
    dry_run: bool
    unfinished: bool
    known: Known
    seed: int
    """draws the new seeds"""
    root: Path
    columns: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """The folder that the new file is for; see ``folder_of``."""
        return folder_of(self.output)

    def table(self, study: str) -> TrialsTable:
        """The trials of one study; see ``one_table``."""
        return one_table(study, sweep=self.sweep, root=self.root, **self.columns)

    def path(self, name: str) -> Path:
        """Where the sweep of a study of this name is written."""
        return self.output if self.output is not None else Path(f"{name}.toml")


def output_options(command: Callable[..., int]) -> Callable[..., int]:
    """``-o --dry-run --unfinished``, for commands that write the next sweep."""
    for decorate in reversed(
        (
            click.option(
                "-o",
                "--output",
                type=click.Path(path_type=Path, dir_okay=False),
                help="The new sweep's file [default: its study's name, in the current folder].",
            ),
            click.option("-n", "--dry-run", is_flag=True, help="Print the sweep; write nothing."),
            click.option("--unfinished", is_flag=True, help="Go on from the trials so far, although some are running."),
        )
    ):
        command = decorate(command)
    return command


def next_options(command: Callable[..., int]) -> Callable[..., int]:
    """``-o --dry-run --unfinished`` and what says where the trials are, for commands that write the next sweep.

    The command gets them as ``options``, a ``NextOptions``.
    """
    own = ("sweep", "output", "dry_run", "unfinished", "known", "seed")
    columns = ("maps", "value", "direction", "params", "ignore")

    @functools.wraps(command)
    def with_options(*, root: Path | None, **arguments: Any) -> int:
        options = NextOptions(
            root=logs_root(root),
            columns={name: arguments.pop(name) for name in columns},
            **{name: arguments.pop(name) for name in own},
        )
        return command(options=options, **arguments)

    decorated: Callable[..., int] = with_options
    for decorate in reversed(
        (
            click.option(
                "--sweep",
                type=click.Path(path_type=Path, dir_okay=False),
                help="The sweep of a file's trials: how they are run, and their space.",
            ),
            output_options,
            column_options,
            facts_options,
            click.option("--seed", type=int, default=0, help="Another number draws other new seeds [default: 0]."),
            root_option,
        )
    ):
        decorated = decorate(decorated)
    return decorated


@click.command(name="confirm")
@click.argument("study")
@click.option("--top", type=click.IntRange(min=2, max=100), default=5, help="Number of configurations [default: 5].")
@click.option("--seeds", type=click.IntRange(min=1, max=100), default=3, help="New seeds for each [default: 3].")
@next_options
def command(study: str, top: int, seeds: int, options: NextOptions) -> int:
    """Write a sweep that trains the best configurations of STUDY, and its baseline, again with the same new seeds.

    Says whether that is worth it: where the best lie further apart than chance moves them, it is not. After 'submit',
    'report' compares them seed by seed.
    """
    folder = options.folder
    table = options.table(study)

    from hpo_batch.next.confirm import confirm
    from hpo_batch.next.parent import parent_of

    parent = parent_of(table, unfinished=options.unfinished, known=options.known)
    made = confirm(parent, top=top, seeds=seeds, root=options.root, near=folder, seed=options.seed)
    name = made.sweep.study.name
    said = [f"advice: {made.advice.text}"]
    return finish(
        made.text,
        decisions=made.decisions_json,
        path=options.path(name),
        dry_run=options.dry_run,
        said=said,
        name=name,
    )


def folder_of(output: Path | None) -> Path:
    """The folder of the new file, which must not exist yet: nobody should wait for a sweep that cannot be written.

    Raises:
        UserError: the file exists, or is no TOML file by its name.
        StorageError: its folder does not exist.
    """
    if output is None:
        return Path()
    if output.suffix != ".toml":
        raise UserError(f"-o names a TOML file, not '{output}'")
    if output.exists() or output.is_symlink():
        raise UserError(f"'{output}' exists already; -o takes another name, or move the file away")
    if not output.parent.is_dir():
        raise StorageError(f"cannot write '{output}': there is no folder '{output.parent}'; -o takes another file")
    return output.parent


def one_table(study: str, *, sweep: Path | None, root: Path, **columns: Any) -> TrialsTable:
    """The trials of STUDY, which must be one study.

    Raises:
        UserError: it has several budgets.
    """
    tables = read_sources(sources=(study,), files=(), sweep=sweep, root=root, reports=True, **columns)
    if len(tables) > 1:
        raise UserError(f"'{study}' is several studies: {', '.join(table.source for table in tables)}; name one")
    return tables[0]


def finish(text: str, *, path: Path, dry_run: bool, said: list[str], name: str, decisions: str = "") -> int:
    """Write or print the sweep, with its decisions file beside it if there is one, and say what to do with it."""
    from hpo_batch.next.predictions import with_digest
    from hpo_batch.next.sweep_text import write_sweep

    text, files = with_digest(text, path, decisions) if decisions else (text, {path: text})
    if dry_run:
        click.echo(text, nl=False)
    else:
        write_sweep(path, files)
        click.echo(path.resolve())
    for line in said:
        click.echo(line, err=True)
    if not dry_run:
        click.echo(f"next: {hint('submit', str(path))}, then {hint('report', name)}", err=True)
    return 0
