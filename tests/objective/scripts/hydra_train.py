"""A Hydra application, called with ``{overrides}`` and Hydra's own folder moved into the trial's."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


@dataclass
class Model:
    dropout: float = 0.0
    d_model: int = 8


@dataclass
class Config:
    lr: float = 0.1
    text: Any = ""
    word: str = "none"
    use_cosine: bool = False
    use_warmup: bool = True
    model: Model = field(default_factory=Model)


ConfigStore.instance().store(name="train", node=Config)


@hydra.main(version_base="1.3", config_name="train")
def main(config: DictConfig) -> None:
    folder = Path(HydraConfig.get().runtime.output_dir)
    (folder / "config.json").write_text(json.dumps(OmegaConf.to_container(config, resolve=True)))
    print(f"RESULT: {config.lr * 2}")


if __name__ == "__main__":
    main()
