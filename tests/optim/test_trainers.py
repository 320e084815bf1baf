"""Lightning and the Trainer of transformers train with our classes as with torch's."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.utils.data import DataLoader, Dataset

from optim_pairs import ONE_EACH, Build, Configuration, assert_close, every_class
from thalweg import optim
from trainers import lightning, transformers

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:.*LeafSpec.*deprecated:FutureWarning"
    ),  # Lightning's, of torch
]


class Rows(Dataset[dict[str, Tensor]]):
    """Forty rows of four numbers and a target."""

    def __init__(self) -> None:
        generator = torch.Generator().manual_seed(0)
        self.x = torch.randn(40, 4, generator=generator, dtype=torch.float64)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": self.x[index].prod(0, keepdim=True)}


def network() -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1)).double()


def assert_equal(ours: nn.Module, theirs: nn.Module) -> None:
    for p, like in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert_close(p.detach(), like.detach(), 1e-9)


def lit(build: Build) -> Any:
    """Return the network as Lightning wants it."""

    class Lit(lightning().LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.network = network()

        def training_step(self, batch: dict[str, Tensor], _: int) -> Tensor:
            return mse_loss(self.network(batch["x"]), batch["labels"])

        def configure_optimizers(self) -> Any:
            optimizer = build(self.parameters())
            return [optimizer], [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.8)]

    return Lit()


def fit(build: Build, folder: Path, epochs: int, start: Path | None = None, **more: Any) -> Any:
    """Train with Lightning until that epoch, from a checkpoint if there is one, and save."""
    model = lit(build)
    trainer = lightning().Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, default_root_dir=folder,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, **more,
    )  # fmt: skip
    trainer.fit(model, DataLoader(Rows(), batch_size=8), ckpt_path=start)
    trainer.save_checkpoint(folder / f"{epochs}.ckpt")
    return model


@every_class
def test_lightning_trains_and_goes_on_as_with_torchs(
    configuration: Configuration, tmp_path: Path
) -> None:
    unbroken = fit(configuration.theirs, tmp_path, 4)
    for build in (configuration.theirs, configuration.ours):
        fit(build, tmp_path, 2)
        assert_equal(fit(configuration.ours, tmp_path, 4, tmp_path / "2.ckpt"), unbroken)


def test_lightning_clips_and_accumulates_as_our_step_does(tmp_path: Path) -> None:
    accumulated = {"accumulate_grad_batches": 2}

    def clipping(params: Any) -> Any:
        return optim.NAdam(params, lr=0.02, clip_norm=0.05)

    ours = fit(clipping, tmp_path, 2, **accumulated)
    theirs = fit(
        lambda p: torch.optim.NAdam(p, 0.02), tmp_path, 2, gradient_clip_val=0.05, **accumulated
    )
    assert_equal(ours, theirs)


def test_lightning_clips_in_mixed_precision_as_with_torchs(tmp_path: Path) -> None:
    """It refuses optimizers that take a loss scale off in their step."""
    ours, theirs = (
        fit(
            lambda p, of=of: of(p, lr=0.02), tmp_path, 1,
            gradient_clip_val=0.05, precision="bf16-mixed",
        )
        for of in (optim.AdamW, torch.optim.AdamW)
    )  # fmt: skip
    assert_equal(ours, theirs)


class Reporting(nn.Module):
    """The network with its loss, as transformers wants it."""

    def __init__(self) -> None:
        super().__init__()
        self.network = network()

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        return {"loss": mse_loss(self.network(x), labels)}


def trained(
    kind: type, options: dict[str, Any], folder: Path, *, resumed: bool = False
) -> nn.Module:
    """Train for two epochs with transformers, saving each, or from the first one's checkpoint."""
    model = Reporting()
    arguments = transformers().TrainingArguments(
        output_dir=str(folder), num_train_epochs=2, per_device_train_batch_size=8, use_cpu=True,
        save_strategy="epoch", report_to=[], disable_tqdm=True, logging_strategy="no",
        weight_decay=0.1,
    )  # fmt: skip
    trainer = transformers().Trainer(
        model, arguments, train_dataset=Rows(), optimizer_cls_and_kwargs=(kind, options)
    )
    trainer.train(resume_from_checkpoint=str(folder / "checkpoint-5") if resumed else None)
    assert isinstance(trainer.optimizer.optimizer, kind)
    return model


@pytest.mark.parametrize(
    "configuration",
    [c for c in ONE_EACH if c.name in {"AdamW", "NAdam"}],
    ids=lambda c: c.name,
)
def test_transformers_trains_and_goes_on_as_with_torchs(
    configuration: Configuration, tmp_path: Path
) -> None:
    kinds = [getattr(module, configuration.name) for module in (optim, torch.optim)]
    options = dict(configuration.options)
    unbroken = trained(kinds[1], options, tmp_path)
    assert_equal(trained(kinds[0], options, tmp_path, resumed=True), unbroken)
    assert_equal(trained(kinds[0], options, tmp_path), unbroken)
    assert_equal(trained(kinds[0], options, tmp_path, resumed=True), unbroken)


def test_transformers_trains_with_a_rule(tmp_path: Path) -> None:
    ours = trained(optim.Descent, {"rule": "adam", "lr": 0.02}, tmp_path)
    theirs = trained(torch.optim.Adam, {"lr": 0.02}, tmp_path)
    assert_equal(ours, theirs)
