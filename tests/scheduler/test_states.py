"""SLURM's vocabulary against ours."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.scheduler.slurm import states
from hpo_batch.scheduler.tasks import TaskState

# squeue's manual of 22.05 and job_state_codes of 25.11.
DOCUMENTED = re.findall(
    r"\w+",
    """
    BOOT_FAIL CANCELLED COMPLETED CONFIGURING COMPLETING DEADLINE FAILED NODE_FAIL OUT_OF_MEMORY PENDING PREEMPTED
    RUNNING RESV_DEL_HOLD REQUEUE_FED REQUEUE_HOLD REQUEUED RESIZING REVOKED SIGNALING SPECIAL_EXIT STAGE_OUT STOPPED
    SUSPENDED TIMEOUT EXPEDITING LAUNCH_FAILED POWER_UP_NODE RECONFIG_FAIL
    """,
)


@pytest.mark.parametrize("word", DOCUMENTED)
def test_every_documented_word_is_known(word: str) -> None:
    assert states.parse(word) is not TaskState.UNKNOWN


@pytest.mark.parametrize(
    ("text", "state"),
    [
        ("COMPLETED", TaskState.DONE),
        ("CANCELLED by 1000", TaskState.CANCELLED),
        ("CANCELLED+", TaskState.CANCELLED),
        ("RUNNING+", TaskState.RUNNING),
        ("running", TaskState.RUNNING),
        (" FAILED \n", TaskState.FAILED),
        ("COMPLETED,COMPLETING", TaskState.ENDING),
        ("PENDING+REQUEUE_HOLD", TaskState.PENDING),
        ("FAILED+NOT_YET_INVENTED", TaskState.UNKNOWN),
        ("", TaskState.UNKNOWN),
        ("+", TaskState.UNKNOWN),
    ],
)
def test_spellings(text: str, state: TaskState) -> None:
    assert states.parse(text) is state


@given(st.text())
def test_an_unseen_word_neither_crashes_nor_looks_finished(text: str) -> None:
    word = f"X{text}".replace("+", "").replace(",", "")
    assert states.parse(word) is TaskState.UNKNOWN
    assert states.parse(text) in TaskState


def test_what_may_still_run_is_live() -> None:
    assert {state for state in TaskState if state.live} == {
        TaskState.PENDING,
        TaskState.RUNNING,
        TaskState.SUSPENDED,
        TaskState.ENDING,
        TaskState.UNKNOWN,
    }
