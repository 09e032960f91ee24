"""The table of sbatch's options: total, and what becomes of each kind behind ``--`` and in ``[job.sbatch]``."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import pytest

from hpo_batch.errors import UserError
from hpo_batch.scheduler.slurm.options import (
    KNOWN,
    PASSED,
    PLANNED,
    REFUSED,
    SAME,
    SHORT,
    key_of_job,
    parse_options,
    why_not,
)
from hpo_batch.sweep.sbatch_options import given_options, sbatch_problems
from hpo_batch.sweep.schema import Job

MANUAL = Path(__file__).with_name("data") / "sbatch-options-22.05.txt"


def test_every_option_of_the_manual_has_one_place() -> None:
    assert set(MANUAL.read_text().split()) <= KNOWN
    for one, other in combinations((SAME, PLANNED, REFUSED, PASSED), 2):
        assert not set(one) & set(other)
    assert set(SHORT.values()) <= KNOWN
    assert {*SAME.values(), *PLANNED.values()} <= set(Job.__dataclass_fields__)


@pytest.mark.parametrize(
    ("words", "keys"),
    [
        (("--qos=high",), [("qos", '"high"')]),
        (("--qos", "high", "--exclusive"), [("qos", '"high"'), ("sbatch.exclusive", "true")]),
        (("--time=0:30:00",), [("walltime", '"0:30:00"')]),
        (("--cpus-per-task=4",), [("cpus", "4")]),
        (("--nodes", "2"), [("nodes", "2")]),
        (("--ntasks-per-node=2",), [("tasks_per_node", "2")]),
        (("--gpus-per-node=a100:2",), [("gpus_per_node", '"a100:2"')]),
        (("--no-requeue",), [("sbatch.no-requeue", "true")]),
        (("--gpus=2",), [("sbatch.gpus", '"2"')]),
        (("--mem=0",), [("sbatch.mem", '"0"')]),
        (("--container-image=ml.sqsh",), [("sbatch.container-image", '"ml.sqsh"')]),  # a plugin's
    ],
)
def test_behind_two_dashes(words: tuple[str, ...], keys: list[tuple[str, str]]) -> None:
    assert [key_of_job(*option) for option in parse_options(words)] == keys


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("--array=0-3", "say [job] workers and max_running"),
        ("--nodes=1-4", "'1-4' is not a whole number, as [job] nodes requires"),
        ("--ntasks-per-gpu=2", "say [job] workers_per_gpu"),
        ("--cpus-per-gpu=2", "say [job] cpus"),
        ("--signal=USR1@60", "say [job] signal_lead_s"),
        ("--time-min=5", "say [job] walltime"),
        ("--clusters=b", "set SLURM_CLUSTERS"),
        ("--part=gpu", "write it in full: --partition"),  # sbatch takes what is unambiguous, past the plan
        ("--cpus=4", "write it in full: --cpus-per-gpu or --cpus-per-task"),
        ("--no-req", "write it in full: --no-requeue"),
        ("-N2", "such as --nodes"),
    ],
)
def test_refused_with_what_to_say(word: str, told: str) -> None:
    with pytest.raises(UserError) as raised:
        [key_of_job(*option) for option in parse_options((word,))]
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("job", "told"),
    [
        (Job(sbatch={"cpus-per-task": 4}), ["cpus = 4"]),
        (Job(sbatch={"cpus_per_task": "4"}), ["cpus = 4"]),
        (Job(sbatch={"time": "5"}), ['walltime = "5"']),
        (Job(sbatch={"nodes": 2, "ntasks-per-node": 2}), ["nodes = 2", "tasks_per_node = 2"]),
        (Job(sbatch={"ntasks": 2}), ["1"]),
        (Job(sbatch={"ntasks": 4}, nodes=2, tasks_per_node=2), []),
        (Job(sbatch={"ntasks": 1, "gpus-per-task": "a100:1"}), []),
        (Job(sbatch={"gpus-per-socket": 1}), []),
        (Job(sbatch={"gpus-per-socket": 1}, workers_per_gpu=2), [""]),
        (Job(sbatch={"partition": "b"}), []),
        (Job(sbatch={"partition": "b"}, partition="b"), []),
        (Job(sbatch={"partition": "b"}, partition="a"), [""]),
        (Job(sbatch={"mail-type": "END", "mail_type": "END"}), [""]),
        (Job(sbatch={"wait": True}), [""]),
        (Job(sbatch={"whatever": True}), []),
    ],
)
def test_what_is_wrong_with_the_table(job: Job, told: list[str]) -> None:
    found = list(sbatch_problems(job))
    assert [problem.allowed for problem in found] == told
    assert all(problem.key[:2] == ("job", "sbatch") for problem in found)


def test_what_is_switched_off_is_not_written() -> None:
    """``--exclusive=False`` is no option; SLURM's own default may be to requeue."""
    assert given_options(Job(sbatch={"exclusive": False, "hold": True})) == {"hold": True}
    assert given_options(Job(sbatch={"requeue": False})) == {"no-requeue": True}


@pytest.mark.parametrize("option", sorted(KNOWN - set(REFUSED)))
def test_what_is_known_can_be_given(option: str) -> None:
    assert why_not(option) == ""
