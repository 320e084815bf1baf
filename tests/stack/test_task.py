"""What is said of a task that does not do, and what one may be."""

import inspect
import itertools
import re
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, TensorDataset

from stack.nets import X, Y, in_lanes, make, numbered
from stack.test_batch import Breaks, Endless, Twofold, Unending, Unopened
from thalweg.errors import TaskError
from thalweg.stack import TorchTask


def zero(_: Tensor, __: Tensor) -> float:
    return 0.0


def test_a_users_own_step_takes_whatever_a_batch_is() -> None:
    def step(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return (model(batch["x"]) - batch["y"]).square().mean()

    x = torch.linspace(-1, 1, 40)[:, None]
    own = numbered(
        model=lambda: nn.Linear(1, 1), loss=None, step=step, train={"x": x, "y": 3 * x + 1}
    )  # fmt: skip
    training = in_lanes(own, "sgd", [{"lr": 0.3}, {"lr": 0.03}], epochs=40, batch_size=8)
    weights = training.finals[0].stack.lane(0)[0]
    assert [w.item() for w in weights.values()] == pytest.approx([3.0, 1.0], abs=1e-4)


def test_several_inputs_are_handed_over_one_by_one() -> None:
    two = numbered(model=lambda: nn.Bilinear(1, 1, 4), train=((X / 100, X / 100), Y))
    training = in_lanes(two, "sgd", [{}] * 2, epochs=1)
    assert np.isfinite(training.train_loss).all()


@pytest.mark.parametrize(
    ("error", "given", "message"),
    [
        (TypeError, {"model": nn.Linear(1, 4)}, "got Linear; write model=lambda: Net()"),
        (TypeError, {"loss": None}, "give either loss(outputs, targets) or step(model, batch)"),
        (TypeError, {"loss": nn.MSELoss}, "got the class MSELoss; write MSELoss()"),
        (TypeError, {"loss": "mse_loss"}, "got 'mse_loss'; write torch.nn.functional.mse_loss"),
        (TypeError, {"metric": "accuracy"}, "metric must be a function, got 'accuracy'"),
        (TypeError, {"loss_fn": zero}, "TorchTask has no argument 'loss_fn'; did you mean loss?"),
        (TypeError, {"cost": zero}, "no argument 'cost'; its arguments are model, loss, train, "),
        (TypeError, {"step": max}, "give either loss(outputs, targets) or step(model, batch)"),
        (ValueError, {"validation": 1.5}, "validation must be a share in (0, 1) or"),
        (ValueError, {"test": 0}, "test must be a share in (0, 1) or examples, got 0"),
        (ValueError, {"l2": -1.0}, "l2 must be >= 0, got -1.0"),
        (ValueError, {"l2": float("nan")}, "l2 must be finite, got nan"),
        (ValueError, {"clip_norm": 0.0}, "clip_norm must be > 0, got 0.0"),
        (ValueError, {"label_smoothing": 1.0}, "label_smoothing must be in [0, 1), got 1.0"),
        (ValueError, {"label_smoothing": 0.1, "loss": zero}, "label_smoothing needs a loss"),
        (ValueError, {"device": "gpu"}, "device must be one of torch's, such as 'cpu', 'cuda' or"),
        (ValueError, {"device": 1.5}, "'cuda:1', got 1.5"),
        (ValueError, {"autocast": torch.float16}, "autocast must be torch.bfloat16 or None, got"),
    ],
)  # fmt: skip
def test_what_is_outside_its_bounds_is_refused(
    error: type[Exception], given: dict[str, Any], message: str
) -> None:
    with pytest.raises(error, match=re.escape(message)):
        numbered(**given)


def test_arguments_have_names() -> None:
    with pytest.raises(TypeError, match="takes its arguments by name: "):
        TorchTask(nn.Linear, zero)  # type: ignore[call-arg,misc]
    with pytest.raises(TypeError, match="TorchTask needs model and train, such as"):
        TorchTask(loss=zero)  # type: ignore[call-arg]
    assert next(iter(inspect.signature(TorchTask).parameters)) == "model"


def refuse() -> nn.Module:
    raise RuntimeError("no weights\nhere")


def wrong_shape(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


def steps(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
    loss = functional.cross_entropy(model(batch[0]), batch[1])
    loss.backward()  # type: ignore[no-untyped-call]
    return loss


class Explodes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> Tensor:
        return torch.log(self.w - 1) * x.expand(-1, 4)


draws = np.random.default_rng(0)


def drawn_elsewhere() -> nn.Module:
    net = nn.Linear(1, 4)
    nn.init.constant_(net.bias, draws.random())
    return net


HERE = r"test_(task|batch)\.py:\d+"


@pytest.mark.filterwarnings("ignore:train has no length")  # said where a machine is busy
@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"train": Breaks()}, rf"^.*{HERE}: OSError: image_7.png is no image \(train\[7\]\)$"),
        ({"train": Endless()}, r"^train has no length and has not ended after 100,001 examples; "),
        ({"train": DataLoader(Unending(), batch_size=4)}, "has no length .* examples_per_epoch="),
        ({"train": itertools.repeat((torch.zeros(2**28), 0))}, "not ended after 3 examples"),
        ({"train": Unopened()}, rf"^.*{HERE}: OSError: no shards in /data \(train\[0\]\)$"),
        ({"test": Twofold()}, rf"^.*{HERE}: IndexError: no row; at all \(test\[0\]\)$"),
        ({"test": Unopened()}, r"no shards in /data \(test\[0\]\)$"),
        ({"train": TensorDataset(X[:0], Y[:0])}, "^train has no examples$"),
        ({"train": (X, Y[:50])}, "^train must have one row per .* got rows: 50, 100$"),
        ({"train": (X, Y[:50], Y[:9])}, "rows: 9, 50, 100; pad what has other sizes in each"),
        ({"train": ("text", Y)}, "^train has texts such as 'text'; give numbers in their place"),
        ({"train": (X[:2], Y[:2])}, "^test=0.2 of train leaves 0 of its rows to that part"),
        ({"train": [X, X, Y]}, r"^a loss needs examples that are pairs \(X, y\); give step="),
        ({"model": refuse}, rf"^.*{HERE}: RuntimeError: no weights; here$"),
        ({"model": lambda: nn.LazyLinear(4)}, r"^model\(\) must .* weight waits for a first"),
        ({"model": lambda: 3}, r"^model\(\) must return an nn.Module, got int$"),
        ({"model": drawn_elsewhere}, r"^model\(\) drew bias otherwise under the same torch"),
        ({"model": lambda: nn.Linear(1, 4).half()}, "must all be .* got torch.float16; autocast="),
        ({"model": nn.Identity}, "^model has nothing to train: none of its par"),
        ({"model": lambda: nn.Linear(2, 4)}, rf"^.*{HERE}: RuntimeError: mat1 and mat2 shapes"),
        ({"model": partial(nn.Linear, 2, 4)}, "^model: RuntimeError: mat1 and mat2 shapes"),
        (
            {"train": (X, X)},
            (
                r"^loss: RuntimeError: 0D or 1D target tensor.*; the loss is called as loss\("
                r"outputs, targets\), here with float32 \[8, 4\] and float32 \[8, 1\]$"
            ),
        ),
        ({"train": (X, Y * 0.5)}, r"\[8\]; where targets are classes, .*: targets.long\(\)$"),
        ({"train": (X, Y + 2)}, r"number the classes from 0 to 3: here they go from 2 to 5$"),
        ({"loss": wrong_shape}, r"^loss\(.* must return one number, .* got shape \(8,\)$"),
        ({"loss": None, "step": steps}, r"^step\(model, batch\) must return the loss alone; "),
        ({"loss": zero}, r"^loss\(.* must return one number, .* got float; return the tensor,"),
        ({"loss": lambda out, _: {"loss": out.sum()}}, "got dict; return .* its entry 'loss'$"),
        ({"model": lambda: nn.LSTM(1, 4)}, r"lambda outputs, targets: f\(outputs\[0\], targets\)$"),
        ({"train": TensorDataset(X.double(), Y)}, r"give numbers of one type: \.float\(\), as w"),
        ({"loss": lambda out, _: out.detach().sum()}, "does not depend on any parameter"),
        ({"model": Explodes}, "^the loss of the untrained model is nan on the first"),
    ],
)  # fmt: skip
def test_a_bad_task_is_told_in_one_sentence_with_the_place(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message) as told:
        make(numbered(**given))
    assert "\n" not in str(told.value)


def test_what_breaks_on_the_way_has_its_place() -> None:
    class Late(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(1, 4)

        def forward(self, x: Tensor) -> Tensor:
            if len(x) == 7:  # the last minibatch
                raise ValueError("seven is too few")
            scores: Tensor = self.out(x)
            return scores

    with pytest.raises(TaskError, match=rf"^.*{HERE}: ValueError: seven is too few$"):
        in_lanes(numbered(model=Late), "sgd", [{}] * 2, epochs=1, batch_size=53)


def test_the_part_whose_labels_are_wrong_is_named() -> None:
    wrong = (X, torch.full((100,), 4))
    with pytest.raises(TaskError, match=r"^validation: .*4 is out of bounds"):
        in_lanes(numbered(validation=wrong), "sgd", [{}] * 2, epochs=1)
