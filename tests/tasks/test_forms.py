"""Parts of a training, in the forms in which functions return them, as the task of a race."""

from pathlib import Path
from typing import Any

import pytest

from thalweg.errors import TaskError
from thalweg.tasks import source
from thalweg.tasks.forms import parts

torch = pytest.importorskip("torch")

from thalweg.doctor.setup import setup  # noqa: E402 - it loads torch

FILE = """
import types

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

data = TensorDataset(torch.zeros(40, 3), torch.zeros(40, 1))
other = TensorDataset(torch.zeros(8, 3), torch.zeros(8, 1))


def task():
    model = nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loader = DataLoader(data, 8)
    return FORM
"""
FORMS = {
    "dict": "{'model': model, 'optimizer': optimizer, 'loss_fn': nn.MSELoss(), 'loader': loader}",
    "tuple": "model, optimizer, nn.MSELoss(), loader",
    "tuple in another order": "loader, nn.MSELoss(), optimizer, model",
    "tuple with a schedule": (
        "model, optimizer, nn.MSELoss(), loader, torch.optim.lr_scheduler.StepLR(optimizer, 3)"
    ),
    "other names": (
        "dict(net=model, opt=optimizer, criterion=nn.MSELoss(), train_loader=loader, "
        "scheduler=torch.optim.lr_scheduler.StepLR(optimizer, 3))"
    ),
    "object": (
        "types.SimpleNamespace(model=model, optimizer=optimizer, epochs=3, criterion=nn.MSELoss(), "
        "train_loader=loader)"
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_parts_are_a_task_of_new_models(tmp_path: Path, form: str) -> None:
    (tmp_path / "parts.py").write_text(FILE.replace("FORM", FORMS[form]))
    task = source.load_task(f"{tmp_path / 'parts.py'}:task")
    assert isinstance(task.loss, torch.nn.MSELoss)
    assert len(task.train.dataset) == 40
    assert task.validation == 0.2
    first, second = task.model(), task.model()
    assert not torch.equal(first.weight, second.weight)
    made, place = source.returned(f"{tmp_path / 'parts.py'}:task")
    assert setup(made, place).optimizer.defaults["lr"] == 0.1


def test_a_race_needs_no_optimizer_in_a_tuple(tmp_path: Path) -> None:
    schedule = "torch.optim.lr_scheduler.StepLR(optimizer, 3)"
    for held in (
        f"model, nn.functional.mse_loss, optimizer, {schedule}, data",
        "model, nn.functional.mse_loss, data",
        "model, optimizer, nn.functional.mse_loss, data, loader, other",
    ):
        (tmp_path / "parts.py").write_text(FILE.replace("FORM", held))
        task = source.load_task(f"{tmp_path / 'parts.py'}:task")
        assert (task.loss, len(task.train)) == (torch.nn.functional.mse_loss, 40)
    assert (len(task.validation.dataset), len(task.test)) == (40, 8)


def test_a_step_is_taken_and_batches_that_are_given_are_refused(tmp_path: Path) -> None:
    step = "{'model': model, 'step': len, 'loader': loader, 'val_loader': loader}"
    (tmp_path / "parts.py").write_text(FILE.replace("FORM", step))
    task = source.load_task(f"{tmp_path / 'parts.py'}:task")
    assert task.step is len
    assert task.loss is None
    assert len(task.validation.dataset) == 40
    batches = "{'model': model, 'loss_fn': nn.MSELoss(), 'loader': [*loader]}"
    (tmp_path / "parts.py").write_text(FILE.replace("FORM", batches))
    with pytest.raises(
        TaskError, match="the train data must be a DataLoader or a Dataset, got list; return thalw"
    ):
        source.load_task(f"{tmp_path / 'parts.py'}:task")
    (tmp_path / "parts.py").write_text(FILE.replace("FORM", "{'model': 1, 'loader': loader}"))
    with pytest.raises(TaskError, match="neither loss_fn nor step; if the model returns"):
        source.load_task(f"{tmp_path / 'parts.py'}:task")


@pytest.mark.parametrize("own", ["", ", 'val_loader': DataLoader(data, 5)"])
def test_a_race_never_chooses_by_test_data(tmp_path: Path, own: str) -> None:
    form = "{'model': model, 'loss_fn': nn.MSELoss(), 'loader': loader, 'test_loader': loader, "
    form += f"'optimizer': optimizer{own}}}"
    (tmp_path / "parts.py").write_text(FILE.replace("FORM", form))
    task = source.load_task(f"{tmp_path / 'parts.py'}:task")
    assert task.test.batch_size == 8
    assert task.validation == 0.2 if not own else task.validation.batch_size == 5
    held_out: Any = setup(*source.returned(f"{tmp_path / 'parts.py'}:task")).val_loader
    assert held_out.batch_size == (5 if own else 8)


def test_a_name_of_ours_is_taken_before_another() -> None:
    assert parts({"loss_fn": 1, "criterion": 2}) == {"loss_fn": 1, "criterion": 2}
