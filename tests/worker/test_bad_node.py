"""A node on which every trial fails: named in the worker's log and in status, and left if others go on elsewhere."""

from __future__ import annotations

import json
from collections.abc import Callable

from tests.helpers import run

from .conftest import Project

Build = Callable[..., Project]
BROKEN = "bad: the last "


def status(here: Project, *options: str) -> str:
    ended = run("status", here.home.name, "--root", here.home.path.parent, *options)
    assert ended.code == 0, ended.err
    return ended.out


def test_a_worker_leaves_a_node_that_breaks_trials_while_others_go_on(project: Build) -> None:
    here = project("fails_on_bad_nodes", study="trials = 100000\nlease_s = 1")
    good = [here.start(SLURMD_NODENAME=f"good{i}") for i in range(2)]
    here.until(lambda: here.state.counts().complete > 5)
    bad = here.start(SLURMD_NODENAME="bad")
    assert bad.wait() == 1
    assert "no more trials for this worker: trials fail on this node and do well on others" in bad.said
    assert "or exclude it with job.exclude" in bad.said
    assert f"node {BROKEN}" in bad.said
    failed = here.state.counts().failed
    assert 3 <= failed < 40
    assert "node      bad: the last " in status(here)
    (node,) = json.loads(status(here, "--json"))[0]["failing_nodes"]
    assert (node["node"], node["reasons"], len(node["trials"])) == ("bad", ["exception"], failed)
    assert node["is_to_blame"]
    here.home.marker("CANCELLED").touch()
    assert [worker.wait() for worker in good] == [0, 0]
    assert here.state.counts().failed == failed  # the others were not stopped


def test_a_worker_stays_where_nobody_else_could_go_on(project: Build) -> None:
    here = project("fails_on_bad_nodes", study="trials = 100", tables={"failures": "stop_after = 6"})
    worker = here.run(SLURMD_NODENAME="bad")
    assert here.state.counts().failed == 6
    assert "too many failures" in worker.said
    assert BROKEN not in worker.said
    assert BROKEN not in status(here)
