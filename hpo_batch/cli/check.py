"""``hpo-batch check``: explain a sweep and list every mistake in it, without starting or writing anything."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.errors import Exit, HpoBatchError, UserError

if TYPE_CHECKING:
    from hpo_batch.launch.check import Checked


@click.command(name="check")
@click.argument("sweep", type=click.Path(path_type=Path), required=False)
@click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key of the sweep, as for submit."
)
@click.option("--import", "import_code", is_flag=True, help="Import the objective too, which runs its module.")
@click.option("--schema", is_flag=True, help="Print every key of a sweep file with its meaning.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, described in docs/json.md.")
@root_option
def command(
    sweep: Path | None, overrides: tuple[str, ...], import_code: bool, schema: bool, as_json: bool, root: Path | None
) -> int:
    """Explain SWEEP (trials, size of the space, parameter counts, who shares it) and list every mistake in it."""
    if schema:
        _print_schema(as_json=as_json)
        return Exit.OK
    if sweep is None:
        raise click.UsageError("name a sweep file, or use --schema")
    from hpo_batch.launch.check import check

    # a generator: each budget is printed before the next one is counted, which may take seconds
    studies = check(sweep, root=logs_root(root), overrides=overrides, import_code=import_code)
    if as_json:
        return _print_json(sweep, studies)
    # an ordered set: budgets share most keys, and so most mistakes
    errors: dict[str, None] = {}
    for i, study in enumerate(studies):
        click.echo(("\n" if i else "") + "\n".join(study.lines))
        for warning in study.warnings:
            click.echo(f"warning: {warning}", err=True)
        errors |= dict.fromkeys(study.errors)
    if errors:
        raise UserError("\n".join(f"{sweep}: {error}" for error in errors))
    click.echo(f"{sweep}: no mistakes", err=True)
    return Exit.OK


def _print_json(sweep: Path, studies: Iterable[Checked]) -> Exit:
    """One object; what is wrong is in it, whatever it is, and decides the exit code."""
    from hpo_batch.files import shown_json
    from hpo_batch.launch.check import SCHEMA_VERSION

    errors: dict[str, None] = {}
    found: list[Checked] = []
    code = Exit.OK
    try:
        for study in studies:
            found.append(study)
            errors |= dict.fromkeys(study.errors)
            code = Exit.BAD_INPUT if errors else Exit.OK
    except HpoBatchError as error:
        errors |= dict.fromkeys(str(error).splitlines())
        code = error.exit_code
    shown = {
        "schema_version": SCHEMA_VERSION,
        "exit_code": int(code),
        "sweep": str(sweep),
        "errors": list(errors),
        "studies": [study.as_json() for study in found],
    }
    click.echo(shown_json(shown))
    return code


def _print_schema(*, as_json: bool) -> None:
    from hpo_batch.files import shown_json
    from hpo_batch.launch.describe import describe_schema, schema_keys

    click.echo(shown_json([key.as_json() for key in schema_keys()]) if as_json else "\n".join(describe_schema()))
