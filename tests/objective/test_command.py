"""Commands as objectives: real processes, and whatever they may do to us."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hpo_batch import Trial, processes
from hpo_batch.errors import StorageError, Superseded
from hpo_batch.objective.command import CommandObjective
from hpo_batch.records import Cause, Complete, Failed, GivenBack, Outcome, Pruned, Reason, Stopping, Verdict
from tests.helpers import write_program

from .conftest import FakeEngine

SCRIPTS = Path(__file__).parent / "scripts"
MakeTrial = Callable[..., Trial]
MakeCommand = Callable[..., CommandObjective]

ENDLESS = "while True: time.sleep(0.01)\n"
UNTIL_STOPPED = "while not os.path.exists(env['HPO_BATCH_STOP_FILE']): time.sleep(0.01)\n"


@pytest.fixture(autouse=True)
def nobody_is_left(trial: Trial) -> Iterator[None]:
    yield
    assert processes.with_environment("HPO_BATCH_TRIAL_DIR", str(trial.dir)) == ()


def failed(outcome: Outcome | GivenBack, reason: Reason) -> Failed:
    assert isinstance(outcome, Failed)
    assert outcome.reason is reason, outcome
    assert "\n" not in outcome.message
    return outcome


def test_an_argparse_script_gets_exactly_the_parameters(make_trial: MakeTrial, make_command: MakeCommand) -> None:
    params = {
        "lr": 3e-05,
        "shift": -1e-05,  # which argparse takes for an option where it stands alone
        "d_model": 64,
        "text": "-x it's \"here\"; $(touch x) * 'Grüße' \\ {lr}",
        "other-text": "--lr=3",
        "use_cosine": True,
        "use_warmup": False,
    }
    trial = make_trial(params=params)
    command = make_command(
        f"{sys.executable} {SCRIPTS}/argparse_train.py {{args}} --out {{trial_dir}}", metrics=("loss",)
    )
    assert command.run(trial) == Complete(values=(3e-05,), metrics={"loss": 3e-05, "acc": 0.5})
    read = json.loads((trial.dir / "args.json").read_text())
    assert {name: read[name.replace("-", "_")] for name in params} == params
    assert (trial.dir / "stdout").read_text().startswith("epoch 0: loss 0.0000\n")


def test_a_hydra_application_gets_exactly_the_parameters(
    make_trial: MakeTrial, make_command: MakeCommand, tmp_path: Path
) -> None:
    params = {
        "lr": 3e-05,
        "text": 'it\'s [a, "b"]: {x=1} ${lr} \\ Grüße, ',
        "word": "null",
        "use_cosine": True,
        "use_warmup": False,
        "model.dropout": 0.25,
        "model.d_model": 64,
    }
    trial = make_trial(params=params)
    line = [sys.executable, str(SCRIPTS / "hydra_train.py"), "{overrides}", "hydra.run.dir='{trial_dir}'"]
    command = make_command(line, cwd=tmp_path)
    assert command.run(trial) == Complete(values=(6e-05,), metrics={"loss": 6e-05})
    read = json.loads((trial.dir / "config.json").read_text())
    model = read.pop("model")
    assert {**read, **{f"model.{name}": value for name, value in model.items()}} == params
    assert list(tmp_path.iterdir()) == [trial.dir]  # Hydra wrote nothing where it was started


def test_the_environment_tells_of_the_trial(make_trial: MakeTrial, make_python: MakeCommand) -> None:
    trial = make_trial(params={"lr": 0.1, "text": "é"}, deadline=1234567890.5)
    code = "report(loss=1); print(json.dumps(dict(os.environ)))"
    make_python(code, env={"MINE": "1", "HPO_BATCH_SEED": "no"}).run(trial)
    env = json.loads((trial.dir / "stdout").read_text())
    folder = str(trial.dir)
    assert {name: value for name, value in env.items() if name.startswith("HPO_BATCH_")} == {
        "HPO_BATCH_TRIAL": "17",
        "HPO_BATCH_ATTEMPT": "2",
        "HPO_BATCH_TRIAL_DIR": folder,
        "HPO_BATCH_CHECKPOINT_DIR": str(trial.checkpoint),
        "HPO_BATCH_METRICS_FILE": f"{folder}/reported.jsonl",
        "HPO_BATCH_STOP_FILE": f"{folder}/stop",
        "HPO_BATCH_SEED": "7",
        "HPO_BATCH_DEADLINE": "1234567890.5",
        "HPO_BATCH_PARAMS": '{"lr": 0.1, "text": "é"}',
    }
    assert env["MINE"] == "1"
    assert env["OMP_NUM_THREADS"] == os.environ.get("OMP_NUM_THREADS", "3")
    assert "PATH" in env
    assert env["SLURM_OVERLAP"] == "1"  # for an srun in the command: the worker's own step has all that there is


def test_a_step_of_slurm_in_the_command_shares_what_the_worker_has(
    trial: Trial, make_command: MakeCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for srun, which takes the variable for its option: ``--overlap``."""
    (tmp_path / "bin").mkdir()
    srun = tmp_path / "bin" / "srun"
    write_program(srun, '#!/bin/sh\n[ "$SLURM_OVERLAP" = 1 ] || exec sleep 600\nexec "$@"\n')
    monkeypatch.setenv("PATH", f"{srun.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    assert isinstance(make_command(["srun", "echo", "RESULT: 1"]).run(trial), Complete)
    assert isinstance(make_command(["sh", "-c", "srun sh -c 'srun echo RESULT: 1'"]).run(trial), Complete)


def test_no_deadline_no_variable(trial: Trial, make_python: MakeCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HPO_BATCH_DEADLINE", "5")  # of an outer trial
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    outcome = make_python("report(loss=int('HPO_BATCH_DEADLINE' in env), omp=int(env['OMP_NUM_THREADS']))").run(trial)
    assert outcome == Complete(values=(0.0,), metrics={"loss": 0.0, "omp": 2.0})


def test_a_relative_folder_is_told_absolute(
    make_trial: MakeTrial, make_command: MakeCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    trial = make_trial(dir=Path("attempt"), checkpoint=Path("attempt/checkpoint"))
    script = "cd / && test -d {trial_dir} && test -d $HPO_BATCH_CHECKPOINT_DIR && echo RESULT: 1"
    outcome = make_command(["sh", "-c", script], cwd=tmp_path / "elsewhere").run(trial)
    assert isinstance(outcome, Complete)


def test_steps_are_reported_while_it_runs(trial: Trial, make_python: MakeCommand, engine: FakeEngine) -> None:
    seen = threading.Event()
    engine.on_report = lambda step: (trial.dir / "seen").touch() if step == 1 else seen.set()
    code = (
        "report(step=1, loss=0.5)\n"
        f"while not os.path.exists({str(trial.dir / 'seen')!r}): time.sleep(0.01)\n"
        "report(step=2, loss=0.25, note='x')\n"
    )
    assert make_python(code).run(trial) == Complete(values=(0.25,), metrics={"loss": 0.25})
    assert engine.reports == [(1, {"loss": 0.5}), (2, {"loss": 0.25})]
    assert seen.is_set()


def test_a_final_line_beats_a_printed_result_beats_a_report(trial: Trial, make_python: MakeCommand) -> None:
    code = "report(step=1, loss=3, acc=3, f1=3)\nprint('RESULT: loss=2 acc=2')\nreport(loss=1)\n"
    outcome = make_python(code).run(trial)
    assert outcome == Complete(values=(1.0,), metrics={"loss": 1.0, "acc": 2.0, "f1": 3.0})


def test_torn_and_foreign_lines_are_counted_and_mentioned_once(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine
) -> None:
    code = (
        'reported.write(\'{"step": 1, "lo\\n\')\n'
        "os.write(reported.fileno(), b'\\xff\\xfe\\n')\n"
        "report(step=2, loss=1)\n"
        "reported.write('hello\\n\\n')\n"
        'reported.write(\'{"step": 3, "loss": 0.5}\')\n'  # the last newline never came
    )
    assert make_python(code).run(trial) == Complete(values=(0.5,), metrics={"loss": 0.5})
    assert [step for step, _ in engine.reports] == [2, 3]
    expected = 'hpo-batch: 3 lines of the metrics file could not be read, the first: \'{"step": 1, "lo\'\n'
    assert (trial.dir / "stderr").read_text() == expected


@pytest.mark.parametrize("stream", ["sys.stdout", "sys.stderr"])
def test_a_result_that_was_logged_is_a_result(trial: Trial, make_command: MakeCommand, stream: str) -> None:
    code = (
        "import logging, sys\n"
        "form = '\\x1b[32m%(asctime)s %(levelname)s\\x1b[0m %(message)s'\n"
        f"logging.basicConfig(level='INFO', stream={stream}, format=form)\n"
        "logging.info('RESULT: loss=%s', 0.5)\n"
    )
    outcome = make_command([sys.executable, "-c", code.replace("{", "{{").replace("}", "}}")]).run(trial)
    assert outcome == Complete(values=(0.5,), metrics={"loss": 0.5})


def test_a_source_line_in_a_traceback_is_no_result(trial: Trial, make_command: MakeCommand) -> None:
    (trial.dir / "train.py").write_text(
        "import traceback\n"
        "try:\n"
        "    print(f'RESULT: loss={missing}')\n"
        "except NameError:\n"
        "    traceback.print_exc()\n"
        "print('RESULT: loss=0.5')\n"
    )
    command = ["bash", "-x", "-c", f"'{sys.executable}' '{trial.dir}/train.py'; echo 'RESULT: loss=0.25'"]
    outcome = make_command(command).run(trial)
    assert outcome == Complete(values=(0.25,), metrics={"loss": 0.25})
    assert "RESULT: loss={missing}" in (trial.dir / "stderr").read_text()


def test_a_result_that_a_kill_has_torn_is_none(trial: Trial, make_python: MakeCommand, engine: FakeEngine) -> None:
    engine.verdicts = {1: Verdict.PRUNE}
    code = "report(step=1, loss=1)\nos.write(1, b'RESULT: loss=0.1')\n" + ENDLESS  # of 0.12
    outcome = make_python(code, grace_s=0.1).run(trial)
    assert outcome == Pruned(step=1, metrics={"loss": 1.0})


def test_a_pruned_command_sees_the_stop_file(trial: Trial, make_python: MakeCommand, engine: FakeEngine) -> None:
    engine.verdicts = {2: Verdict.PRUNE}
    code = (
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "report(step=1, loss=2); report(step=2, loss=1)\n"
        + UNTIL_STOPPED
        + "print(open(env['HPO_BATCH_STOP_FILE']).read())\n"
    )
    assert make_python(code).run(trial) == Pruned(step=2, metrics={"loss": 1.0})
    assert (trial.dir / "stdout").read_text().strip() == "pruned"


@pytest.mark.parametrize("ending", ["sys.exit(75)", "sys.exit(0)", "os.kill(os.getpid(), signal.SIGUSR2)"])
def test_a_command_told_of_the_time_limit_is_given_back(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, ending: str
) -> None:
    code = (
        "class Stop(Exception): pass\n"
        "def stop(*_): raise Stop\n"
        "signal.signal(signal.SIGUSR2, stop)\n"
        "report(step=1, loss=1)\n"
        "try:\n"
        "    while True: time.sleep(0.01)\n"
        "except Stop:\n"
        "    open(env['HPO_BATCH_CHECKPOINT_DIR'] + '/model', 'w').close()\n"
        "    signal.signal(signal.SIGUSR2, signal.SIG_DFL)\n"
        f"    {ending}\n"
    )
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.TIME_LIMIT)
    assert make_python(code).run(trial) == GivenBack(cause=Cause.TIME_LIMIT)
    assert (trial.checkpoint / "model").exists()


def test_a_result_after_the_stop_is_a_result(trial: Trial, make_python: MakeCommand, engine: FakeEngine) -> None:
    code = (
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "report(step=1, loss=1)\n" + UNTIL_STOPPED + "print('RESULT: 0.5')\n"
    )
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.DRAINED)
    assert make_python(code).run(trial) == Complete(values=(0.5,), metrics={"loss": 0.5})


WHYS = [Stopping.PRUNED, Stopping.TIME_LIMIT, Stopping.PREEMPTED, Stopping.CANCELLED, Stopping.STALLED]


def tell(engine: FakeEngine, why: Stopping) -> None:
    """Have the trial stop after its first report."""
    if why is Stopping.PRUNED:
        engine.verdicts = {1: Verdict.PRUNE}
    else:
        engine.on_report = lambda step: setattr(engine, "reason", why)


def has_stopped(outcome: Outcome | GivenBack, why: Stopping) -> None:
    match why:
        case Stopping.PRUNED:
            assert isinstance(outcome, Pruned), outcome
        case Stopping.STALLED:
            failed(outcome, Reason.STALLED)
        case _:
            assert outcome == GivenBack(cause=Cause(why.value))


@pytest.mark.parametrize("why", WHYS)
def test_a_command_that_knows_no_signal_sees_the_stop_file(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, why: Stopping
) -> None:
    """It looks after each step only, and nothing ends it before."""
    tell(engine, why)
    code = (
        "report(step=1, loss=2)\n"
        "while not os.path.exists(env['HPO_BATCH_STOP_FILE']): time.sleep(0.4)\n"
        "print('saw it', flush=True)\n"
        "sys.exit(75)\n"
    )
    outcome = make_python(code, grace_s=5).run(trial)
    has_stopped(outcome, why)
    assert (trial.dir / "stdout").read_text() == "saw it\n"
    assert outcome.command is not None
    assert outcome.command.exit_code == 75


@pytest.mark.parametrize("behind", ["", "bash", "sh -c"])
def test_a_command_that_does_nothing_special_is_killed_after_the_grace(
    trial: Trial, make_command: MakeCommand, engine: FakeEngine, behind: str
) -> None:
    engine.verdicts = {1: Verdict.PRUNE}
    (trial.dir / "train.py").write_text(
        "import os, time\n"
        "open(os.environ['HPO_BATCH_METRICS_FILE'], 'w').write('{\"step\": 1, \"loss\": 1}\\n')\n"
        "while True: time.sleep(0.1); print('step', flush=True)\n"
    )
    (trial.dir / "run.sh").write_text(f"cd '{trial.dir}'\n{sys.executable} -S train.py\necho after: $?\n")
    commands = {
        "": [sys.executable, "-S", f"{trial.dir}/train.py"],
        "bash": ["bash", f"{trial.dir}/run.sh"],
        "sh -c": ["sh", "-c", f'bash "{trial.dir}/run.sh" & wait'],
    }
    began = time.monotonic()
    outcome = make_command(commands[behind], grace_s=1.5).run(trial)
    assert outcome == Pruned(step=1, metrics={"loss": 1.0})
    assert time.monotonic() - began > 1.5
    assert (trial.dir / "stdout").read_text().splitlines().count("step") > 8
    assert "after" not in (trial.dir / "stdout").read_text()
    assert outcome.command is not None
    assert (outcome.command.signal, outcome.command.stopped) == (signal.SIGKILL, "pruned")


@pytest.mark.parametrize("where", ["checkpoint", "elsewhere"])
@pytest.mark.parametrize("why", WHYS)
def test_a_checkpoint_that_is_being_written_is_finished_first(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, tmp_path: Path, why: Stopping, where: str
) -> None:
    """Written slowly and in place, in two files, by a command that does nothing special."""
    tell(engine, why)
    folder = trial.checkpoint if where == "checkpoint" else tmp_path
    code = (
        "log = open('/dev/null', 'w'); kept = open(env['HPO_BATCH_TRIAL_DIR'] + '/own.log', 'w')\n"
        f"def save(name, step):\n"
        f"    with open({str(folder)!r} + '/' + name, 'w') as file:\n"
        "        for _ in range(10): file.write(str(step) * 10); file.flush(); time.sleep(0.04)\n"
        "        file.write('end')\n"
        "step = 0\n"
        "while True:\n"
        "    step += 1\n"
        "    save('model', step % 10)\n"
        "    save('optimizer', step % 10)\n"
        "    report(step=step, loss=1)\n"
        "    time.sleep(0.6)\n"
    )
    has_stopped(make_python(code, grace_s=1.2).run(trial), why)
    saved = [(folder / name).read_text() for name in ("model", "optimizer")]
    assert all(text.endswith("end") and len(text) == 103 for text in saved), saved
    if where == "checkpoint":
        assert saved[0] == saved[1]


@pytest.mark.parametrize("why", [Stopping.PRUNED, Stopping.CANCELLED])
def test_who_saves_nearly_all_the_time_is_ended_between_two_files(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, why: Stopping
) -> None:
    tell(engine, why)
    code = (
        "report(step=1, loss=1)\n"
        "while True:\n"
        "    with open(env['HPO_BATCH_CHECKPOINT_DIR'] + '/model', 'w') as file:\n"
        "        for _ in range(8): file.write('x' * 10); file.flush(); time.sleep(0.02)\n"
        "        file.write('end')\n"
        "    time.sleep(0.08)\n"
    )
    has_stopped(make_python(code, grace_s=0.5, write_s=6, preempted_s=20).run(trial), why)
    assert (trial.checkpoint / "model").read_text().endswith("end")


def test_a_log_that_is_kept_open_delays_nothing(trial: Trial, make_python: MakeCommand, engine: FakeEngine) -> None:
    engine.verdicts = {1: Verdict.PRUNE}
    code = (
        "one = open(env['HPO_BATCH_TRIAL_DIR'] + '/events', 'w'); report(step=1, loss=1)\n"
        "while True: one.write('x'); one.flush(); time.sleep(0.01)\n"
    )
    began = time.monotonic()
    assert isinstance(make_python(code, grace_s=0.3).run(trial), Pruned)
    assert time.monotonic() - began < 5


def test_who_writes_for_ever_is_killed_when_there_is_no_more_time(
    make_trial: MakeTrial, make_python: MakeCommand, engine: FakeEngine
) -> None:
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.TIME_LIMIT)
    trial = make_trial(deadline=time.time() + 4)
    code = (
        "report(step=1, loss=1)\n"
        "file = open(env['HPO_BATCH_CHECKPOINT_DIR'] + '/model', 'w')\n"
        "while True: file.write('x'); file.flush(); time.sleep(0.01)\n"
    )
    assert make_python(code).run(trial) == GivenBack(cause=Cause.TIME_LIMIT)
    assert time.time() < trial.deadline


@pytest.mark.parametrize("first", ["SIGUSR2", "SIGTERM"])
def test_a_handler_hears_of_it_behind_shells_and_sessions(
    trial: Trial, make_command: MakeCommand, engine: FakeEngine, first: str
) -> None:
    """The shells know no signal and none is sent to them; the training has left their session and cleared its name."""
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.TIME_LIMIT)
    (trial.dir / "train.py").write_text(
        "import os, signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(0.4)\n"
        "    open(sys.argv[2] + '/model', 'w').write('whole')\n"
        "    sys.exit(75)\n"
        f"signal.signal(signal.{first}, stop)\n"
        "open(sys.argv[1], 'w').write('{\"step\": 1, \"loss\": 1}\\n')\n"
        "while True: time.sleep(0.1)\n"
    )
    inner = f'setsid -w env -i {sys.executable} -S train.py "$HPO_BATCH_METRICS_FILE" "$HPO_BATCH_CHECKPOINT_DIR"'
    (trial.dir / "run.sh").write_text(f"cd '{trial.dir}'\n{inner}\nexit $?\n")
    outcome = make_command(["sh", "-c", f'bash "{trial.dir}/run.sh"; exit $?'], grace_s=0.3).run(trial)
    assert outcome == GivenBack(cause=Cause.TIME_LIMIT)
    assert (trial.checkpoint / "model").read_text() == "whole"
    assert outcome.command is not None
    assert outcome.command.exit_code == 75


def test_a_trap_of_the_shell_is_heard_in_slurm_too(
    trial: Trial, make_command: MakeCommand, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.TIME_LIMIT)
    (trial.dir / "run.sh").write_text(
        "trap 'touch \"$HPO_BATCH_CHECKPOINT_DIR/model\"; exit 75' USR2\n"
        'echo \'{"step": 1, "loss": 1}\' > "$HPO_BATCH_METRICS_FILE"\n'
        "while true; do sleep 0.1; done\n"
    )
    outcome = make_command(["bash", f"{trial.dir}/run.sh"], grace_s=0.3).run(trial)
    assert outcome == GivenBack(cause=Cause.TIME_LIMIT)
    assert (trial.checkpoint / "model").exists()


@pytest.mark.parametrize("is_handled", [False, True])
def test_slurms_warning_to_all_processes_ends_no_command_that_does_not_know_it(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, is_handled: bool
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")

    def warn(step: int) -> None:
        for pid in processes.with_environment("HPO_BATCH_TRIAL_DIR", str(trial.dir)):
            os.kill(pid, signal.SIGUSR2)
        engine.reason = Stopping.TIME_LIMIT

    engine.on_report = warn
    handler = "signal.signal(signal.SIGUSR2, lambda *_: print('heard', flush=True))\n"  # speaks of it by its name
    code = (
        (handler if is_handled else "")
        + "report(step=1, loss=1)\nchild = subprocess.Popen(['sleep', '1'])\nchild.wait()\n"
        # a child that the signal ends comes back before we have written the file
        + "end = time.time() + 10\nwhile not os.path.exists(env['HPO_BATCH_STOP_FILE']) and time.time() < end:\n"
        + "    time.sleep(0.02)\n"
        + "print(child.returncode, os.path.exists(env['HPO_BATCH_STOP_FILE']), flush=True)\nsys.exit(75)"
    )
    assert make_python(code, grace_s=10).run(trial) == GivenBack(cause=Cause.TIME_LIMIT)
    assert (trial.dir / "stdout").read_text().split() == (
        [*(["heard"] * is_handled), "-12" if is_handled else "0", "True"]
    )


def test_what_cannot_be_started_is_told_the_same_in_slurm(
    trial: Trial, make_command: MakeCommand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    for command, message in (
        (["no-such-command-anywhere"], "command not found: 'no-such-command-anywhere'"),
        (["./missing.sh"], "command not found: './missing.sh'"),
        (["/etc/passwd"], "not executable: '/etc/passwd'"),
        (["sh", "a\x00b"], "null byte"),
    ):
        assert message in failed(make_command(command).run(trial), Reason.INVALID).message


def test_a_command_in_a_pid_namespace_stops_and_leaves_nobody(
    trial: Trial, make_command: MakeCommand, engine: FakeEngine
) -> None:
    """As in a container: the training is its namespace's first process, and has other numbers there."""
    unshare = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine allows no namespaces")
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.TIME_LIMIT)
    (trial.dir / "train.py").write_text(
        "import os, signal, sys, time\n"
        "def stop(*_): open(os.environ['HPO_BATCH_CHECKPOINT_DIR'] + '/model', 'w').close(); sys.exit(75)\n"
        "signal.signal(signal.SIGTERM, stop)\n"
        "os.system('setsid sleep 600 &')\n"
        "open(os.environ['HPO_BATCH_METRICS_FILE'], 'w').write('{\"step\": 1, \"loss\": 1}\\n')\n"
        "print(os.getpid(), flush=True)\n"
        "while True: time.sleep(0.1)\n"
    )
    command = [*unshare, sys.executable, "-S", f"{trial.dir}/train.py"]
    assert make_command(command, grace_s=0.3).run(trial) == GivenBack(cause=Cause.TIME_LIMIT)
    assert (trial.checkpoint / "model").exists()
    assert (trial.dir / "stdout").read_text() == "1\n"


@pytest.mark.parametrize("ignored", ["SIGUSR2", "SIGUSR2 SIGTERM"])
def test_a_command_that_will_not_stop_is_made_to(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, ignored: str
) -> None:
    code = (
        f"for name in {ignored!r}.split(): signal.signal(getattr(signal, name), lambda *_: print(_[0], flush=True))\n"
        "report(step=1, loss=1)\n" + ENDLESS
    )
    engine.verdicts = {1: Verdict.PRUNE}
    outcome = make_python(code, grace_s=0.05, save_s=0.2, kill_s=0.2).run(trial)
    assert outcome == Pruned(step=1, metrics={"loss": 1.0})
    assert outcome.command is not None
    assert outcome.command.signal == signal.SIGKILL
    assert (trial.dir / "stdout").read_text().split() == (["12", "15"] if "TERM" in ignored else ["12"])


def test_a_checkpoint_written_behind_a_command_that_has_ended_is_finished(
    trial: Trial, make_python: MakeCommand
) -> None:
    child = (
        "import time\nwith open('model', 'w') as file: file.write('a'); file.flush(); time.sleep(1); file.write('b')"
    )
    code = (
        f"subprocess.Popen([sys.executable, '-S', '-c', {child!r}], cwd=env['HPO_BATCH_CHECKPOINT_DIR'])\n"
        "while not os.path.exists(env['HPO_BATCH_CHECKPOINT_DIR'] + '/model'): time.sleep(0.01)\n"
        "report(loss=1)\n"
    )
    assert isinstance(make_python(code).run(trial), Complete)
    assert (trial.checkpoint / "model").read_text() == "ab"


@pytest.mark.parametrize("by", ["preemption", "limit"])
def test_a_command_that_will_not_stop_is_killed_before_slurm_kills_the_worker(
    make_trial: Callable[..., Trial], make_python: MakeCommand, engine: FakeEngine, by: str
) -> None:
    """However long its graces are."""
    code = (
        "for name in ('SIGUSR2', 'SIGTERM'): signal.signal(getattr(signal, name), signal.SIG_IGN)\n"
        "report(step=1, loss=1)\n" + ENDLESS
    )
    why = Stopping.PREEMPTED if by == "preemption" else Stopping.TIME_LIMIT
    engine.on_report = lambda step: setattr(engine, "reason", why)
    trial = make_trial(deadline=time.time() + (1000 if by == "preemption" else 3))
    outcome = make_python(
        code, grace_s=1e6, save_s=1e6, kill_s=1e6, preempted_s=3.0 if by == "preemption" else 1e6
    ).run(trial)
    assert outcome == GivenBack(cause=Cause(why.value))
    assert outcome.command is not None
    assert outcome.command.signal == signal.SIGKILL


def test_a_framework_that_turns_sigterm_into_an_exit_code_has_stopped(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine
) -> None:
    code = (
        "signal.signal(signal.SIGUSR2, signal.SIG_IGN)\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "report(step=1, loss=1)\n" + ENDLESS
    )
    engine.on_report = lambda step: setattr(engine, "reason", Stopping.PREEMPTED)
    assert make_python(code, grace_s=0.05).run(trial) == GivenBack(cause=Cause.PREEMPTED)


@pytest.mark.parametrize("by_slurm", [False, True])
def test_training_behind_a_shell_has_time_for_its_checkpoint(
    trial: Trial, make_command: MakeCommand, engine: FakeEngine, by_slurm: bool
) -> None:
    training = (
        "import os, signal, sys, time\n"
        "def stop(*_):\n"
        "    time.sleep(0.3)\n"
        "    open(os.environ['HPO_BATCH_CHECKPOINT_DIR'] + '/model', 'w').close()\n"
        "    sys.exit(75)\n"
        "signal.signal(signal.SIGUSR2, stop)\n"
        "open(os.environ['HPO_BATCH_METRICS_FILE'], 'w').write('{\"step\": 1, \"loss\": 1}\\n')\n"
        "time.sleep(60)\n"
    )
    (trial.dir / "train.py").write_text(training)

    def stop(step: int) -> None:
        if by_slurm:  # to all processes of the step, and then to the worker
            for pid in processes.with_environment("HPO_BATCH_TRIAL_DIR", str(trial.dir)):
                os.kill(pid, signal.SIGUSR2)
            time.sleep(0.05)
        threading.Timer(0.1 if by_slurm else 0, lambda: setattr(engine, "reason", Stopping.TIME_LIMIT)).start()

    engine.on_report = stop
    script = f'{sys.executable} -S "{trial.dir}/train.py"; echo after'
    assert make_command(["bash", "-c", script]).run(trial) == GivenBack(cause=Cause.TIME_LIMIT)
    assert (trial.checkpoint / "model").exists()


def test_a_signal_of_slurm_that_comes_before_ours_is_no_failure(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine
) -> None:
    threading.Timer(0.3, lambda: setattr(engine, "reason", Stopping.TIME_LIMIT)).start()
    outcome = make_python("report(step=1, loss=1)\nos.kill(os.getpid(), signal.SIGUSR2)").run(trial)
    assert outcome == GivenBack(cause=Cause.TIME_LIMIT)


def test_a_prune_that_comes_with_the_last_report_is_too_late(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine
) -> None:
    engine.verdicts = {1: Verdict.PRUNE}
    outcome = make_python("report(step=1, loss=1)", poll_s=30).run(trial)
    assert outcome == Complete(values=(1.0,), metrics={"loss": 1.0})


def test_exit_code_75_asks_for_another_attempt(trial: Trial, make_python: MakeCommand) -> None:
    outcome = make_python("report(step=1, loss=1); sys.exit(75)").run(trial)
    assert outcome == GivenBack(cause=Cause.CHECKPOINTED)


def test_a_superseded_attempt_says_so(trial: Trial, make_python: MakeCommand, engine: FakeEngine) -> None:
    engine.verdicts = {1: Verdict.SUPERSEDED}
    with pytest.raises(Superseded):
        make_python("report(step=1, loss=1)\n" + ENDLESS).run(trial)


def test_a_crash_tells_its_last_words(trial: Trial, make_python: MakeCommand) -> None:
    outcome = make_python("report(step=1, loss=1)\nreport(step=2, loss=1)\nraise ValueError('no data')").run(trial)
    told = failed(outcome, Reason.EXIT_CODE)
    assert told.message == "exit code 1: ValueError: no data"
    assert told.traceback.startswith("Traceback (most recent call last):")
    assert told.metrics == {"loss": 1.0}
    assert told.command is not None
    assert told.command.exit_code == 1


@pytest.mark.parametrize(
    ("code", "reason", "message"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", Reason.EXIT_CODE, "killed by SIGKILL; out of memory?"),
        ("os.kill(os.getpid(), signal.SIGSEGV)", Reason.EXIT_CODE, "killed by SIGSEGV"),
        ("raise MemoryError", Reason.OOM_HOST, "exit code 1: MemoryError"),
        (
            "print('oom-kill event', file=sys.stderr); os.kill(0, 9)",
            Reason.OOM_HOST,
            "killed by SIGKILL: oom-kill event",
        ),
        ("raise RuntimeError('CUDA out of memory. Tried')", Reason.OOM_GPU, "CUDA out of memory"),
    ],
)
def test_deaths_are_told_apart(trial: Trial, make_python: MakeCommand, code: str, reason: Reason, message: str) -> None:
    assert message in failed(make_python(code).run(trial), reason).message


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["no-such-command-anywhere"], "command not found: 'no-such-command-anywhere'"),
        (["./missing.sh"], "command not found: './missing.sh'"),
        (["/etc/passwd"], "not executable: '/etc/passwd'"),
        (["{temperature}"], "'{temperature}' is not a parameter"),
        (["sh", "a\x00b"], "null byte"),
        (["sh", "x" * 300_000], "could not be started: .*too long"),
        (["sh", "\ud800"], "surrogates"),
    ],
)
def test_what_cannot_be_started_is_invalid(
    trial: Trial, make_command: MakeCommand, command: list[str], message: str
) -> None:
    told = failed(make_command(command).run(trial), Reason.INVALID)
    assert re.search(message, told.message)


def test_a_missing_working_directory_is_named(trial: Trial, make_command: MakeCommand, tmp_path: Path) -> None:
    told = failed(make_command("true", cwd=tmp_path / "gone").run(trial), Reason.INVALID)
    assert told.message == f"the working directory '{tmp_path}/gone' of [objective] does not exist"


@pytest.mark.parametrize("start_new_session", [False, True])
def test_a_grandchild_left_behind_is_killed(trial: Trial, make_python: MakeCommand, start_new_session: bool) -> None:
    code = (
        f"child = subprocess.Popen(['sleep', '600'], start_new_session={start_new_session})\n"
        "print('RESULT: loss=1 pid=%d' % child.pid)\n"
    )
    outcome = make_python(code).run(trial)
    assert isinstance(outcome, Complete)
    assert not processes.is_alive(int(outcome.metrics["pid"]))


@pytest.mark.parametrize("error", [StorageError, KeyboardInterrupt])
def test_nothing_is_left_when_a_report_raises(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine, error: type[BaseException]
) -> None:
    def report(step: int) -> None:
        raise error

    engine.on_report = report
    code = "subprocess.Popen(['sleep', '600'], start_new_session=True)\nreport(step=1, loss=1)\n" + ENDLESS
    with pytest.raises(error):
        make_python(code).run(trial)


def test_a_checkpoint_is_finished_though_a_report_raises(
    trial: Trial, make_python: MakeCommand, engine: FakeEngine
) -> None:
    def report(step: int) -> None:
        raise StorageError

    engine.on_report = report
    code = (
        "with open(env['HPO_BATCH_CHECKPOINT_DIR'] + '/model', 'w') as file:\n"
        "    file.write('a'); file.flush(); report(step=1, loss=1); time.sleep(1); file.write('b')\n" + ENDLESS
    )
    with pytest.raises(StorageError):
        make_python(code).run(trial)
    assert (trial.checkpoint / "model").read_text() == "ab"


def test_much_output_and_lines_without_end_do_no_harm(trial: Trial, make_python: MakeCommand) -> None:
    code = (
        "line = b'x' * 99 + b'\\n'\n"
        "for _ in range(30): os.write(1, line * 10_000)\n"
        "os.write(1, b'y' * 5_000_000)\n"
        "os.write(1, b'\\n10%\\r\\x1b[2K\\xff\\xfe 50%\\rRESULT: 0.5\\r')\n"
        "os.write(2, b'\\xff' * 100_000 + b'\\n')\n"
    )
    assert make_python(code).run(trial) == Complete(values=(0.5,), metrics={"loss": 0.5})
    assert (trial.dir / "stdout").stat().st_size > 30_000_000


def test_last_words_that_are_not_utf8_can_be_told(trial: Trial, make_python: MakeCommand) -> None:
    outcome = make_python("os.write(2, b'caf\\xe9 closed\\n'); sys.exit(3)").run(trial)
    assert failed(outcome, Reason.EXIT_CODE).message == "exit code 3: caf\ufffd closed"


def test_a_second_run_in_the_same_folder_starts_afresh(
    trial: Trial, make_python: MakeCommand, make_command: MakeCommand, engine: FakeEngine
) -> None:
    (trial.dir / "stop").touch()
    code = "assert not os.path.exists(env['HPO_BATCH_STOP_FILE'])\nreport(step=1, loss=1)\nprint('RESULT: acc=1')\n"
    assert isinstance(make_python(code).run(trial), Complete)
    engine.reports.clear()
    outcome = make_command("sh -c 'echo bad >&2; exit 3'", metrics=("acc",)).run(trial)
    assert failed(outcome, Reason.EXIT_CODE).message == "exit code 3: bad"
    assert engine.reports == []


def test_a_missing_result_says_what_came(trial: Trial, make_python: MakeCommand) -> None:
    told = failed(make_python("report(step=1, val_loss=1); print('RESULT: done')").run(trial), Reason.NO_RESULT)
    assert "'loss' was not reported; reported: 'val_loss'; did you mean 'val_loss'?" in told.message
    assert "cannot read the line 'RESULT: done'" in told.message


def test_a_short_command_does_not_wait_for_the_poll(trial: Trial, make_command: MakeCommand) -> None:
    started = time.monotonic()
    make_command("echo RESULT: 1", poll_s=10).run(trial)
    assert time.monotonic() - started < 2


def test_lines_of_the_metrics_file_that_stand_nowhere_else_are_kept(trial: Trial, make_python: MakeCommand) -> None:
    """``epoch`` is no ``step``: each such line is a result, of which the last one counts."""
    lines = '{"epoch": 1, "loss": 0.5}\n{"epoch": 2, "loss": 0.25}\n'
    outcome = make_python(f"open(os.environ['HPO_BATCH_METRICS_FILE'], 'w').write({lines!r})").run(trial)
    assert isinstance(outcome, Complete)
    assert outcome.values == (0.25,)
    assert Path(trial.metrics_file).parent.joinpath("reported.jsonl").read_text() == lines
