"""Training scripts as people have them, one for each parser. Each prints what it was given as JSON, and its result."""

from __future__ import annotations

SCRIPTS: dict[str, str] = {
    "argparse": """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--lr", type=float, default=1e-3)
parser.add_argument("--batch-size", "-b", type=int, default=64, metavar="N")
parser.add_argument("--optimizer", choices=["sgd", "adam"], default="adam")
parser.add_argument("--norm", action=argparse.BooleanOptionalAction, default=True)
parser.add_argument("--nesterov", action="store_true")
parser.add_argument("--clip-norm", type=float, default=None)
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--output-dir", default="runs")
parser.add_argument("--epochs", type=int, default=3)
args = parser.parse_args()
print(json.dumps(vars(args)))
for epoch in range(args.epochs):
    print(f"epoch {epoch}: train_loss=0.5 val_loss={args.lr:.4f}")
print(f"RESULT: val_loss={args.lr}")
""",
    "argparse with underscores and hyphens": """
import argparse, json
def build():
    parser = argparse.ArgumentParser()
    model = parser.add_argument_group("model")
    model.add_argument("--d_model", type=int, default=2**6)
    model.add_argument("--n_heads", type=int, default=4)
    model.add_argument("--drop-out", type=float, default=0.1)
    parser.add_argument("--lr", type=float, required=True)
    return parser
if __name__ == "__main__":
    args = build().parse_args()
    print(json.dumps(vars(args)))
    print("RESULT: accuracy=%s" % args.lr)
""",
    "argparse with one dash": """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("-lr", type=float, default=0.1)
parser.add_argument("-bs", type=int, default=32)
parser.add_argument("-wd", type=float, default=1e-4)
parser.add_argument("-fast", action="store_true")
args = parser.parse_args()
print(json.dumps(vars(args)))
print(f"RESULT: val_loss={args.lr}")
""",
    "argparse with subcommands": """
import argparse, json
parser = argparse.ArgumentParser()
parser.add_argument("--verbose", action="store_true")
sub = parser.add_subparsers(dest="what", required=True)
train = sub.add_parser("train")
train.add_argument("--lr", type=float, default=0.1)
train.add_argument("--hidden_size", type=int, default=128)
test = sub.add_parser("test")
test.add_argument("--weights", required=True)
args = parser.parse_args()
print(json.dumps(vars(args)))
print(f"RESULT: val_loss={args.lr}")
""",
    "click": """
import json
import click
@click.command()
@click.option("--lr", default=1e-3)
@click.option("--batch-size", "-b", default=32, type=click.IntRange(1, 4096))
@click.option("--norm/--no-norm", default=True)
@click.option("--nesterov", is_flag=True)
@click.option("--optimizer", type=click.Choice(["sgd", "adam"]), default="sgd")
@click.option("--size", multiple=True, type=int)
@click.option("--output-dir", type=click.Path(), required=True)
def main(**given):
    print(json.dumps(given))
    click.echo(f"RESULT: val_loss={given['lr']}")
if __name__ == "__main__":
    main()
""",
    "typer": """
import json
from pathlib import Path
from typing import Annotated
import typer
def main(
    lr: float = 1e-3,
    batch_size: int = 32,
    norm: bool = True,
    nesterov: bool = False,
    optimizer: Annotated[str, typer.Option(help="which of the optimizers of torch to take for this " * 6)] = "sgd",
    output_dir: Path = Path("runs"),
):
    print(json.dumps({"lr": lr, "batch_size": batch_size, "norm": norm, "nesterov": nesterov}))
    print(f"RESULT: val_loss={lr}")
typer.run(main)
""",
    "tyro": '''
import dataclasses, json
from typing import Literal
import tyro
@dataclasses.dataclass
class Model:
    hidden_dim: int = 64
    use_norm: bool = True
@dataclasses.dataclass
class Config:
    lr: float = 1e-3
    """The learning rate."""
    optimizer: Literal["sgd", "adam"] = "sgd"
    sizes: tuple[int, ...] = (1, 2)
    model: Model = dataclasses.field(default_factory=Model)
if __name__ == "__main__":
    config = tyro.cli(Config)
    print(json.dumps(dataclasses.asdict(config)))
    print(f"RESULT: val_loss={config.lr}")
''',
    "jsonargparse": """
import json
from typing import Literal, Optional
from jsonargparse import CLI
def main(
    lr: float = 1e-3,
    batch_size: int = 32,
    use_norm: bool = True,
    optimizer: Literal["sgd", "adam"] = "sgd",
    weight_decay: Optional[float] = None,
):
    print(json.dumps({"lr": lr, "batch_size": batch_size, "use_norm": use_norm, "optimizer": optimizer,
                      "weight_decay": weight_decay}))
    print(f"RESULT: val_loss={lr}")
if __name__ == "__main__":
    CLI(main)
""",
    "Hydra with dataclasses": """
import json
from dataclasses import dataclass, field
import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, OmegaConf
@dataclass
class Optimizer:
    lr: float = 0.1
    nesterov: bool = False
@dataclass
class Config:
    epochs: int = 3
    seed: int = 0
    hidden: int = 32
    optimizer: Optimizer = field(default_factory=Optimizer)
ConfigStore.instance().store(name="config", node=Config)
@hydra.main(version_base=None, config_name="config")
def main(config):
    print(json.dumps(OmegaConf.to_container(config)))
    print(f"RESULT: val_loss={config.optimizer.lr}")
if __name__ == "__main__":
    main()
""",
    "Hydra with YAML": """
import json
import hydra
from omegaconf import DictConfig, OmegaConf
@hydra.main(version_base=None, config_path="conf", config_name="config")
def main(config: DictConfig) -> None:
    print(json.dumps(OmegaConf.to_container(config, resolve=True)))
    print(f"RESULT: val_loss={config.optimizer.lr}")
if __name__ == "__main__":
    main()
""",
    "HfArgumentParser": """
import json
from dataclasses import dataclass, field
from transformers import HfArgumentParser
@dataclass
class Arguments:
    learning_rate: float = field(default=5e-5, metadata={"help": "The rate"})
    per_device_train_batch_size: int = 8
    hidden_size: int = 64
    output_dir: str = "runs"
if __name__ == "__main__":
    (args,) = HfArgumentParser(Arguments).parse_args_into_dataclasses()
    print(json.dumps(vars(args)))
    print(f"RESULT: eval_loss={args.learning_rate}")
""",
    "LightningCLI": """
import json
import lightning.pytorch as pl
from lightning.pytorch.cli import LightningCLI
from lightning.pytorch.demos.boring_classes import BoringDataModule, BoringModel
class Model(BoringModel):
    def __init__(self, lr: float = 1e-3, hidden_dim: int = 64):
        super().__init__()
        print(json.dumps({"model": {"lr": lr, "hidden_dim": hidden_dim}}))
        print(f"RESULT: val_loss={lr}")
if __name__ == "__main__":
    LightningCLI(Model, BoringDataModule, trainer_defaults={"fast_dev_run": True, "logger": False})
""",
}

CONFIG = """
defaults:
  - model: small
  - _self_
epochs: 3
seed: 1
optimizer:
  name: sgd
  lr: 1e-1
  weight_decay: 0.0001
data:
  path: ${oc.env:HOME}
  batch_size: 32
layers: [1, 2]
"""
GROUP = {"small": "hidden: 32\ndropout: 0.1\n", "large": "hidden: 256\ndropout: 0.1\n"}

SEARCHED: dict[str, set[str]] = {
    "argparse": {"lr", "batch_size", "optimizer", "no_norm", "nesterov"},
    "argparse with underscores and hyphens": {"d_model", "n_heads", "drop-out", "lr"},
    "argparse with one dash": {"lr", "bs", "wd"},
    "argparse with subcommands": {"lr", "hidden_size"},
    "click": {"lr", "batch_size", "no_norm", "nesterov", "optimizer"},
    "typer": {"lr", "batch_size", "no_norm", "nesterov"},
    "tyro": {"lr", "optimizer", "model.hidden_dim", "model.no_use_norm"},
    "jsonargparse": {"lr", "batch_size", "use_norm", "optimizer", "weight_decay"},
    "Hydra with dataclasses": {"hidden", "optimizer.lr", "optimizer.nesterov"},
    "Hydra with YAML": {"model.hidden", "model.dropout", "optimizer.lr", "optimizer.weight_decay", "data.batch_size"},
    "HfArgumentParser": {"learning_rate", "per_device_train_batch_size", "hidden_size"},
    "LightningCLI": {"model.lr", "model.hidden_dim"},
}
"""what is to be searched of each"""
NEEDS = {
    "typer": "typer",
    "tyro": "tyro",
    "jsonargparse": "jsonargparse",
    "Hydra with dataclasses": "hydra",
    "Hydra with YAML": "hydra",
    "HfArgumentParser": "transformers",
    "LightningCLI": "lightning",
}
