"""The parts of a training that is written for Lightning or for transformers' Trainer."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.trainers import lightning, transformers

from thalweg.errors import TaskError
from thalweg.tasks.forms import parts, raced
from thalweg.tasks.frameworks import made_optimizer

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - it loads torch
from torch.utils.data import DataLoader, TensorDataset  # noqa: E402 - the same

from thalweg.doctor.setup import setup  # noqa: E402 - the same


def loader(rows: int) -> Any:
    return DataLoader(TensorDataset(torch.ones(rows, 3), torch.zeros(rows, 1)), 4)


def lit(**methods: Any) -> Any:
    """Return a module of Lightning that logs, with some methods of its own."""

    def training_step(self: Any, batch: Any, batch_idx: int) -> Any:
        loss = nn.functional.mse_loss(self.layer(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self: Any) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), lr=0.3)
        return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]

    own = {"training_step": training_step, "configure_optimizers": configure_optimizers}
    module = type("Lit", (lightning().LightningModule,), {**own, **methods})()
    module.layer = nn.Linear(3, 1)
    return module


def rows_module() -> Any:
    """Return a DataModule whose loaders are there once it was set up."""

    def set_up(self: Any, stage: str) -> None:
        self.stages = [*vars(self).get("stages", []), stage]

    def loaded(count: int, stage: str) -> Callable[[Any], Any]:
        def made(self: Any) -> Any:
            assert stage in self.stages
            return loader(count)

        return made

    return type(
        "Rows",
        (lightning().LightningDataModule,),
        {
            "setup": set_up,
            "train_dataloader": loaded(8, "fit"),
            "val_dataloader": lambda _: [loader(5), loader(6)],
            "test_dataloader": loaded(7, "test"),
        },
    )()


FORMS: dict[str, Callable[[], Any]] = {
    "with a DataModule": lambda: (lit(), rows_module()),
    "by name": lambda: {"net": lit(), "datamodule": rows_module()},
    "with a Trainer": lambda: (
        lightning().Trainer(logger=False, enable_checkpointing=False), lit(), rows_module(),
    ),
    "with loaders": lambda: (lit(), loader(8), loader(5), loader(7)),
    "loaders of its own": lambda: lit(
        train_dataloader=lambda _: loader(8),
        val_dataloader=lambda _: loader(5),
        test_dataloader=lambda _: loader(7),
    ),
}  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.filterwarnings("error:.*self.log")
def test_a_module_of_lightning_has_the_parts_of_a_training(form: str) -> None:
    made = setup(FORMS[form](), "task")
    assert made.optimizer.param_groups[0]["initial_lr"] == 0.3
    x, y = next(iter(made.loader))
    loss = made.loss((x, y))
    assert torch.equal(loss, nn.functional.mse_loss(made.model.layer(x), y))
    task = raced(FORMS[form](), FORMS[form], "train.py:task")
    assert task is not None
    assert [len(part.dataset) for part in (task.train, task.validation, task.test)] == [8, 5, 7]
    first, second = task.model(), task.model()
    assert not torch.equal(first.layer.weight, second.layer.weight)
    assert task.step(first, (x, y)) != task.step(second, (x, y))


def test_a_step_may_return_a_dict_and_take_no_number() -> None:
    module = lit(training_step=lambda _, batch: {"loss": batch.sum()})
    assert parts((module, loader(8)))["step"](module, torch.ones(3)) == 3


def test_optimizers_of_lightning_in_every_form() -> None:
    first, second = (torch.optim.SGD([torch.zeros(1)], lr=rate) for rate in (1.0, 2.0))
    schedule = torch.optim.lr_scheduler.StepLR(first, 2)
    for returned, expected in (
        (first, first),
        ([first], first),
        (([first], [schedule]), first),
        ({"optimizer": first, "lr_scheduler": schedule}, first),
        (({"optimizer": first}, {"optimizer": second}), [first, second]),
        ((first, second), [first, second]),
        (None, None),
    ):
        module = lit(configure_optimizers=lambda _, made=returned: made)
        assert made_optimizer(module) == expected


def manual() -> Any:
    module = lit()
    module.automatic_optimization = False
    return module, loader(8)


def broken(self: Any) -> None:
    raise KeyError("rows")


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lit, "Lit has no train_dataloader(); return it with its DataModule or its DataLoader"),
        (manual, "automatic_optimization=False and takes its own steps; return a dict with"),
        (lambda: lit(train_dataloader=broken), "KeyError: 'rows'"),
        (lambda: (lit(configure_optimizers=broken), loader(8)), "KeyError: 'rows'"),
        (
            lambda: (lit(configure_optimizers=lambda _: None), loader(8)),
            "task returns no optimizer",
        ),
    ],
)
def test_what_lightning_trains_in_no_way_of_ours_is_told(made: Any, said: str) -> None:
    with pytest.raises(TaskError) as error:
        setup(made(), "task")
    assert said in str(error.value)


class Rows(torch.utils.data.Dataset):  # type: ignore[type-arg] # torch may be absent
    def __len__(self) -> int:
        return 12

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.full((3,), float(index)), "labels": torch.ones(1)}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 1)

    def forward(self, x: Any, labels: Any = None) -> dict[str, Any]:
        z = self.layer(x)
        return {"logits": z} if labels is None else {"loss": ((z - labels) ** 2).mean(), "z": z}


@pytest.mark.parametrize("own", [False, True])
def test_a_trainer_of_transformers_has_the_parts_of_a_training(
    tmp_path: Path, *, own: bool
) -> None:
    def compute_loss(self: Any, model: Any, inputs: Any, **_: Any) -> Any:
        return 7 * ((model(inputs["x"])["logits"] - inputs.pop("labels")) ** 2).mean()

    made = transformers().Trainer
    methods = {"compute_loss": compute_loss} if own else {}
    arguments = transformers().TrainingArguments(
        output_dir=str(tmp_path), use_cpu=True, report_to=[], learning_rate=0.03
    )

    def task() -> Any:
        return type("Own", (made,), methods)(
            Net(), arguments, train_dataset=Rows(), eval_dataset=Rows()
        )

    ready = setup(task(), "task")
    assert ready.optimizer.param_groups[0]["lr"] == 0.03
    assert ready.val_loader is not None
    batch = next(iter(ready.loader))
    expected = ((ready.model.layer(batch["x"]) - batch["labels"]) ** 2).mean()
    torch.testing.assert_close(ready.loss(batch), expected * (7 if own else 1))
    assert "labels" in batch
    race = raced(task(), task, "train.py:task")
    assert race is not None
    starts = [torch.manual_seed(seed) and race.model().layer.weight for seed in (0, 1)]
    assert not torch.equal(*starts)
