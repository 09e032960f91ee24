"""``hpo-batch dashboard``: the report of a study as a page that follows the trials."""

from __future__ import annotations

import errno
import secrets
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.cli.report import known_options
from hpo_batch.cli.sources import read_sources, source_options
from hpo_batch.errors import Exit, UserError
from hpo_batch.store.home import JOURNAL

if TYPE_CHECKING:
    from hpo_batch.findings.known import Known
    from hpo_batch.findings.report import Report

PORT = 8050


@click.command(name="dashboard")
@source_options
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    help=f"Port on this machine [default: {PORT}, or the next free one]; 0 takes any.",
)
@known_options
@root_option
def command(port: int | None, known: Known, seed: int, root: Path | None, **source_arguments: Any) -> int:
    """Show the report of each SOURCE (default: the newest study) in a browser; new trials appear by themselves.

    Changes nothing. Only this machine can connect, and only with the printed address. Ctrl-C ends it.
    """
    from hpo_batch.findings.live_report import LiveReport

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
    with _bound(live, secret, port) as server:
        number = server.server_address[1]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            # the address first: a report of many trials takes a while, and a browser waits for it
            click.echo(f"http://127.0.0.1:{number}/{secret}/")
            click.echo(_tunnel(int(number)), err=True)
            live.watch(threading.Event())
        except KeyboardInterrupt:
            click.echo("stopped", err=True)
        finally:
            server.shutdown()
    return Exit.OK


def _bound(live: Any, secret: str, port: int | None) -> Any:
    """A server on the port that was asked for, or on the first free one from ``PORT`` on.

    Raises:
        UserError: the port is taken, or may not be used.
    """
    from hpo_batch.findings.live_report import server

    for number in [port] if port is not None else [*range(PORT, PORT + 20), 0]:
        try:
            return server(live, secret=secret, port=number)
        except OSError as error:
            if port is not None:
                why = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used ({error.strerror})"
                raise UserError(f"port {port} {why}; leave out --port to take a free one") from None
    raise UserError("no port is free on this machine")


def _tunnel(port: int) -> str:
    from hpo_batch import processes

    return (
        f"From your own computer, first run: ssh -N -L {port}:127.0.0.1:{port} {processes.host_name()}\n"
        "The page opens as soon as the report is made, and follows the trials until Ctrl-C."
    )
