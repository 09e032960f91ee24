"""The pages of optuna-dashboard for a journal: read-only, for this machine, and for who has the address.

optuna-dashboard itself writes (notes, new studies), and shows its pages to everybody who reaches the port.
"""

from __future__ import annotations

import hmac
import http
import http.cookies
import logging
import socketserver
import threading
import wsgiref.simple_server
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final, TypeAlias

from hpo_batch.sources.optuna_storage import read_only_journal

log = logging.getLogger(__name__)

# its page loads nothing from elsewhere, so that a note in a journal cannot make it do so either
POLICY: Final = "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:"
STUDY: Final = "/dashboard/studies/0"
"""a study's journal has no other"""
READING: Final = ("GET", "HEAD")

App: TypeAlias = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


def server(journal: Path, *, secret: str, port: int) -> wsgiref.simple_server.WSGIServer:
    """A server for the pages, reachable from this machine only; the caller runs and closes it.

    The pages have absolute paths, so that the secret cannot be a part of all of them: ``/SECRET/`` gives a cookie.

    Args:
        journal: file of Optuna's journal storage; it is never written to.
        secret: who knows it may read.
        port: 0 takes any that is free.

    Raises:
        OSError: the port is taken.
    """
    made = wsgiref.simple_server.make_server("127.0.0.1", port, _nothing, server_class=_Server, handler_class=_Handler)
    made.set_app(_guarded(_Late(journal), secret=secret, cookie=f"hpo-batch-{made.server_port}"))
    return made


class _Server(socketserver.ThreadingMixIn, wsgiref.simple_server.WSGIServer):
    daemon_threads = True


class _Handler(wsgiref.simple_server.WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        log.debug(format, *args)


class _Late:
    """optuna-dashboard, which is loaded at the first request: that takes seconds."""

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._lock = threading.Lock()
        self._app: App | None = None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        with self._lock:
            if self._app is None:
                import optuna_dashboard

                self._app = optuna_dashboard.wsgi(read_only_journal(self._journal))
        return self._app(environ, start)


def _guarded(app: App, *, secret: str, cookie: str) -> App:
    def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        # a page of another site must not read this one under a name of its own (DNS rebinding)
        host = environ.get("HTTP_HOST", "").rpartition(":")[0]
        if host not in ("127.0.0.1", "localhost"):
            return _short(start, http.HTTPStatus.NOT_FOUND)
        if _is_equal(environ.get("PATH_INFO", "").strip("/"), secret):
            given = f"{cookie}={secret}; HttpOnly; SameSite=Strict; Path=/"
            return _short(start, http.HTTPStatus.SEE_OTHER, ("Set-Cookie", given), ("Location", STUDY))
        if not _is_equal(_cookie(environ.get("HTTP_COOKIE", ""), cookie), secret):
            return _short(start, http.HTTPStatus.NOT_FOUND)
        if environ.get("REQUEST_METHOD") not in READING:
            return _short(start, http.HTTPStatus.METHOD_NOT_ALLOWED, text="hpo-batch dashboard is read-only\n")

        def started(status: str, headers: list[tuple[str, str]], *error: Any) -> Any:
            return start(status, [*headers, *_HEADERS], *error)

        return app(environ, started)

    return answer


_HEADERS: Final = (("Content-Security-Policy", POLICY), ("Referrer-Policy", "no-referrer"))


def _short(
    start: Callable[..., Any], status: http.HTTPStatus, *headers: tuple[str, str], text: str = ""
) -> Iterable[bytes]:
    content = (text or f"{status.phrase.lower()}\n").encode()
    plain = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(content)))]
    start(f"{status.value} {status.phrase}", [*plain, *_HEADERS, *headers])
    return [content]


def _cookie(header: str, name: str) -> str:
    try:
        found = http.cookies.SimpleCookie(header).get(name)
    except http.cookies.CookieError:
        return ""
    return found.value if found is not None else ""


def _is_equal(given: str, secret: str) -> bool:
    return hmac.compare_digest(given.encode(errors="replace"), secret.encode())


def _nothing(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    return _short(start, http.HTTPStatus.NOT_FOUND)
