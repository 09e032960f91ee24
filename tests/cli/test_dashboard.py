"""``dashboard``: the page follows the trials, nobody else reads it, and nothing is written."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from hpo_batch.store.home import StudyHome, home_of
from hpo_batch.study.study import Study
from tests.helpers import run, start
from tests.study.helpers import claimed, complete, make, owner, revise


@dataclass(frozen=True, kw_only=True)
class Served:
    process: subprocess.Popen[str]
    port: int
    secret: str

    def get(self, path: str, *, host: str = "127.0.0.1") -> tuple[int, str]:
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            connection.request("GET", path, headers={"Host": f"{host}:{self.port}"})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()

    def version(self) -> str:
        status, text = self.get(f"/{self.secret}/version")
        assert status == 200
        return str(json.loads(text)["version"])


@contextlib.contextmanager
def serving(*argv: object) -> Iterator[Served]:
    with start("dashboard", *argv) as process:
        try:
            assert process.stdout is not None
            found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{16})/\n", process.stdout.readline())
            assert found is not None
            yield Served(process=process, port=int(found[1]), secret=found[2])
        finally:
            if process.poll() is None:
                process.kill()


def tell(home: StudyHome, count: int) -> None:
    with Study.open(home, owner()) as study:
        for _ in range(count):
            claim = claimed(study)
            study.tell(claim, complete(claim))


def files(root: Path) -> set[tuple[str, int]]:
    return {(str(path), path.stat().st_mtime_ns) for path in root.rglob("*") if path.is_file()}


def test_the_page_follows_the_trials_and_writes_nothing(root: Path, no_slurm: None) -> None:
    home = make(root, study="trials = 20")
    tell(home, 8)
    before = files(root)
    with serving(home.name, "--root", root, "--port", 0) as served:
        status, page = served.get(f"/{served.secret}/")
        assert status == 200
        assert "8 complete" in page
        assert served.version() == "1"
        assert files(root) == before
        tell(home, 4)
        end = time.monotonic() + 60
        while served.version() == "1" and time.monotonic() < end:
            time.sleep(0.2)
        assert "12 complete" in served.get(f"/{served.secret}/")[1]
        time.sleep(5)
        assert served.version() == "2", "made again only after a change"
        served.process.send_signal(signal.SIGINT)
        _, err = served.process.communicate(timeout=60)
    assert served.process.returncode == 0
    assert f"ssh -N -L {served.port}:127.0.0.1:{served.port} " in err
    assert "Traceback" not in err


def test_only_who_knows_the_address_reads_it(root: Path, no_slurm: None) -> None:
    home = make(root)
    tell(home, 3)
    with serving(home.name, "--root", root, "--port", 0) as served:
        for path in ("/", "/version", "/x/", f"/{served.secret[:-1]}/", f"/{served.secret}/../etc/passwd", "/%2e%2e/"):
            assert served.get(path)[0] == 404, path
        assert served.get(f"/{served.secret}/", host="evil.example")[0] == 404
        assert served.get(f"/{served.secret}/", host="localhost")[0] == 200
        listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
        ours = [line.split()[1] for line in listening if line.split()[1].endswith(f":{served.port:04X}")]
        assert {address.split(":")[0] for address in ours} == {"0100007F"}, "127.0.0.1 alone"


def test_a_port_that_is_taken_is_told(root: Path, no_slurm: None) -> None:
    home = make(root)
    tell(home, 3)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended = run("dashboard", home.name, "--root", root, "--port", port)
    assert ended.code == 2
    assert f"error: port {port} is in use; leave out --port to take a free one" in ended.err


@pytest.mark.parametrize("source", ["nothing", "missing.csv"])
def test_a_source_that_is_not_there_is_told_at_once(root: Path, source: str) -> None:
    root.mkdir(exist_ok=True)
    ended = run("dashboard", source, "--root", root)
    assert ended.code == 2
    assert source in ended.err


def test_a_study_that_cannot_be_read_any_more_keeps_its_page(root: Path, no_slurm: None) -> None:
    home = make(root)
    tell(home, 3)
    with serving(home.name, "--root", root, "--port", 0) as served:
        content = home.journal.read_bytes()
        home.journal.write_bytes(b"nonsense\n")
        os.utime(home.journal)
        time.sleep(4)
        assert "3 complete" in served.get(f"/{served.secret}/")[1]
        home.journal.write_bytes(content)


def test_a_file_of_trials_is_followed_too(tmp_path: Path) -> None:
    path = tmp_path / "runs.csv"
    path.write_text("x,value\n" + "".join(f"{i},{i % 5}\n" for i in range(12)))
    with serving(path, "--direction", "maximize", "--port", 0) as served:
        path.write_text(path.read_text() + "99,7\n")
        end = time.monotonic() + 60
        while served.version() == "1" and time.monotonic() < end:
            time.sleep(0.2)
        assert "13 complete" in served.get(f"/{served.secret}/")[1]


def test_the_address_is_there_before_the_page_and_ctrl_c_ends_the_wait(root: Path, no_slurm: None) -> None:
    home = make(root)
    tell(home, 3)
    with (
        serving(home.name, "--root", root, "--port", 0) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as waiting,
    ):
        waiting.sendall(f"GET /{served.secret}/ HTTP/1.1\r\nHost: 127.0.0.1:{served.port}\r\n\r\n".encode())
        served.process.send_signal(signal.SIGINT)
        _, err = served.process.communicate(timeout=60)
        assert served.process.returncode == 0
        assert "stopped" in err
        assert "Traceback" not in err
    with pytest.raises(ConnectionRefusedError):
        served.get("/")


def ask(port: int, path: str, *, method: str = "GET", host: str = "127.0.0.1", cookie: str = "") -> tuple[int, str]:
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        connection.request(method, path, headers={"Host": f"{host}:{port}", "Cookie": cookie})
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Set-Cookie", "").partition(";")[0] or answer.read().decode()


def test_optuna_dashboard_beside_it_follows_the_trials_and_is_read_only(root: Path, no_slurm: None) -> None:
    home = make(root, study="trials = 20")
    tell(home, 3)
    before = files(root)
    with serving(home.name, "--root", root, "--port", 0, "--optuna") as served:
        assert served.process.stdout is not None
        found = re.fullmatch(r"http://127\.0\.0\.1:(\d+)/([\w-]{16})/\n", served.process.stdout.readline())
        assert found is not None
        port, secret = int(found[1]), found[2]
        trials = "/api/studies/0?after=0"
        assert [ask(port, path)[0] for path in ("/", trials, f"/{secret[:-1]}/", "/dashboard")] == [404] * 4
        status, cookie = ask(port, f"/{secret}/")
        assert (status, cookie) == (303, f"hpo-batch-{port}={secret}")
        assert ask(port, trials, cookie=f"hpo-batch-{port}=no")[0] == 404
        assert ask(port, trials, cookie=cookie, host="evil.example")[0] == 404
        assert len(json.loads(ask(port, trials, cookie=cookie)[1])["trials"]) == 3
        for method, path in (("POST", "/api/studies"), ("PUT", "/api/studies/0/note"), ("DELETE", "/api/studies/0")):
            assert ask(port, path, method=method, cookie=cookie) == (405, "hpo-batch dashboard is read-only\n")
        assert files(root) == before
        tell(home, 2)
        end = time.monotonic() + 60
        while (count := len(json.loads(ask(port, trials, cookie=cookie)[1])["trials"])) < 5 and time.monotonic() < end:
            time.sleep(0.2)  # it keeps an answer for some seconds
        assert count == 5
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(timeout=60) == 0
    with pytest.raises(ConnectionRefusedError):
        ask(port, "/")


def test_optuna_dashboard_is_for_one_study_of_ours(root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        revise(home_of(root, name))
        tell(home_of(root, name), 1)
    done = run("dashboard", "a", "b", "--optuna", "--root", root)
    assert (done.code, done.err) == (2, "error: --optuna is for one study; name one of a, b\n")
    path = tmp_path / "trials.csv"
    path.write_text("x,score\n1,2\n3,4\n")
    done = run("dashboard", path, "--direction", "maximize", "--optuna")
    assert done.code == 2
    assert "--optuna is for a study of hpo-batch, and" in done.err
