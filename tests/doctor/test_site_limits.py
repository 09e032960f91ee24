"""What SLURM's settings mean for a sweep, and what to change."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from hpo_batch.doctor.finding import Finding, Level, exit_code
from hpo_batch.doctor.site_limits import site_findings
from hpo_batch.errors import Exit
from hpo_batch.scheduler.site import Limit, Limits, Partition, SiteConfig
from hpo_batch.sweep.schema import Job

CONFIG = SiteConfig(
    version="22.05.8", cluster="c", max_array_size=1001, max_array_tasks=None, accounting=True,
    enforced=("associations", "limits", "qos"), kill_wait_s=30.0, preempts=True,
)  # fmt: skip
GPU = Partition(
    name="gpu", is_default=True, state="UP", nodes=4, max_nodes=None, max_time_s=86400.0, preempt_mode="REQUEUE",
    grace_s=30.0, accounts=None, qos=None, gpus=16,
)  # fmt: skip
LIMITS = Limits(
    associations=(Limit(of="account 'lab'", account="lab", qos=("normal",)),),
    qos={"normal": Limit(of="QOS 'normal'")},
)


def found(
    job: dict[str, Any] | None = None,
    *,
    partition: dict[str, Any] | None = None,
    config: dict[str, Any] | None = None,
    limits: Limits | None = LIMITS,
) -> list[Finding]:
    """What is not fine."""
    asked = Job(template="t", **(job or {}))
    seen = site_findings(asked, replace(CONFIG, **(config or {})), (replace(GPU, **(partition or {})),), limits)
    return [finding for finding in seen if finding.level is not Level.FINE]


def test_a_site_that_has_what_is_asked_for() -> None:
    assert found({"gres": "gpu:a100:1", "workers": 8, "qos": "normal", "account": "lab"}) == []


@pytest.mark.parametrize(
    ("job", "partition", "config", "words", "do"),
    [
        ({"walltime": 2 * 86400.0}, {}, {}, "walltime 2-0:00:00 is above", 'set [job] walltime = "1-0:00:00"'),
        ({}, {"state": "DOWN"}, {}, "partition 'gpu' is DOWN", "[job] partition"),
        ({"partition": "nowhere"}, {}, {}, "no partition 'nowhere'; there are gpu", "[job] partition"),
        ({}, {"is_default": False}, {}, "no default partition", "[job] partition"),
        ({"qos": "x"}, {}, {}, "you may not use QOS 'x', but normal", "set [job] qos"),
        ({"account": "x"}, {}, {}, "you may not submit in account 'x'; your accounts: lab", "set [job] account"),
        ({"account": "lab"}, {"accounts": ("other",)}, {}, "does not take account 'lab', but other", "[job] account"),
        ({"gres": "gpu:a100:1"}, {"gpus": 0}, {}, "has no GPUs", "[job] partition"),
        ({}, {}, {"max_array_size": 0}, "switched arrays off", "[job] workers = 1"),
    ],
)
def test_what_cannot_work_is_bad_and_says_what_to_change(
    job: dict[str, Any], partition: dict[str, Any], config: dict[str, Any], words: str, do: str
) -> None:
    (one,) = found(job, partition=partition, config=config)
    assert one.level is Level.BAD
    assert words in one.what
    assert do in one.do
    assert exit_code([one]) == Exit.SLURM


@pytest.mark.parametrize(
    ("job", "partition", "config", "words"),
    [
        ({"workers": 20}, {}, {"max_array_tasks": 10}, "max_array_tasks 10): 20 workers need 2"),
        ({}, {"preempt_mode": "CANCEL"}, {}, "SLURM does not bring them back"),
        ({}, {"preempt_mode": "GANG,SUSPEND"}, {}, "may be suspended"),
        ({}, {"grace_s": 0.0}, {"kill_wait_s": 30.0, "accounting": False}, "no accounting"),
        ({}, {"preempt_mode": "OFF"}, {"kill_wait_s": 3.0}, "has 3 s to save (KillWait)"),
    ],
)
def test_what_only_costs_something_is_a_note(
    job: dict[str, Any], partition: dict[str, Any], config: dict[str, Any], words: str
) -> None:
    (one,) = found(job, partition=partition, config=config)
    assert one.level is Level.NOTE
    assert words in one.what
    assert one.do


def test_limits_of_account_and_qos_are_held_against_the_workers() -> None:
    limits = Limits(
        associations=(Limit(of="account 'lab'", account="lab", qos=("normal",), running=4),),
        qos={"normal": Limit(of="QOS 'normal'", submitted=6, walltime_s=600.0)},
    )
    running, submitted, walltime = found({"workers": 8}, limits=limits)
    assert "account 'lab' may run 4 jobs at once" in running.what
    assert submitted.do.startswith("set [job] workers = 6 or less")
    assert (walltime.level, walltime.do) == (Level.BAD, 'set [job] walltime = "0:10:00" or less')
    assert found({"workers": 8}, limits=limits, config={"enforced": ()}) == []  # they are written down, and that is all
    (unknown,) = found(limits=None)
    assert "sacctmgr does not show them" in unknown.what


def test_the_storage_is_told_before_slurm() -> None:
    (slurm,) = found({"partition": "nowhere"})
    storage = Finding(level=Level.BAD, about="files", what="full")
    assert exit_code([slurm, storage]) == Exit.STORAGE
    assert exit_code([]) == exit_code([Finding(level=Level.NOTE, about="files", what="n")]) == Exit.OK
