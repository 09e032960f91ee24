"""A report that is made again when its trials change, as pages of a web server on this machine.

Read-only. Other users of the machine can reach the port too, so every path begins with a secret.
"""

from __future__ import annotations

import hmac
import http
import http.server
import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from hpo_batch.errors import HpoBatchError

if TYPE_CHECKING:
    from hpo_batch.findings.report import Report

log = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 2.0
REST: Final = 4.0
"""times as long as making a report took, the next one waits: a large study must not keep a login node busy"""
RELOAD: Final = """<script>
(() => {
  const shown = "VERSION";
  setInterval(async () => {
    try {
      const now = await (await fetch("version", {cache: "no-store"})).json();
      if (now.version !== shown) {
        const open = [...document.querySelectorAll("details")].map(one => one.open);
        sessionStorage.setItem("hpo-batch", JSON.stringify({open, at: window.scrollY}));
        location.reload();
      }
    } catch (error) { /* the server has ended: the page stays as it is */ }
  }, 3000);
  const before = JSON.parse(sessionStorage.getItem("hpo-batch") || "null");
  if (before) {
    document.querySelectorAll("details").forEach((one, i) => { one.open = before.open[i] ?? one.open; });
    window.scrollTo(0, before.at);
  }
})();
</script>
"""

State: TypeAlias = tuple[object, ...]


@dataclass(frozen=True, kw_only=True)
class Page:
    """The newest report as a page."""

    version: str
    html: str


def fingerprint(paths: tuple[Path, ...]) -> State:
    """Changes when one of the files does."""
    found: list[object] = []
    for path in paths:
        try:
            facts = path.stat()
            found.append((facts.st_mtime_ns, facts.st_size))
        except OSError:
            found.append(None)
    return tuple(found)


class LiveReport:
    """Makes the report, and again when the files of its trials have changed.

    Args:
        make: reads the trials and makes the report.
        files: which the trials come from.
    """

    def __init__(self, make: Callable[[], Report], files: tuple[Path, ...]) -> None:
        self._make, self._files = make, files
        self._count = 0
        self._seen = fingerprint(files)  # now, since the trials of the first page may have been read already
        self._page: Page | None = None
        self._is_there = threading.Event()

    @property
    def page(self) -> Page:
        """The newest page; waits for the first one, since a browser that has the address may ask before it is there."""
        self._is_there.wait()
        assert self._page is not None
        return self._page

    def watch(self, over: threading.Event) -> None:
        """Make the first page, and another after each change until ``over`` is set.

        Raises:
            HpoBatchError: the trials cannot be read, or no report can be made of them, the first time.
        """
        self._page = self._made()
        self._is_there.set()
        pause = LOOK_EVERY_S
        while not over.wait(pause):
            if (now := fingerprint(self._files)) == self._seen:
                pause = LOOK_EVERY_S
                continue
            self._seen = now  # before reading: a change meanwhile is noticed at the next look
            began = time.monotonic()
            try:
                self._page = self._made()
            except HpoBatchError as error:  # the page of before stays
                log.warning("the report cannot be made again: %s", error)
            pause = max(LOOK_EVERY_S, REST * (time.monotonic() - began))

    def _made(self) -> Page:
        self._count += 1
        version = str(self._count)
        text = self._make().text("html")
        # the report of a file may connect to nothing; this page asks its own server
        text = text.replace("default-src 'none';", "default-src 'none'; connect-src 'self';", 1)
        return Page(version=version, html=text.replace("</body>", RELOAD.replace("VERSION", version) + "</body>"))


def server(report: LiveReport, *, secret: str, port: int) -> http.server.ThreadingHTTPServer:
    """A server for the page, reachable from this machine only; the caller runs and closes it.

    Args:
        report: whose newest page is shown.
        secret: first part of every path.
        port: 0 takes any that is free.

    Raises:
        OSError: the port is taken.
    """

    class Handler(http.server.BaseHTTPRequestHandler):
        server_version, sys_version = "hpo-batch", ""

        def do_GET(self) -> None:
            page = report.page
            # a page of another site must not read this one under a name of its own (DNS rebinding)
            host = self.headers.get("Host", "").rpartition(":")[0]
            first, _, rest = self.path.removeprefix("/").partition("?")[0].partition("/")
            if host not in ("127.0.0.1", "localhost") or not hmac.compare_digest(first.encode(), secret.encode()):
                self._send(http.HTTPStatus.NOT_FOUND, "text/plain", "not found\n")
            elif rest == "":
                self._send(http.HTTPStatus.OK, "text/html", page.html)
            elif rest == "version":
                self._send(http.HTTPStatus.OK, "application/json", json.dumps({"version": page.version}))
            else:
                self._send(http.HTTPStatus.NOT_FOUND, "text/plain", "not found\n")

        def _send(self, status: http.HTTPStatus, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("Referrer-Policy", "no-referrer")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            log.debug(format, *args)

    return http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
