from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from thalweg import doctor
from trainers import lightning

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*LeafSpec.*deprecated:FutureWarning"),  # of torch
    pytest.mark.filterwarnings("ignore:The number of training batches:UserWarning"),
]


def lit() -> Any:
    """Return a module of Lightning whose optimizer lacks the first layer."""

    class Lit(lightning().LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            loss = nn.functional.cross_entropy(self.network(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
            self.log("val_loss", nn.functional.cross_entropy(self.network(batch[0]), batch[1]))

        def configure_optimizers(self) -> Any:
            held = self.network[2].parameters()  # and not those of the first layer
            return torch.optim.Adam(held, lr=0.02)

    return Lit()


def fit(folder: Path, **more: Any) -> doctor.LightningCallback:
    x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))
    data = DataLoader(TensorDataset(x, (x[:, 0] > 0).long()), 8)
    callback = doctor.LightningCallback()
    trainer = lightning().Trainer(
        max_epochs=2, accelerator="cpu", logger=False, default_root_dir=folder,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
        callbacks=[callback], **more,
    )  # fmt: skip
    trainer.fit(lit(), data, data)
    return callback


def test_a_training_by_lightning_is_watched(tmp_path: Path, capsys: Any) -> None:
    callback = fit(tmp_path)
    assert callback.doctor is not None
    assert callback.doctor.signals.steps == len(callback.doctor.signals.losses) == 16
    assert [step for step, _ in callback.doctor.validated] == [8, 16]
    assert [finding.cause for finding in callback.doctor.findings] == [
        "parameters_not_in_optimizer"
    ]
    printed = capsys.readouterr().out
    assert "thalweg: problem: parameters_not_in_optimizer" in printed
    assert callback.doctor.prove(steps=20).worked == []  # the data are learned all the same


def test_where_gradients_are_accumulated_steps_of_the_optimizer_count(tmp_path: Path) -> None:
    watched = fit(tmp_path, accumulate_grad_batches=2).doctor
    plain = fit(tmp_path).doctor
    assert watched is not None
    assert plain is not None
    assert watched.signals.steps == len(watched.signals.losses) == 8
    assert watched.signals.losses[0] == pytest.approx(plain.signals.losses[1], rel=0.05)
