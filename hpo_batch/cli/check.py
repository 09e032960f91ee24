"""``hpo-batch check``: explain a sweep and list every mistake in it, without starting or writing anything."""

from __future__ import annotations

from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.errors import UserError


@click.command(name="check")
@click.argument("sweep", type=click.Path(path_type=Path), required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the sweep, as for submit."
)
@click.option("--import", "import_code", is_flag=True, help="Import the objective too, which runs its module.")
@click.option("--schema", is_flag=True, help="Print every key of a sweep file with its meaning.")
@root_option
def command(sweep: Path | None, overrides: tuple[str, ...], import_code: bool, schema: bool, root: Path | None) -> None:
    """Explain SWEEP (trials, size of the space, parameter counts, who shares it) and list every mistake in it."""
    from hpo_batch.launch.check import check
    from hpo_batch.launch.describe import describe_schema

    if schema:
        click.echo("\n".join(describe_schema()))
        return
    if sweep is None:
        raise click.UsageError("name a sweep file, or use --schema")
    # an ordered set: budgets share most keys, and so most mistakes
    errors: dict[str, None] = {}
    # a generator: each budget is printed before the next one is counted, which may take seconds
    studies = check(sweep, root=logs_root(root), overrides=overrides, import_code=import_code)
    for i, study in enumerate(studies):
        click.echo(("\n" if i else "") + "\n".join(study.lines))
        for warning in study.warnings:
            click.echo(f"warning: {warning}", err=True)
        errors |= dict.fromkeys(study.errors)
    if errors:
        raise UserError("\n".join(f"{sweep}: {error}" for error in errors))
    click.echo(f"{sweep}: no mistakes", err=True)
