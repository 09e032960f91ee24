"""What a worker does last for others: tasks that still wait when the target is met."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.journal.locks import journal_lock
from hpo_batch.records import Idle, IdleWhy
from hpo_batch.store.submissions import Submission, write_submission
from hpo_batch.study.study import Study
from hpo_batch.worker.task_exit import Departure, leave
from tests.scheduler.conftest import fake_command as fake_command
from tests.study.helpers import claimed, complete, make, owner


def test_tasks_that_wait_are_cancelled_once_when_the_target_is_met(root: Path, fake_command) -> None:
    home = make(root, study="trials = 1")
    home.slurm.mkdir(exist_ok=True)
    mine, theirs = "abcabcabcabc", "defdefdefdef"
    names = {mine: f"s-{mine}", theirs: f"s-{theirs}"}
    for id, name in names.items():
        facts = {"id": id, "kind": "slurm", "workers": 2, "walltime_s": 60.0, "submitted": 1.0, "job_ids": ("7",)}
        write_submission(home, Submission(**facts, name=name, cancelled=float(id == theirs)))  # type: ignore[arg-type]
    squeue, scancel = (
        fake_command("squeue", stdout=f"7|s-{mine}\t{home.slurm}/{mine}.sh\n9|s-{mine}\t/elsewhere\n"),
        fake_command("scancel"),
    )
    met = Departure(stopped=None, idle=Idle(why=IdleWhy.TARGET_MET), progress=True)
    leave(home, owner(), met, is_batch=True)
    assert squeue.calls == []  # it is not: nobody's word counts but the journal's
    with Study.open(home, owner()) as study:
        study.tell(claim := claimed(study), complete(claim))
    with journal_lock(home.path / "submit"):
        leave(home, owner(), met, is_batch=True)
    assert squeue.calls == []  # somebody submits: the target may be another one in a moment
    for _ in range(2):
        leave(home, owner(), met, is_batch=True)
    assert [call["argv"] for call in squeue.calls] == [["-h", "-t", "PENDING", "-n", f"s-{mine}", "-o", "%F|%j\t%o"]]
    assert [call["argv"] for call in scancel.calls] == [["--state=PENDING", "7"]]
