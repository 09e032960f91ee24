"""``hpo-batch check``: say what a sweep means, and every mistake in it. Starts nothing, writes nothing."""

from __future__ import annotations

from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, root_option


@click.command(name="check")
@click.argument("sweep", type=click.Path(path_type=Path), required=False)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as submit would.")
@click.option("--import", "import_code", is_flag=True, help="Import the objective too, which runs its module.")
@click.option("--schema", is_flag=True, help="Print every key of a sweep file with its meaning.")
@root_option
def command(
    sweep: Path | None, overrides: tuple[str, ...], import_code: bool, schema: bool, root: Path | None
) -> int | None:
    """Say what SWEEP means: trials, sizes of the space, parameter counts, mistakes; with whom it is shared."""
    from hpo_batch.cli.describe import describe_schema, describe_sweep
    from hpo_batch.errors import UserError
    from hpo_batch.launch.checks import refusals
    from hpo_batch.store.home import home_of
    from hpo_batch.sweep.load import load

    if schema:
        click.echo("\n".join(describe_schema()))
        return None
    if sweep is None:
        raise click.UsageError("give the path of a sweep file, or --schema")
    sweeps = load(sweep, overrides=overrides)
    refused: list[str] = []
    for i, one in enumerate(sweeps):
        lines, warnings = describe_sweep(one, home=home_of(logs_root(root), one.path), import_code=import_code)
        click.echo(("\n" if i else "") + "\n".join(lines))
        wrong, missing = refusals(one)
        refused += wrong
        for warning in dict.fromkeys((*warnings, *missing)):
            click.echo(f"warning: {warning}", err=True)
    if refused:
        raise UserError("\n".join(f"{sweep}: {text}" for text in dict.fromkeys(refused)))
    click.echo(f"{sweep}: no mistakes", err=True)
    return None
