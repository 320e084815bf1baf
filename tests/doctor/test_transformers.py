from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from thalweg import doctor
from trainers import transformers


class Rows(Dataset[dict[str, Tensor]]):
    def __init__(self) -> None:
        self.x = torch.randn(64, 6, generator=torch.Generator().manual_seed(0))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return {"x": self.x[index], "labels": (self.x[index, 0] > 0).long()}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.network = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
        scores = self.network(x)
        return {"loss": nn.functional.cross_entropy(scores, labels), "logits": scores}


def test_a_training_by_the_trainer_is_watched(tmp_path: Path, capsys: Any) -> None:
    callback, model = doctor.TrainerCallback(), Net()
    arguments = transformers().TrainingArguments(
        output_dir=str(tmp_path), max_steps=12, per_device_train_batch_size=8, use_cpu=True,
        report_to=[], disable_tqdm=True, save_strategy="no", eval_strategy="steps", eval_steps=6,
    )  # fmt: skip
    optimizer = torch.optim.Adam(model.network[2].parameters(), lr=0.02)  # not the first layer
    trainer = transformers().Trainer(
        model, arguments, train_dataset=Rows(), eval_dataset=Rows(), callbacks=[callback],
        optimizers=(optimizer, None),
    )  # fmt: skip
    trainer.train()
    watched = callback.doctor
    assert watched is not None
    assert watched.signals.steps == len(watched.signals.losses) == 12
    assert [step for step, _ in watched.validated] == [6, 12]
    assert [finding.cause for finding in watched.findings] == ["parameters_not_in_optimizer"]
    assert "thalweg: problem: parameters_not_in_optimizer" in capsys.readouterr().out
    assert not model._forward_hooks  # taken away at the end
