"""``hpo-batch``: finds the command, and turns errors into one line and an exit code.

Commands are imported when they are called, so that ``--help`` loads neither torch nor Optuna nor pandas.
"""

from __future__ import annotations

import errno
import gc
import importlib
import io
import keyword
import logging
import os
import sys

import click

from hpo_batch import logs
from hpo_batch.cli.terminal import print_anything, printing_only
from hpo_batch.errors import TRANSIENT, Exit, HpoBatchError, JournalCorrupt, StorageError
from hpo_batch.shipped import shipped
from hpo_batch.text.lines import printable
from hpo_batch.text.names import did_you_mean

# command -> what `hpo-batch --help` says of it; the module of the same name below hpo_batch.cli holds it, with a _
# behind it where Python keeps the name for itself
SECTIONS: dict[str, dict[str, str]] = {
    "Make": {
        "init": "Write a first sweep, from nothing or from your script's options.",
        "check": "Explain a sweep file and list its mistakes.",
    },
    "Run": {
        "submit": "Start or continue a sweep: as a SLURM array, or on this machine.",
        "status": "Show trials, workers and the best so far.",
        "logs": "Print what a trial wrote, or why it failed.",
        "explain": "Show the history of a trial, and how to run it by hand.",
        "resume": "Continue a study: start the workers it is missing.",
        "retry": "Try failed trials again, as new trials.",
        "cancel": "End a study's workers; unfinished trials wait for resume.",
        "rm": "Move a study into the trash folder.",
        "worker": "Work on a study in this terminal.",
    },
    "Read": {
        "list": "List the studies.",
        "collect": "Make a table of the trials: csv, json, md, latex, parquet.",
        "report": "Write what the trials show, and how certain it is: html, md, json, figures.",
        "compare": "Compare several studies side by side.",
        "dashboard": "Show the report in a browser; new trials appear by themselves.",
    },
    "Go on": {
        "refine": "Write the next sweep: what to widen, leave out or fix, with reasons.",
        "confirm": "Write a sweep that trains the best configurations again, with new seeds.",
        "transfer": "Write a sweep that trains the best of each budget on all of them.",
        "propose": "Write a sweep of supplementary trials around the best one.",
        "ledger": "Show how good past advice was: what was predicted, and what came.",
    },
    "Keep": {
        "import": "Make a study from existing trials, as history for a sweep.",
        "doctor": "Check a study, its disk and SLURM; rebuild a lost journal.",
    },
}


class Commands(click.Group):
    """Imports a command's module when the command is used, and not before."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for section in SECTIONS.values() for name in section]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in self.list_commands(ctx):
            return None
        module = f"{name}_" if keyword.iskeyword(name) else name
        command = importlib.import_module(f"hpo_batch.cli.{module}").command
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name = args[0]
        if not name.startswith("-") and name not in self.list_commands(ctx):
            meant = did_you_mean(name, self.list_commands(ctx), otherwise="; see 'hpo-batch --help'")
            ctx.fail(f"no command '{name}'{meant}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        for section, commands in SECTIONS.items():
            with formatter.section(section):
                formatter.write_dl(list(commands.items()))

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Files that come with it"):
            for name, folder in (("documentation", "docs"), ("examples", "configs")):
                formatter.write(f"  {name:13}  {shipped(folder)}\n")  # a path is never broken into lines


# as wide as our lines of code: click's default of 80 breaks most of our option texts
@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="hpo-batch", prog_name="hpo-batch")
@click.option("-v", "--verbose", count=True, help="Log more to stderr; -vv also logs every command that is run.")
def cli(verbose: int) -> None:
    """Hyperparameter sweeps as SLURM array jobs, or on this machine.

    A sweep is a TOML file; what runs from it is a study, a directory below the logs directory.
    """
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logs.tell("hpo_batch", logs.CurrentStderr(), level=level, propagate=True)


def main() -> None:
    """Run the command line and end the process with the exit code."""
    print_anything()
    code = run(sys.argv[1:])
    # the process ends with all it holds: without this, Python looks twice through all of it for cycles before it does
    gc.freeze()
    sys.exit(code)


def run(argv: list[str]) -> int:
    """Run one command; text from files of others that it prints cannot control the terminal."""
    with printing_only():
        return _run(argv)


def _run(argv: list[str]) -> int:
    """Run one command and turn errors into a message and an exit code; no other place does that."""
    try:
        # not standalone: click would print errors in its own words and end the process
        result = cli.main(args=argv, prog_name="hpo-batch", standalone_mode=False)
        return int(result) if isinstance(result, int) else Exit.OK
    except click.exceptions.Exit as done:
        return done.exit_code
    except click.ClickException as error:
        message = io.StringIO()
        error.show(file=message)
        click.echo(_without_secrets(message.getvalue(), argv), nl=False, err=True)
        return Exit.BAD_INPUT
    except HpoBatchError as error:
        for line in _without_secrets(str(error), argv).splitlines() or [type(error).__name__]:
            click.echo(f"error: {line}", err=True)
        if isinstance(error, JournalCorrupt):
            click.echo("next: 'hpo-batch doctor STUDY' says what is wrong with the journal, and what to do", err=True)
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("interrupted", err=True)
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # the reader of our output has gone (`| head`); Python flushes stdout at exit and would fail once more:
        # https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.OK
    except OSError as error:
        return _os_error(error, argv)
    except Exception:
        return _our_bug(argv)


def _os_error(error: OSError, argv: list[str]) -> int:
    """Report an error of the system that no command has handled: the user's files or disk, or a bug of ours."""
    if error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EIO):
        click.echo(f"error: the output cannot be written: {error.strerror}", err=True)  # `> file` on a full disk
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.STORAGE
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        what = printable(str(error.filename))
        click.echo(f"error: cannot use '{what[:60]}{'...' if len(what) > 60 else ''}': {error.strerror}", err=True)
        return Exit.BAD_INPUT
    from hpo_batch.files import OddFile  # loads msgspec, which --help does not need

    # A missing file should have been handled, so it is a bug. Permissions, and what others have put there, are not:
    # for example, Path.exists raises for a link into a folder that this user may not search.
    is_expected = error.errno in TRANSIENT | {errno.EACCES, errno.EPERM} or isinstance(error, OddFile)
    if error.filename is None or not is_expected:
        return _our_bug(argv)
    refused = StorageError.because(f"cannot use '{error.filename}'", error)
    click.echo(f"error: {_without_secrets(str(refused), argv)}", err=True)
    return refused.exit_code


def _without_secrets(text: str, argv: list[str]) -> str:
    """Mask the passwords of URLs, as typed or in any other spelling."""
    from hpo_batch.text.secrets import masked, secrets_in

    return masked(text, known=secrets_in(argv))


def _our_bug(argv: list[str]) -> int:
    """Write a bug report that can be pasted into an issue to a file, and print its path."""
    import shlex
    import tempfile
    import traceback

    from hpo_batch import __version__

    trace = _without_secrets(traceback.format_exc(), argv)
    typed = shlex.join(_without_secrets(argument, argv) for argument in argv)
    report = f"hpo-batch {__version__}, Python {sys.version}\nhpo-batch {typed}\n\n{trace}"
    # bytes, because names of files may hold surrogates (PEP 383), which UTF-8 cannot encode
    with tempfile.NamedTemporaryFile("wb", prefix="hpo-batch-", suffix=".log", delete=False) as file:
        file.write(report.encode(errors="backslashreplace"))
    last = trace.strip().splitlines()[-1]
    click.echo(f"error: a bug in hpo-batch ({last}); please report it with {file.name}", err=True)
    return Exit.BUG
