"""``hpo-batch dashboard``: the report of a study as a page that follows the trials."""

from __future__ import annotations

import contextlib
import errno
import functools
import secrets
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.cli.report import known_options
from hpo_batch.cli.sources import read_sources, source_options
from hpo_batch.errors import Exit, UserError
from hpo_batch.extras import require
from hpo_batch.store.home import JOURNAL

if TYPE_CHECKING:
    from hpo_batch.findings.known import Known
    from hpo_batch.findings.report import Report
    from hpo_batch.results.table import TrialsTable

PORT = 8050


@click.command(name="dashboard")
@source_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port on this machine [default: {PORT}, or the next free one]; 0 takes any.",
)
@click.option(
    "--optuna", is_flag=True, help="Also serve optuna-dashboard, read-only, at an address of its own; for one study."
)
@known_options
@root_option
def command(port: int | None, optuna: bool, known: Known, seed: int, root: Path | None, **source_arguments: Any) -> int:
    """Show the report of each SOURCE (default: the newest study) in a browser; new trials appear by themselves.

    Changes nothing. Only this machine can connect, and only with the printed address. Ctrl-C ends it.
    """
    from hpo_batch.findings.live_report import LiveReport
    from hpo_batch.findings.live_report import server as page_server

    if optuna:
        require("optuna_dashboard", what="--optuna")
    logs = logs_root(root)
    tables = read_sources(**source_arguments, root=logs, reports=True)
    files = tuple(
        table.home / JOURNAL if table.home is not None else Path(table.source.partition("#")[0]) for table in tables
    )
    first = [tables]

    def make() -> Report:
        from hpo_batch.findings.report import report  # which takes a second or two

        read = first.pop() if first else read_sources(**source_arguments, root=logs, tell=False)
        return report(read, known=known, seed=seed)

    live, secret = LiveReport(make, files), secrets.token_urlsafe(12)
    beside = _journal(tables) if optuna else None
    with contextlib.ExitStack() as stack:
        servers = [stack.enter_context(_bound(functools.partial(page_server, live, secret=secret), port))]
        if beside is not None:
            # beside the page, whose port may have been chosen
            servers.append(stack.enter_context(_bound(functools.partial(_optuna_server, beside, secret), None)))
        for one in servers:
            threading.Thread(target=one.serve_forever, daemon=True).start()
            stack.callback(one.shutdown)
        numbers = [int(one.server_address[1]) for one in servers]
        try:
            # the address first: a report of many trials takes a while, and a browser waits for it
            for number in numbers:
                click.echo(f"http://127.0.0.1:{number}/{secret}/")
            click.echo(_tunnel(numbers), err=True)
            live.watch(threading.Event())
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
    return Exit.OK


def _journal(tables: Sequence[TrialsTable]) -> Path:
    """The journal that optuna-dashboard is to show; it takes one storage.

    Raises:
        UserError: there are several studies, or it is none of ours.
    """
    if len(tables) > 1:
        raise UserError(f"--optuna is for one study; name one of {', '.join(table.label for table in tables)}")
    (table,) = tables
    if table.home is None:
        raise UserError(f"--optuna is for a study of hpo-batch, and '{table.source}' is none")
    return table.home / JOURNAL


def _optuna_server(journal: Path, secret: str, *, port: int) -> Any:
    from hpo_batch.sources.optuna_pages import server

    return server(journal, secret=secret, port=port)


def _bound(server: Callable[..., Any], port: int | None) -> Any:
    """A server on the port that was asked for, or on the first free one from ``PORT`` on.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    for number in [port] if port is not None else [*range(PORT, PORT + 20), 0]:
        try:
            return server(port=number)
        except OSError as error:
            if port is not None:
                why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
                raise UserError(f"port {port} {why}; leave out --port to take a free one") from None
    raise UserError("no port is free on this machine")


def _tunnel(ports: Sequence[int]) -> str:
    from hpo_batch import processes

    forwards = " ".join(f"-L {port}:127.0.0.1:{port}" for port in ports)
    second = " The second address is optuna-dashboard." if len(ports) > 1 else ""
    return (
        f"From your own computer, first run: ssh -N {forwards} {processes.host_name()}\n"
        f"The page opens as soon as the report is made, and follows the trials until Ctrl-C.{second}"
    )
