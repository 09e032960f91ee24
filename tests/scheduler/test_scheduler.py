"""What each scheduler provides: the same methods, and what SLURM's answers become."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_args

import pytest

from hpo_batch.scheduler.names import SchedulerName
from hpo_batch.scheduler.registry import BATCH, SCHEDULERS
from hpo_batch.scheduler.scheduler import Scheduler

CONFIG = """\
AccountingStorageEnforce = associations,limits
AccountingStorageType   = accounting_storage/slurmdbd
ClusterName             = c
SLURM_VERSION           = 22.05.8
"""
PARTITION = "PartitionName=gpu Default=YES State=UP TotalNodes=4 MaxTime=1-00:00:00\n"


def test_every_name_has_a_scheduler_and_every_scheduler_all_methods() -> None:
    assert set(SCHEDULERS) == set(get_args(SchedulerName))
    methods = {
        name: inspect.signature(method) for name, method in vars(Scheduler).items() if inspect.isfunction(method)
    }
    methods = {name: signature for name, signature in methods.items() if not name.startswith("_")}
    assert "submit" in methods
    for scheduler in SCHEDULERS.values():
        for name, signature in methods.items():
            own = inspect.signature(getattr(type(scheduler), name))
            assert list(own.parameters) == list(signature.parameters), name


def test_a_site_is_known_though_its_limits_are_not(fake_command: Callable[..., Any]) -> None:
    scontrol = fake_command("scontrol", stdout=CONFIG + PARTITION)
    fake_command("sacctmgr", stderr="sacctmgr: error: Access/permission denied", returncode=1)
    site = BATCH.site("me")
    assert site is not None
    assert (site.config.cluster, site.config.enforced) == ("c", ("associations", "limits"))
    assert [partition.name for partition in site.partitions] == ["gpu"]
    assert site.limits is None
    assert "Access/permission denied" in site.limits_error
    assert [call["argv"][:2] for call in scontrol.calls] == [["show", "config"], ["show", "partition"]]


def test_limits_that_are_not_enforced_are_not_asked_for(fake_command: Callable[..., Any]) -> None:
    fake_command("scontrol", stdout=CONFIG.replace("associations,limits", "none") + PARTITION)
    sacctmgr = fake_command("sacctmgr")
    site = BATCH.site("me")
    assert site is not None
    assert (site.limits, site.limits_error, sacctmgr.calls) == (None, "", [])


def test_this_machine_has_no_site(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    assert (SCHEDULERS["local"].is_here(), SCHEDULERS["local"].site("me")) == (True, None)
    assert not SCHEDULERS["slurm"].is_here()
