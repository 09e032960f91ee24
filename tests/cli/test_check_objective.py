"""What `check` says of an objective: it refuses what `submit` refuses, and names text that nobody replaces."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.store.attempt_folder import STREAMS
from tests.cli.conftest import Cli

ARGPARSE = """
import argparse, json, os
parser = argparse.ArgumentParser()
parser.add_argument("--x", type=float)
parser.add_argument("--batch-size", type=int)
parser.add_argument("--fast", action="store_true")
parser.add_argument("--ckpt")
options = parser.parse_args()
assert options.ckpt in (None, os.environ["HPO_BATCH_CHECKPOINT_DIR"])
print(f"RESULT: score={options.x + options.batch_size}")
"""
HYDRA = """
import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
ConfigStore.instance().store(name="train", node={"x": 0.0, "batch_size": 1, "fast": False})
@hydra.main(version_base="1.3", config_name="train", config_path=None)
def main(config):
    print("folder", HydraConfig.get().runtime.output_dir)
    print(f"RESULT: score={config.x}")
main()
"""
PYTHON = sys.executable
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "it's [1, 2] {here}"
    folder.mkdir()
    (folder / "train.py").write_text(ARGPARSE)
    (folder / "hydra_train.py").write_text(HYDRA)
    return folder


@pytest.fixture
def sweep(project: Path, write_sweep: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    def write(objective: str, **changes: str) -> Path:
        path = write_sweep(trials=2)
        text = path.read_text().replace('function = "tests.cli.toys:quadratic"', objective)
        text = text.replace("n = [1, 2, 3]", "batch_size = [16, 32]\nfast = [true, false]").replace(
            'kind = "toy"\n', ""
        )
        for old, new in changes.items():
            text = text.replace(f"{old} = 2", f"{old} = 2\n{new}")
        path.write_text(text)
        monkeypatch.chdir(project)
        return path

    return write


REFUSED = [
    ('command = "@PY train.py {args} {note}"', "'{note}' is not a parameter"),
    ('command = "@PY train.py {args} --ckpt $HPO_BATCH_CHECKPOINT_DIR"', "no shell runs the command; write {"),
    ('command = "@PY train.py {args} --ckpt=${{HPO_BATCH_CHECKPOINT_DIR}}/x"', "write {checkpoint_dir}"),
    ('command = "@PY train.py {args} --end $HPO_BATCH_DEADLINE"', 'write command = ["sh", "-c", "..."]'),
    ('command = ["sh", "-c", "@PY train.py --ckpt $HPO_BATCH_CHECKPOINT", "{args}"]', "'$HPO_BATCH_CHECKPOINT_DIR'?"),
    ('command = ["sh", "-c", "train.py $1", "sh", "$HPO_BATCH_SEED", "{args}"]', "'$HPO_BATCH_SEED' is not expanded"),
    ('command = "@PY train.py {args} > log.txt"', "'>' is passed as an argument"),
    ('command = "@PY train.py {args} && @PY train.py"', "'&&' is passed as an argument"),
    ('command = "@PY train.py {args} 2>&1 | tee log"', "'2>&1' is passed as an argument"),
    ('command = "OMP_NUM_THREADS=2 @PY train.py {args}"', "put OMP_NUM_THREADS into [objective] env"),
    ('command = "@PY missing.py {args}"', "no file 'missing.py'"),
    ('command = "no-such-program {args}"', "'no-such-program' is not a command on this machine"),
    ('command = "@PY train.py {args}"\nenv = { HPO_BATCH_SEED = "1" }', "objective.env.HPO_BATCH_SEED has no effect"),
    ('command = "@PY train.py {args}"\nenv = { OUT = "/x/{trial_dir}" }', "the command can read $HPO_BATCH_TRIAL_DIR"),
    ('command = "@PY train.py {args}"\nenv = { OUT = "$HPO_BATCH_TRIAL_DIR/x" }', "is not expanded here"),
    ('command = "@PY train.py {args}"\nenv = { "A=B" = "1" }', "cannot be the name of an environment variable"),
    ('command = "@PY train.py {args}"\ncwd = "runs/{x}"', "objective.cwd: '{x}' is not replaced"),
    ('function = "tests.cli.toys:quadratic"\nenv = { PYTHONHASHSEED = "0" }', "env.PYTHONHASHSEED has no effect"),
    ('command = "@PY train.py {args}"\nprinted = { score = "score" }', "objective.printed.score: 'score' needs one {}"),
    ('command = "@PY train.py {args}"\nprinted = { score = "{}" }', "so that every number would fit"),
    ('command = "@PY train.py {args}"\nprinted = { step = "epoch {}" }', "printed has a step and no metric"),
    ('command = "@PY train.py {args}"\nprinted = { score = "a {}", step = "a  {}" }', "finds the same number"),
    ('function = "tests.cli.toys:quadratic"\nprinted = { score = "score {}" }', "objective.printed is for commands"),
    ('function = "tests.cli.toys:no_such_function"', "has no 'no_such_function'"),
]  # fmt: skip


@pytest.mark.parametrize(("objective", "message"), REFUSED)
@pytest.mark.parametrize("with_setup", [False, True])
def test_check_refuses_what_submit_refuses(
    cli: Cli, sweep: Callable[..., Path], objective: str, message: str, with_setup: bool
) -> None:
    path = sweep(objective.replace("@PY", PYTHON), **({"workers": 'setup = ["true"]'} if with_setup else {}))
    checked, submitted = cli("check", path), cli("submit", path, "-n")
    assert message in checked.err
    assert checked.code == submitted.code
    # what is missing here may be there where the job's own setup has run
    here_only = ("missing.py" in message) or ("machine" in message) or ("no_such_function" in message)
    if not (with_setup and here_only):
        assert (checked.code, "no mistakes" in checked.err) == (2, False)
        assert message in submitted.err


FINE = [
    'command = ["sh", "-c", "@PY train.py \\"$@\\" --ckpt $HPO_BATCH_CHECKPOINT_DIR", "sh", "{hyphen_args}"]',
    'command = ["bash", "-ec", "@PY train.py \\"$@\\" --ckpt ${{HPO_BATCH_CHECKPOINT_DIR}}", "sh", "{hyphen_args}"]',
    'command = "@PY train.py {hyphen_args} --ckpt {checkpoint_dir}"',
    'command = ["@PY", "train.py", "--x", "{x}", "--batch-size={batch_size}"]',
]


@pytest.mark.parametrize("objective", FINE)
def test_what_is_fine_runs_as_it_was_checked(cli: Cli, sweep: Callable[..., Path], root: Path, objective: str) -> None:
    path = sweep(objective.replace("@PY", PYTHON))
    checked = cli("check", path)
    assert checked.code == 0, checked.err
    warnings = [line for line in checked.err.splitlines() if line.startswith("warning")]
    told = [line for line in warnings if "does not get 'fast'" not in line]
    assert told == []
    assert cli("submit", path, "--wait").code == 0
    assert "2 of 2 finished" in cli("status", "toy").out


DOUBTED = [
    ('command = "@PY train.py {args}"', "train.py takes --batch-size: write {hyphen_args}"),
    ('command = "@PY train.py --x {x} --batch-size {batch_size}"', "it does not get 'fast', unless it reads $"),
    ('command = "@PY hydra_train.py {overrides}"', "add hydra.run.dir={trial_dir}"),
    ('command = "@PY hydra_train.py -m {overrides}"', "add hydra.sweep.dir={trial_dir}"),
    ('command = "@PY -m hydra_train {overrides}"', "add hydra.run.dir={trial_dir}"),
    ('command = "@PY train.py {hyphen_args} --ckpt ~/x"', "'~/x' is not expanded"),
    ('command = "@PY train.py {hyphen_args} --ckpt $HOME"', "'$HOME' is not expanded"),
    ('command = "@PY train.py {hyphen_args}"\nenv = { CUDA_VISIBLE_DEVICES = "0" }', "gives all workers the same"),
]  # fmt: skip


@pytest.mark.parametrize(("objective", "message"), DOUBTED)
def test_what_may_be_meant_otherwise_is_told_and_not_refused(
    cli: Cli, sweep: Callable[..., Path], objective: str, message: str
) -> None:
    path = sweep(objective.replace("@PY", PYTHON))
    for words in (("check", path), ("submit", path, "-n")):
        ended = cli(*words)
        assert ended.code == 0, ended.err
        assert f"warning: objective.{'env' if 'env' in objective else 'command'}" in ended.err
        assert message in ended.err


@pytest.mark.parametrize("is_told", [False, True])
def test_a_command_may_add_what_reports(cli: Cli, sweep: Callable[..., Path], project: Path, is_told: bool) -> None:
    (project / "quiet.py").write_text("print('loss', 1)\n")
    word = "--trainer.callbacks+=hpo_batch.integrations.LightningCallback" if is_told else "--trainer.callbacks+=Mine"
    path = sweep(f'command = "{PYTHON} quiet.py {word} {{args}}"')
    assert ("quiet.py reports no result" in cli("check", path).err) is not is_told


@pytest.mark.parametrize(
    ("printed", "message"),
    [("printed = { los = 'loss {}' }", "it has no text for 'score'"), ("printed = { score = 'loss {}' }", ""),
     ("printed = { score = 'loss {}' }\n[pruner]\nname = 'median'", "there is nothing to prune by"),
     ("printed = { score = 'loss {}', step = 'epoch {}' }\n[pruner]\nname = 'median'", ""),
     ("printed = { loss = 'loss {}' }\n[metrics]\nscore = 'loss - penalty'", "it has no text for 'penalty'")],
)  # fmt: skip
def test_what_printed_numbers_lack(
    cli: Cli, sweep: Callable[..., Path], project: Path, printed: str, message: str
) -> None:
    (project / "quiet.py").write_text("print('loss', 1)\n")
    ended = cli("check", sweep(f'command = "{PYTHON} quiet.py {{args}}"\n{printed}'))
    assert ended.code == 0, ended.err
    assert message in ended.err
    assert ("objective.printed" in ended.err) is bool(message)


@pytest.mark.parametrize("is_told", [False, True])
def test_a_configuration_that_names_our_folder_is_not_warned_of(
    cli: Cli, sweep: Callable[..., Path], project: Path, is_told: bool
) -> None:
    path = sweep(f'command = "{PYTHON} hydra_train.py {{overrides}}"')
    (project / "conf").mkdir()
    folder = "${oc.env:HPO_BATCH_TRIAL_DIR}" if is_told else "outputs/x"
    (project / "conf" / "config.yaml").write_text(f"hydra:\n  run:\n    dir: {folder}\n")
    assert ("hydra.run.dir" in cli("check", path).err) is not is_told


def test_hydra_runs_in_the_trials_folder_whatever_it_is_called(
    cli: Cli, sweep: Callable[..., Path], root: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = sweep(f'command = "{PYTHON} hydra_train.py {{overrides}} hydra.run.dir={{trial_dir}}"')
    assert "hydra.run.dir" not in cli("check", path).err
    monkeypatch.setenv("HPO_BATCH_ROOT", str(project / "logs"))
    assert cli("submit", path, "--wait").code == 0
    for number in (0, 1):
        folder = project / "logs" / "toy" / "trials" / "0000" / f"{number:04}" / "attempts" / "1"
        assert f"folder {folder}" in (folder / STREAMS[0]).read_text()
        assert (folder / ".hydra" / "overrides.yaml").is_file()
    assert not (project / "outputs").exists()


def test_two_parameters_that_become_one_option_are_refused(cli: Cli, sweep: Callable[..., Path]) -> None:
    path = sweep(f'command = "{PYTHON} train.py {{hyphen_args}}"')
    path.write_text(path.read_text().replace("fast = [true, false]", '"batch-size" = [1, 2]'))
    assert "with {hyphen_args} several parameters become --batch-size" in cli("check", path).err


def test_a_parameter_with_the_name_of_a_placeholder_is_refused(cli: Cli, sweep: Callable[..., Path]) -> None:
    path = sweep(f'command = "{PYTHON} train.py {{args}} --ckpt {{checkpoint_dir}}"')
    path.write_text(path.read_text().replace("fast = [true, false]", "checkpoint_dir = [1, 2]"))
    ended = cli("check", path)
    assert (ended.code, "rename the parameter 'checkpoint_dir'" in ended.err) == (2, True)


@pytest.mark.parametrize(("d_model", "is_small"), [(1024, True), (2048, False)])
def test_a_model_that_gains_nothing_from_several_processes(
    cli: Cli, tmp_path: Path, d_model: int, is_small: bool
) -> None:
    path = tmp_path / "sweep.toml"
    path.write_text(
        '[study]\nname = "s"\nmetric = "val_auc"\ndirection = "maximize"\ntrials = 2\n'
        '[objective]\nfunction = "hpo_batch.training.patchtst.train:train"\n'
        'n_params = "hpo_batch.training.patchtst.size:n_params"\n'
        f"[space]\nd_model = [16, {d_model}]\nn_layers = 7\nn_heads = 2\n[sampler]\nname = 'random'\n"
        '[job]\ntemplate = "cpu"\ntasks_per_node = 2\n'
    )
    warning = "each trial is trained by 2 processes together, but a model of 88.2 M parameters gains nothing from that"
    assert (warning in cli("check", path).err) is is_small
    assert "gains nothing" not in cli("check", path, "--set", "job.tasks_per_node=1").err
