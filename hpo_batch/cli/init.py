"""``hpo-batch init``: write a first sweep, from nothing or from the options of a script."""

from __future__ import annotations

import os
import shlex
import tomllib
from pathlib import Path

import click

from hpo_batch.cli.options import hint
from hpo_batch.errors import UserError


@click.command(name="init")
@click.argument("folder", metavar="[DIR]", type=click.Path(path_type=Path, file_okay=False), required=False)
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="SWEEP.toml",
    help="The sweep to write [default: DIR/sweep.toml]; the other files go beside it.",
)
@click.option(
    "--from",
    "script",
    metavar="SCRIPT",
    help="Propose a sweep for a script with argparse, click, typer, tyro, jsonargparse, Hydra, absl or fire; "
    "also the command that you type by hand: 'train.py fit --data images'.",
)
@click.option("--function", "kind", flag_value="function", help="Start with a function [the default].")
@click.option("--command", "kind", flag_value="command", help="Start with a script and argparse.")
@click.option("--hydra", "kind", flag_value="hydra", help="Start with a Hydra application.")
@click.option("--lightning", "kind", flag_value="lightning", help="Start with PyTorch Lightning.")
@click.option("--hf", "kind", flag_value="hf", help="Start with the Trainer of Hugging Face.")
@click.option("--sklearn", "kind", flag_value="sklearn", help="Start with scikit-learn.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the sweep; write nothing.")
def command(folder: Path | None, output: Path | None, script: str | None, kind: str | None, dry_run: bool) -> None:
    """Write a sweep, a training script and a job template for this cluster to DIR. Asks nothing, overwrites nothing.

    With --from, only the sweep and the job template are written. Options are read from the script's source, or from
    what 'SCRIPT --help' prints; the script is not imported.
    """
    from hpo_batch.init.write import SWEEP, from_script, from_starter

    if output is not None and folder is not None:
        raise click.UsageError("-o names the sweep's file, and DIR its folder: give one of them")
    if folder is not None and folder.suffix == ".toml":
        raise click.UsageError(f"DIR is a folder; -o {folder} names the sweep's file")
    if script is not None and kind is not None:
        raise click.UsageError(f"--from takes your own script, and --{kind} writes one: give one of them")
    sweep = output if output is not None else (folder or Path()) / SWEEP
    if sweep.suffix != ".toml":
        raise UserError(f"-o names a TOML file, not '{sweep}'")
    if script is not None:
        made = from_script(script, sweep=sweep, environ=os.environ, tell=lambda text: click.echo(text, err=True))
    else:
        made = from_starter(kind or "function", sweep=sweep, environ=os.environ)
    if dry_run:
        click.echo(made.files[sweep], nl=False)
    else:
        made.write()
        for path in made.files:
            click.echo(path)
    for note in made.notes:
        click.echo(note, err=True)
    for step in made.steps:
        click.echo(f"to do: {step}", err=True)
    if not dry_run:
        has_template = "template" in tomllib.loads(made.files[sweep]).get("job", {})
        _say_what_next(sweep, is_elsewhere=script is None and sweep.parent != Path(), has_template=has_template)


def _say_what_next(sweep: Path, *, is_elsewhere: bool, has_template: bool) -> None:
    """The two commands to type next; a starter's script is found from its own folder only.

    A sweep with a template is for SLURM: a login node must not train.
    """
    where = f"cd {shlex.quote(str(sweep.parent))}, then " if is_elsewhere else ""
    path = sweep.name if is_elsewhere else str(sweep)
    commands = f"{hint('check', path)}   {hint('submit', path, *(() if has_template else ('--local', '--wait')))}"
    click.echo(f"next: {where}{commands}", err=True)
