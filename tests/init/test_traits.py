"""What public training scripts do with their options, each in a few lines: the proposed command and its parameters.

The scripts are our own. The traits were found in those of PyTorch's examples, DETR, CycleGAN, timm, CleanRL, nanoGPT,
Flax, transformers and Lightning's template for Hydra.
"""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.init import script as scripts
from hpo_batch.init.help_text import Help, NoHelp, parse
from hpo_batch.init.metric import Metric, guess
from hpo_batch.init.propose import Proposal, propose
from hpo_batch.init.script import read_script
from hpo_batch.init.sweep_text import study_name
from hpo_batch.init.write import from_script

BEGIN = "import argparse\np = argparse.ArgumentParser()\n"
END = "p.parse_args()\n"
LOG = {"low": 0.001, "high": 0.1, "log": True}


def proposed(folder: Path, text: str, *, subcommand: str = "", name: str = "train.py", **files: str) -> Proposal:
    for path, content in {name: text, **{key.replace("__", "/") + ".py": one for key, one in files.items()}}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
    return propose(read_script(Path(name), subcommand=subcommand, python="python"), python="python")


def values(made: Proposal) -> dict[str, Any]:
    return {name: one.value for name, one in made.parameters.items()}


@pytest.fixture
def not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The source says all: the script is not run."""

    def never(*_: object, **__: object) -> Help | NoHelp:
        raise AssertionError("it was run")

    monkeypatch.setattr(scripts, "ask", never)


class TestBooleans:
    def test_types_of_the_scripts_own_get_the_spelling_that_all_of_them_take(
        self, folder: Path, not_asked: None
    ) -> None:
        made = proposed(
            folder,
            f"""{BEGIN}
def strict(text):
    return {{"True": True, "False": False}}[text]
p.add_argument("--ema", type=strict, default=True)
p.add_argument("--norm", type=lambda x: strict(x), default=False, nargs="?", const=True)
p.add_argument("--bias", type=eval, choices=[True, False], default=True)
p.add_argument("--aug", type=bool, default=True)
{END}""",
        )
        assert values(made) == {name: ["True", "False"] for name in ("ema", "norm", "bias")}
        assert "type=bool makes True of every text" in dict(made.left)["--aug"]

    def test_a_flag_that_changes_nothing_is_not_searched(self, folder: Path, not_asked: None) -> None:
        made = proposed(folder, f"{BEGIN}p.add_argument('--aug', action='store_true', default=True)\n{END}")
        assert not made.parameters
        assert "gives what holds without it" in dict(made.left)["--aug"]

    @pytest.mark.parametrize(("default", "searched"), [("True", "without"), ("False", "freeze")])
    def test_of_two_flags_for_one_value_that_is_searched_which_changes_it(
        self, folder: Path, not_asked: None, default: str, searched: str
    ) -> None:
        made = proposed(
            folder,
            f"""{BEGIN}
g = p.add_mutually_exclusive_group()
g.add_argument("--freeze", dest="freeze", action="store_true")
g.add_argument("--without", dest="freeze", action="store_false")
p.set_defaults(freeze={default})
{END}""",
        )
        assert list(made.parameters) == [searched]

    def test_fire_reads_what_python_reads(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = "FLAGS\n    -b, --batch_norm=BATCH_NORM\n        Type: bool\n        Default: False\n"
        monkeypatch.setattr(scripts, "ask", lambda *_, **__: parse(shown))
        assert values(proposed(folder, "import fire\nfire.Fire()\n")) == {"batch_norm": ["True", "False"]}

    def test_they_come_after_numbers(self, folder: Path, not_asked: None) -> None:
        own = "".join(f"p.add_argument('--b{i}', type=strict, default=True)\n" for i in range(9))
        made = proposed(folder, f"{BEGIN}{own}p.add_argument('--coef', type=float, default=0.5)\n{END}")
        assert "coef" in made.parameters


class TestWhereOptionsAre:
    def test_a_parser_that_goes_to_another_module(self, folder: Path) -> None:
        module = "def add(p):\n    p.add_argument('--lr', type=float, default=0.01)\n    return p\n"
        made = proposed(
            folder, f"{BEGIN}from model import add\np.add_argument('--seed', type=int)\np = add(p)\n{END}", model=module
        )
        assert values(made) == {"lr": LOG}
        assert made.command == "python train.py --seed {trial_seed} {args}"

    def test_options_of_a_package_with_relative_imports(self, folder: Path) -> None:
        base = "class Base:\n    def add(self, p):\n        p.add_argument('--lr', type=float, default=0.01)\n"
        more = (
            "import argparse\nfrom .base import Base\nclass Train(Base):\n    def parse(self):\n"
            "        p = argparse.ArgumentParser()\n        self.add(p)\n"
            "        p.add_argument('--wd', type=float, default=0.01)\n        return p.parse_args()\n"
        )
        made = proposed(
            folder,
            "from options.train import Train\nTrain().parse()\n",
            options____init__="",
            options__base=base,
            options__train=more,
        )
        assert values(made) == {"lr": LOG, "wd": LOG}

    def test_subcommands_with_options_of_parents(self, folder: Path, not_asked: None) -> None:
        made = proposed(
            folder,
            """
from argparse import ArgumentParser
def common():
    base = ArgumentParser(add_help=False)
    base.add_argument("--lr", type=float, default=0.01)
    return base
base = common()
sub = ArgumentParser().add_subparsers()
train = sub.add_parser("train", parents=[base])
train.add_argument("--width", type=int, default=32)
test = sub.add_parser("test", parents=[base])
""",
        )
        assert made.command == "python train.py train {args}"
        assert values(made) == {"lr": LOG, "width": [16, 32, 64]}

    def test_commands_that_are_added_to_a_group_of_click(self, folder: Path) -> None:
        made = proposed(
            folder,
            """
import click
@click.group()
def cli(): ...
@click.command()
@click.option("--lr", default=0.01)
def train_command(lr): ...
@click.command()
@click.option("--size", default=4)
def export(size): ...
cli.add_command(train_command, "train")
cli.add_command(export)
if __name__ == "__main__":
    cli()
""",
        )
        assert made.command == "python train.py train {args}"
        assert values(made) == {"lr": LOG}

    def test_a_command_of_click_with_a_name_of_its_own(self, folder: Path, not_asked: None) -> None:
        made = proposed(
            folder,
            "import click\n@cli.command('train')\n@click.option('--lr', default=0.01)\ndef run_it(lr): ...\n",
        )
        assert made.command == "python train.py train {args}"

    def test_defaults_that_are_constants(self, folder: Path, not_asked: None) -> None:
        made = proposed(
            folder,
            f"RATE = 1e-2\nWIDTH = 1 << 5\n{BEGIN}p.add_argument('--lr', type=float, default=RATE)\n"
            f"p.add_argument('--width', type=int, default=WIDTH)\n{END}",
        )
        assert values(made) == {"lr": LOG, "width": [16, 32, 64]}

    def test_a_prompt_of_click_gets_its_default(self, folder: Path, not_asked: None) -> None:
        made = proposed(
            folder,
            "import click\n@click.command()\n@click.option('--lr', default=0.01)\n"
            "@click.option('--model', default='lstm', prompt='Which')\ndef main(lr, model): ...\n",
        )
        assert made.command == "python train.py --model lstm {args}"

    def test_a_configuration_of_hydra_in_another_module(self, folder: Path) -> None:
        config = "from dataclasses import dataclass\n@dataclass\nclass Config:\n    lr: float = 0.01\n"
        main = (
            "import hydra\nfrom hydra.core.config_store import ConfigStore\nfrom config import Config\n"
            "ConfigStore.instance().store('config', Config)\n"
            "@hydra.main(config_path=None, config_name='config')\ndef main(c): ...\n"
        )
        assert values(proposed(folder, main, config=config)) == {"lr": LOG}

    def test_a_group_of_hydra_that_has_a_defaults_list(self, folder: Path) -> None:
        for name, text in {
            "config": "defaults:\n  - model: one\n  - callbacks: some\n",
            "model/one": "defaults:\n  - optimizer: adam\n  - _self_\nwidth: 32\n",
            "model/optimizer/adam": "lr: 0.01\n",
            "callbacks/some": "{}\n",
            "callbacks/none": "{}\n",
        }.items():
            (folder / "conf" / f"{name}.yaml").parent.mkdir(parents=True, exist_ok=True)
            (folder / "conf" / f"{name}.yaml").write_text(text)
        text = "import hydra\n@hydra.main(config_path='conf', config_name='config')\ndef main(c): ...\n"
        assert values(proposed(folder, text)) == {"model.optimizer.lr": LOG, "model.width": [16, 32, 64]}
        assert read_script(Path("train.py"), subcommand="", python="python").notes == ()

    def test_the_trainer_of_hugging_face_is_told_to_train(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        shown = "options:\n  --learning_rate F  (default: 0.01)\n  --do_train [DO_TRAIN]  (default: False)\n"
        monkeypatch.setattr(scripts, "ask", lambda *_, **__: parse(shown))
        made = proposed(folder, "from transformers import HfArgumentParser\n")
        assert made.command == "python train.py --do_train {args}"


PACKAGE = {"src____init__": "", "src__rates": "RATE = 0.01\n"}


class TestModules:
    @pytest.mark.parametrize("line", ["from .rates import RATE", "from src.rates import RATE", "import src.rates"])
    def test_a_script_that_imports_from_its_own_package_is_run_by_its_name(self, folder: Path, line: str) -> None:
        text = f"{line}\n{BEGIN}p.add_argument('--lr', type=float, default=0.01)\n{END}"
        made = proposed(folder, text, name="src/train.py", **PACKAGE)
        assert made.command == "python -m src.train {args}"

    @pytest.mark.parametrize("line", ["import sys; sys.path.append('.')\nfrom src.rates import RATE", "import rates"])
    def test_one_that_finds_them_is_run_by_its_path(self, folder: Path, line: str) -> None:
        text = f"{line}\n{BEGIN}p.add_argument('--lr', type=float, default=0.01)\n{END}"
        made = proposed(folder, text, name="src/train.py", **PACKAGE)
        assert made.command == "python src/train.py {args}"

    @pytest.mark.parametrize("typed", ["-m src.train --lr 0.01", "python -m src.train --lr 0.01"])
    def test_one_that_is_typed_so(self, folder: Path, typed: str) -> None:
        proposed(folder, f"{BEGIN}p.add_argument('--lr', type=float, default=1)\n{END}", name="src/train.py", **PACKAGE)
        made = from_script(typed, sweep=Path("sweep.toml"), environ={}).files[Path("sweep.toml")]
        assert 'command = "python -m src.train {args}"\n' in made
        assert "lr = { low = 0.001, high = 0.1, log = true }" in made

    def test_a_package_is_its_main(self, folder: Path) -> None:
        proposed(folder, f"{BEGIN}p.add_argument('--lr', type=float)\n{END}", name="src/__main__.py", **PACKAGE)
        made = from_script("-m src", sweep=Path("sweep.toml"), environ={}).files[Path("sweep.toml")]
        assert 'command = "python -m src {args}"\n' in made


def test_a_file_of_defaults_is_the_middle_of_ranges(folder: Path, not_asked: None) -> None:
    (folder / "c.yml").write_text("lr: 0.01\nbatch_size: 64\nopt: adamw\n")
    options = "p.add_argument('--config')\np.add_argument('--lr', type=float, default=1)\n"
    options += "p.add_argument('--batch-size', type=int, default=8)\np.add_argument('--opt', default='sgd')\n"
    (folder / "train.py").write_text(f"{BEGIN}{options}{END}")
    made = from_script("train.py --config c.yml", sweep=Path("sweep.toml"), environ={}).files[Path("sweep.toml")]
    assert 'command = "python train.py --config c.yml {hyphen_args}"\n' in made
    assert "lr         = { low = 0.001, high = 0.1, log = true }   # log, around your 0.01\n" in made
    assert "batch_size = [32, 64, 128]" in made


class TestLightningCLI:
    SHOWN = "options:\n  --trainer.callbacks X  (default: null)\n  --trainer.default_root_dir P  (default: null)\n"

    @pytest.mark.parametrize(("run", "start"), [("", "train.py fit "), ("run=False", "train.py ")])
    def test_it_is_told_where_to_write_and_to_report(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, run: str, start: str
    ) -> None:
        asked: list[list[str]] = []
        monkeypatch.setattr(scripts, "ask", lambda argv, **_: asked.append(list(argv)) or parse(self.SHOWN))
        made = proposed(folder, f"from lightning.pytorch.cli import LightningCLI\nLightningCLI(M, D, {run})\n")
        assert asked == [["python", *start.split()]]
        assert made.command == (
            f"python {start}--trainer.default_root_dir {{trial_dir}} "
            "--trainer.callbacks+=hpo_batch.integrations.LightningCallback"
        )

    def test_what_its_configuration_says_of_classes(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (folder / "c.yaml").write_text(
            "model:\n  class_path: a.B\n  init_args:\n    lr: 0.01\n    widths: [1, 2]\n"
            "trainer:\n  logger:\n    init_args:\n      save_dir: logs\n"
        )
        monkeypatch.setattr(scripts, "ask", lambda *_, **__: parse(self.SHOWN))
        (folder / "train.py").write_text("from lightning.pytorch.cli import LightningCLI\nLightningCLI(M)\n")
        made = from_script("train.py fit --config c.yaml", sweep=Path("sweep.toml"), environ={})
        text = made.files[Path("sweep.toml")]
        assert "train.py fit --config c.yaml --trainer" in text
        assert " --trainer.logger.init_args.save_dir {trial_dir} {args}" in text
        assert '"model.init_args.lr" = { low = 0.001, high = 0.1, log = true }' in text


class TestNameEqualsValue:
    def test_a_file_with_other_values_is_passed_on(self, folder: Path) -> None:
        (folder / "small.py").write_text("lr = 0.01  # ours\nnew = 3\n")
        setter = "import sys\nfor word in sys.argv[1:]:\n    globals()['x'] = word\n"
        made = proposed(folder, "lr = 1e-5\nexec(open('set.py').read())\n", subcommand="small.py", set=setter)
        assert made.command == "python train.py small.py --lr={lr}"
        assert values(made) == {"lr": LOG}

    def test_variables_that_an_executed_file_sets(self, folder: Path) -> None:
        setter = (
            "import sys\nfor word in sys.argv[1:]:\n    name, value = word.removeprefix('--').split('=')\n"
            "    globals()[name] = value\n"
        )
        made = proposed(
            folder,
            "out_dir = 'out'\nlr = 1e-2\nbias = False\n_x = 3.0\nexec(open('set.py').read())\nafter = 5.0\n",
            set=setter,
        )
        assert made.command == "python train.py --out_dir={trial_dir} --lr={lr} --bias={bias}"
        assert values(made) == {"lr": LOG, "bias": ["True", "False"]}

    def test_flags_of_absl(self, folder: Path, not_asked: None) -> None:
        made = proposed(
            folder,
            """
from absl import flags
flags.DEFINE_float("lr", 0.01, "Rate.", lower_bound=0.005)
flags.DEFINE_enum("opt", "adam", ["adam", "sgd"], "Which.")
flags.DEFINE_bool("norm", True, "Normalise.")
flags.DEFINE_string("data", None, "Where.")
flags.mark_flag_as_required("data")
""",
        )
        assert made.command == "python train.py --data FILL_IN_data {args}"
        assert values(made) == {
            "lr": {**LOG, "low": 0.005},
            "opt": ["adam", "sgd"],
            "nonorm": [True, False],
        }

    def test_a_config_file_of_ml_collections(self, folder: Path) -> None:
        config = (
            "def get_config():\n    config = ConfigDict()\n    config.lr = 0.01\n"
            "    config.model = ConfigDict(dict(width=32))\n    return config\n"
        )
        made = proposed(
            folder,
            "from absl import flags\nfrom ml_collections import config_flags\n"
            "flags.DEFINE_string('workdir', None, 'Where.')\nconfig_flags.DEFINE_config_file('config')\n",
            configs__default=config,
        )
        assert made.command == (
            "python train.py --config=configs/default.py --workdir={trial_dir} --config.lr={config.lr} "
            "--config.model.width={config.model.width}"
        )


TYPER = """
╭─ Options ───────────────────────────────────────────────────────────────────────╮
│ --lr         -l            <float range> [0.005<=x<=1]  rate [default: 0.01]    │
│ --width                    <int range> [x>=16]          [default: 16]           │
│ --network                  <conv|lstm>                  [default: conv]         │
│ --layers                   <list[int]>                  [default: 64, 64]       │
│ --betas                    <float,float>...             [default: 0.9, 0.999]   │
│ --augment    --no-augment  <bool>                       [default: augment]      │
╰─────────────────────────────────────────────────────────────────────────────────╯
"""


def test_the_metavars_of_typer(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scripts, "ask", lambda *_, **__: parse(TYPER))
    assert values(proposed(folder, "import typer\n")) == {
        "lr": {**LOG, "low": 0.005},
        "width": [16, 32],
        "network": ["conv", "lstm"],
        "no_augment": [True, False],
    }


@pytest.mark.parametrize(
    ("declaration", "value"),
    [
        ("'--batch-size', type=float, default=8.", [4, 8, 16]),
        ("'--gamma', type=float, default=0.99", {"low": 0.9, "high": 0.999}),
        ("'--ema-decay', type=float, default=0.9998", {"low": 0.998, "high": 0.99998}),
        ("'--dropout', type=float", {"low": 0.0, "high": 0.5}),
        ("'--max-depth', type=int, default=4", {"low": 2, "high": 8}),
        ("'--eta', type=float, default=0.01", LOG),
        ("'--lr-noise-pct', type=float, default=0.67", {"low": 0.335, "high": 1.0}),
        ("'--early-stopping-rounds', type=int, default=10", None),
        ("'--input-size', type=int, default=784", None),
        ("'--out-dim', type=int, default=10", None),
        ("'--train-crop-size', type=int, default=224", None),
        ("'--rows', type=int, default=1000", None),
        ("'--skip-export', action='store_true'", None),
        ("'--do_train', action='store_true'", None),
        ("'--track', action='store_true'", None),
        ("'--with_tracking', action='store_true'", None),
        ("'--dtype', choices=['float32', 'bfloat16']", None),
        ("'--use_slow_tokenizer', action='store_true'", None),
        (
            "'--lr_scheduler', choices=['linear', 'cosine', 'cosine_with_restarts', 'constant_with_warmup']",
            ["linear", "cosine", "constant_with_warmup"],
        ),
    ],
)
def test_what_is_searched(folder: Path, not_asked: None, declaration: str, value: Any) -> None:
    made = proposed(folder, f"{BEGIN}p.add_argument({declaration})\n{END}")
    assert list(values(made).values()) == ([] if value is None else [value])


@pytest.mark.parametrize(
    ("text", "metric", "variable"),
    [
        ("print('Test: Average loss: {:.4f}, Accuracy: {}/{}'.format(test_loss, right, n))", "test_loss", "test_loss"),
        ("print('| epoch {:3d} | valid loss {:5.2f} | ppl {:8.2f}'.format(e, val_loss, x))", "val_loss", "val_loss"),
        ("print(f\"step {i}: train loss {l['train']:.4f}, val loss {l['val']:.4f}\")", "val_loss", "l['val']"),
        ("logging.info('epoch %d, test_loss: %.4f', epoch, now)", "test_loss", "now"),
        ("print('epoch %d val_acc %.3f' % (e, acc))", "val_acc", "acc"),
        ("bar.set_postfix(val_loss=v)", "val_loss", "v"),
        ("print(f'Test: Acc@1 {m.acc1:.3f} Acc@5 {m.acc5:.3f}')", "Acc1", "m.acc1"),
        ("print('Averaged stats:', metric_logger)\nprint('mAP', map_)", "mAP", "map_"),
        ("print('IoU metric: {}'.format(iou_type))\nprint('mAP', map_)", "mAP", "map_"),
        ("if bad:\n    print('Loss is', loss)\n    sys.exit(1)\nprint('accuracy', a)", "accuracy", "a"),
        ("if bad:\n    print('Loss is', loss)\n    raise ValueError\nprint('accuracy', a)", "accuracy", "a"),
    ],
)  # fmt: skip
def test_the_metric_that_is_printed_and_its_variable(text: str, metric: str, variable: str) -> None:
    found = guess(ast.parse(text))
    assert found is not None
    assert (found.name, found.variable, found.is_reported) == (metric, variable, False)


@pytest.mark.parametrize(
    ("text", "metric", "callback"),
    [
        ("import lightning\nself.log('val_acc', a)", "val_acc", "LightningCallback"),
        ("import lightning\nf(x, 'train')\nf(x, 'val')\nself.log(f'{stage}_loss', a)", "val_loss", "LightningCallback"),
        ("from transformers import Trainer\nTrainer(model)", "eval_loss", "HuggingFaceCallback"),
        ("import keras\nmodel.fit(x, y, validation_split=0.2)", "val_loss", "KerasCallback"),
        (
            "import lightning\nself.log('val_loss', a)\nself.log('val_f1', b)\nModelCheckpoint(monitor='val_f1')",
            "val_f1",
            "LightningCallback",
        ),
        (
            "import xgboost as xgb\nxgb.train(p, d, 9, evals=[(d, 'train'), (t, 'test')])",
            "test-rmse",
            "XGBoostCallback",
        ),
        (
            "import xgboost as xgb\np = {'objective': 'binary:logistic'}\nxgb.train(p, d, 9, [(t, 'eval')])",
            "eval-logloss",
            "XGBoostCallback",
        ),
        (
            "import xgboost\np['eval_metric'] = ['auc', 'error']\nw = [(t, 'eval')]\nxgboost.train(p, d, evals=w)",
            "eval-error",
            "XGBoostCallback",
        ),
        (
            "from xgboost import XGBClassifier\nXGBClassifier().fit(x, y, eval_set=[(a, b)])",
            "validation_0-logloss",
            "XGBoostCallback",
        ),
        (
            "import lightgbm as lgb\nlgb.train({'objective': 'binary'}, d, valid_sets=[v], valid_names=['val'])",
            "val-binary_logloss",
            "LightGBMCallback",
        ),
        (
            "import lightgbm\nlightgbm.LGBMRegressor(metric='l1').fit(x, y, eval_set=[(a, b)])",
            "valid_0-l1",
            "LightGBMCallback",
        ),
    ],
)
def test_the_callback_that_would_report(text: str, metric: str, callback: str) -> None:
    found = guess(ast.parse(text))
    assert found is not None
    assert (found.name, found.callback) == (metric, callback)


def test_a_module_that_prints_the_metric() -> None:
    wanted = Metric(name="val_loss", direction="minimize", is_reported=False)
    assert guess(ast.parse("import training"), [(Path("training.py"), ast.parse("print(f'val_loss={v}')"))]) == wanted


def test_that_module_is_told_of(folder: Path) -> None:
    (folder / "training.py").write_text("def run(lr):\n    logging.info(f'val_loss={lr}')\n")
    (folder / "train.py").write_text(f"import training\n{BEGIN}p.add_argument('--lr', type=float, default=0.1)\n{END}")
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    assert made.steps == (
        "training.py prints val_loss and does not report it: after line 2, add 'hpo_batch.report(val_loss=lr)', and "
        "'import hpo_batch' at the top",
    )


def test_what_parsers_add_by_themselves_is_no_option() -> None:
    shown = "options:\n  --model.help CLASS  x\n  --print_config  y\n  --model.lr FLOAT  (default: 0.01)\n"
    assert [one.flag for one in parse(shown).options] == ["--model.lr"]


def test_a_folder_for_code_names_no_study() -> None:
    assert study_name(Path("/a/mnist/src"), Path("train.py")) == "mnist"


def test_what_that_module_prints_is_the_metric(folder: Path) -> None:
    (folder / "training.py").write_text("def run(lr):\n    print(f'val_loss={lr}')\n")
    (folder / "train.py").write_text(f"import training\n{BEGIN}p.add_argument('--lr', type=float, default=0.1)\n{END}")
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    assert made.steps == ()
    assert made.notes[0] == "val_loss is taken from what training.py prints, 'val_loss={}': [objective] printed"


@pytest.mark.parametrize(
    ("text", "labels"),
    [
        ("print(f'epoch {e + 1}/{n}: val acc {acc:.3f}')", {"acc": "val acc {}"}),
        ("for e in range(2):\n  print(f'Epoch [{e + 1}/{n}], Loss: {loss:.3f}')",
         {"Loss": "Loss: {}", "step": "Epoch [{}"}),
        ("for e in range(2):\n  print('epoch', e, 'loss', loss.item())", {"loss": "loss {}", "step": "epoch {}"}),
        ("print('Accuracy: {:.1f}% ({}/{})'.format(100 * a, b, c))", {"Accuracy": "Accuracy: {}"}),
        ("print('\\nTest set: Average loss: %.4f' % test_loss)", {"test_loss": "Test set: Average loss: {}"}),
        ("click.echo(f'loss={loss}')", {"loss": "loss={}"}),
        ("print(f'loss={loss}', file=sys.stderr, flush=True)", {"loss": "loss={}"}),
        ("logging.basicConfig(level=logging.INFO)\nlogging.info(f'loss={loss}')", {"loss": "loss={}"}),
        ("log.addHandler(logging.StreamHandler())\nlog.setLevel('INFO')\nlog.info('loss=%s', loss)",
         {"loss": "loss={}"}),
        # nobody knows whether it is shown, or which of several numbers it is
        ("logging.info(f'loss={loss}')", {}),
        ("logging.basicConfig(filename='x')\nlogging.info(f'loss={loss}')", {}),
        ("print(f'loss={loss}', file=log_file)", {}),
        ("file.write(f'loss={loss}')", {}),
        ("bar.set_postfix(loss=loss)", {}),
        ("print('loss', loss, sep='=')", {}),
        ("if args.verbose:\n  print(f'loss={loss}')", {}),
        ("if not quiet:\n  print(f'loss={loss}')", {}),
        ("print(f'loss={a}')\nprint(f'loss={b}')", {}),
        ("print(f'train loss={a}')\nprint(f'loss={loss}')", {}),
        ("print(loss)", {}),
        ("log.addHandler(logging.StreamHandler())\nlog.info('loss=%s', loss)", {}),
        ("logging.basicConfig(level=logging.INFO, filename='x')\nlogging.info(f'loss={loss}')", {}),
        ("from rich import print\nprint(f'[green]loss[/green] {loss}')", {}),
        ("from rich.console import Console\nConsole().print(f'loss {loss}')", {}),
        ("print(f'{loss}')", {}),
    ],
)  # fmt: skip
def test_the_text_around_a_number_that_is_surely_printed(text: str, labels: dict[str, str]) -> None:
    found = guess(ast.parse(text))
    assert (found.labels if found is not None else {}) == labels


def test_no_more_trials_than_configurations_are_proposed(folder: Path) -> None:
    options = "p.add_argument('--opt', choices=['a', 'b'])\np.add_argument('--size', choices=['s', 'm', 'l'])\n"
    (folder / "train.py").write_text(f"{BEGIN}{options}{END}")
    made = from_script("train.py", sweep=Path("sweep.toml"), environ={})
    assert "\ntrials = 6 " in made.files[Path("sweep.toml")]
