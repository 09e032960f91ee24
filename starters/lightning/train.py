"""A classifier of handwritten digits with Lightning: replace model and data with your own."""

import lightning.pytorch as pl
import torch
from sklearn.datasets import load_digits
from torch.utils.data import DataLoader, TensorDataset, random_split

import hpo_batch
from hpo_batch.integrations import LightningCallback


class Classifier(pl.LightningModule):
    def __init__(self, lr: float, hidden: int, dropout: float) -> None:
        super().__init__()
        self.lr = lr
        layers = [torch.nn.Linear(64, hidden), torch.nn.ReLU(), torch.nn.Dropout(dropout), torch.nn.Linear(hidden, 10)]
        self.model = torch.nn.Sequential(*layers)

    def training_step(self, batch, index):
        return torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, index):
        self.log("val_loss", torch.nn.functional.cross_entropy(self.model(batch[0]), batch[1]))

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def train(trial: hpo_batch.Trial) -> float | None:
    pl.seed_everything(trial.seed, verbose=False)
    torch.set_num_threads(trial.cpus)
    x, y = load_digits(return_X_y=True)
    digits = TensorDataset(torch.tensor(x / 16, dtype=torch.float32), torch.tensor(y))
    data, validation = random_split(digits, [1500, 297], generator=torch.Generator().manual_seed(0))
    callback = LightningCallback()  # reports val_loss after each epoch, and stops when the trial is to stop
    trainer = pl.Trainer(
        max_epochs=5, accelerator="auto", devices=1, callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, default_root_dir=trial.dir,
    )  # fmt: skip
    model = Classifier(trial.params["lr"], trial.params["hidden"], trial.params["dropout"])
    batches = DataLoader(data, batch_size=trial.params["batch_size"], shuffle=True)
    trainer.fit(model, batches, DataLoader(validation, batch_size=297), ckpt_path=callback.resume_from)
    return None if trial.should_stop() else trainer.callback_metrics["val_loss"].item()
