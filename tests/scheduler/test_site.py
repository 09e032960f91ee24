"""What `scontrol show partition -o` and `sacctmgr -n -P show` write, as recorded and as other sites have it."""

from __future__ import annotations

from hpo_batch.scheduler.site import Limit, Partition
from hpo_batch.scheduler.slurm.site import parse_associations, parse_partitions, parse_qos

from .conftest import DATA


def test_partitions_as_recorded() -> None:
    gpu, urgent = parse_partitions((DATA / "partitions-22.05.txt").read_text())
    assert gpu == Partition(
        name="gpu",
        is_default=True,
        state="UP",
        nodes=2,
        max_nodes=None,
        max_time_s=86400.0,
        preempt_mode="REQUEUE",
        grace_s=10.0,
        accounts=None,
        qos=None,
        gpus=8,
    )
    assert (urgent.name, urgent.is_default, urgent.preempt_mode, urgent.grace_s) == ("urgent", False, "OFF", 0.0)


def test_a_partition_with_other_limits_and_lines_that_are_none() -> None:
    (found,) = parse_partitions(
        "slurm: a message\n"
        "PartitionName=a AllowAccounts=x,y AllowQos=long Default=NO MaxNodes=1 MaxTime=UNLIMITED State=DRAIN "
        "TotalNodes=3 PreemptMode=GANG,SUSPEND GraceTime=0 TRES=cpu=8,mem=1G,node=3\n"
    )
    assert (found.accounts, found.qos, found.max_nodes, found.max_time_s) == (("x", "y"), ("long",), 1, None)
    assert (found.state, found.nodes, found.preempt_mode, found.gpus) == ("DRAIN", 3, "GANG,SUSPEND", None)


def test_limits_of_associations_and_qos() -> None:
    text = "root||normal|||||\nlab|gpu|normal,long|long|50|20|10|100\nnot a line of ours\n"
    plain, lab = parse_associations(text)
    assert plain == Limit(of="account 'root'", account="root", qos=("normal",))
    assert (lab.of, lab.qos) == ("account 'lab' in partition 'gpu'", ("long", "normal"))
    assert (lab.running, lab.submitted) == (10, 20)  # the lower one of the user's and the group's
    qos = parse_qos("normal|||||\nshort|8|16|||02:00:00\n")
    assert (qos["normal"].submitted, qos["normal"].walltime_s) == (None, None)
    assert (qos["short"].running, qos["short"].submitted, qos["short"].walltime_s) == (8, 16, 7200.0)
