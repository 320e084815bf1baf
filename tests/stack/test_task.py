"""TorchTask, its data and what is said of a task that does not do."""

import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from stack.nets import Attention, classes, in_lanes, make
from thalweg.errors import TaskError
from thalweg.stack import Examples, Model, TorchTask
from thalweg.stack.batch import leaves, read

X = torch.arange(100.0)[:, None]
Y = torch.arange(100) % 4


def zero(_: Tensor, __: Tensor) -> float:
    return 0.0


def task(**given: Any) -> TorchTask:
    settings = {
        "model": lambda: nn.Linear(1, 4), "loss": functional.cross_entropy, "train": (X, Y)
    }  # fmt: skip
    return TorchTask(**{**settings, **given})


def rows(batch: Any) -> list[int]:
    return [int(value) for value in batch[0].flatten()]


def test_shares_are_drawn_once_each_and_stratified() -> None:
    parts = Examples.of(task(validation=0.2, test=0.4)).draw(0)
    assert parts.sizes == {"train": 40, "validation": 20, "test": 40}
    drawn = [rows(part) for part in (parts.train, parts.validation, parts.test)]
    assert sorted(itertools.chain(*drawn)) == list(range(100))
    for part in (parts.train, parts.validation, parts.test):
        assert torch.equal(part[1], part[0].flatten().long() % 4)  # X and y still go together
        assert torch.bincount(part[1]).unique().numel() == 1
    assert drawn[2] == rows(Examples.of(task(validation=0.5, test=0.4)).draw(0).test)
    assert drawn[2] != rows(Examples.of(task(validation=0.2, test=0.4)).draw(1).test)


def test_parts_that_are_given_are_taken_whole() -> None:
    given = (X[:3] + 1000, Y[:3])
    parts = Examples.of(task(validation=given)).draw(0)
    assert rows(parts.validation) == [1000, 1001, 1002]
    assert parts.sizes == {"train": 80, "validation": 3, "test": 20}
    both = Examples.of(task(validation=given, test=given)).draw(0)
    assert rows(both.train) == list(range(100))  # in their own order


@pytest.mark.parametrize("y", [torch.arange(100), X, torch.zeros(100, 3, dtype=torch.int64)])
def test_targets_without_classes_to_stratify_by_are_split_all_the_same(y: Tensor) -> None:
    assert Examples.of(task(train=(X, y))).draw(0).sizes["train"] == 60


class Squares(Dataset[tuple[Tensor, int]]):
    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.tensor([float(index)]), index * index


class Stream(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        squares = Squares()
        return (squares[i] for i in range(10))


def collate(examples: list[tuple[Tensor, int]]) -> dict[str, Tensor]:
    x, y = zip(*examples, strict=True)
    return {"x": torch.stack(x), "y": torch.tensor(y)}


def test_data_come_as_arrays_datasets_or_loaders() -> None:
    expected = (torch.arange(10.0)[:, None], torch.arange(10) ** 2)
    sources: list[Any] = [
        Squares(), Stream(), TensorDataset(*expected), DataLoader(Squares(), batch_size=3),
        [np.arange(10.0)[:, None], np.arange(10) ** 2],
    ]  # fmt: skip
    for source in sources:
        given = Examples.of(task(train=source, validation=source, test=source)).draw(0)
        for found, right in zip(given.train, expected, strict=True):
            assert found.dtype == right.dtype  # an array of doubles becomes float32
            assert torch.equal(found, right)
    named = DataLoader(Squares(), collate_fn=collate)
    parts = Examples.of(task(train=named, validation=named, test=named)).draw(0)
    assert torch.equal(parts.train["y"], expected[1])


class Duck:
    """Has the methods of a dataset, but not torch's base: as Hugging Face has it."""

    def __len__(self) -> int:
        return 10

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"x": torch.tensor([float(index)]), "y": index * index}


class Unmeasured:
    """Has no length either: Python's own iteration ends it."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        if index >= 10:
            raise IndexError
        return Duck()[index]


def test_examples_come_in_any_sequence_as_a_dataloader_takes_them() -> None:
    squares = [Squares()[i] for i in range(10)]
    named = [Duck()[i] for i in range(10)]
    pairs: list[Any] = [
        squares, tuple(squares), iter(squares), [list(pair) for pair in squares],
        [(np.array([float(i)], np.float32), i * i) for i in range(10)],
        DataLoader(squares), ([[float(i)] for i in range(10)], [i * i for i in range(10)]),
    ]  # fmt: skip
    for source in pairs:
        expected = next(iter(DataLoader(squares, batch_size=10)))
        for found, right in zip(read(source, "train"), expected, strict=True):
            assert found.dtype == right.dtype
            assert torch.equal(found, right)
    for source in (named, tuple(named), Duck(), Unmeasured(), DataLoader(Duck())):  # type: ignore[arg-type]
        found = read(source, "train")
        assert list(found) == ["x", "y"]
        assert torch.equal(found["y"], torch.arange(10) ** 2)
    images = list(torch.arange(30.0).reshape(10, 3))
    assert torch.equal(read(images, "train"), torch.stack(images))
    columns = read([X, X.double(), Y], "train")  # of several shapes
    assert [tuple(column.shape) for column in columns] == [(100, 1), (100, 1), (100,)]


class Endless(Dataset[tuple[Tensor, int]]):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1), index


class Unending(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return ((torch.tensor([float(i)]), i * i) for i in itertools.count())


@pytest.mark.parametrize("given", [Unending, lambda: DataLoader(Unending()), Endless])
def test_of_data_without_an_end_an_epoch_is_read(given: Callable[[], Any]) -> None:
    examples = Examples.of(task(train=given(), examples_per_epoch=30, test=given()))
    parts = examples.draw(0)
    assert parts.sizes == {"train": 24, "validation": 6, "test": 30}
    assert len(read(Stream(), "train", 4)[0]) == 4
    assert len(read(Stream(), "train", 40)[0]) == 10
    assert len(read(Squares(), "train", 4)[0]) == 10  # its own length counts


def test_that_no_end_is_in_sight_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("thalweg.stack.batch._PATIENCE", -1.0)
    with pytest.warns(
        UserWarning, match="after 1 examples; if it never .* examples_per_epoch"
    ) as w:
        assert len(read(Stream(), "train")[0]) == 10
    assert len(w) == 1


@pytest.mark.parametrize("most", [0, True, 2.0, "many"])
def test_an_epoch_has_a_whole_number_of_examples(most: Any) -> None:
    with pytest.raises(ValueError, match=r"^examples_per_epoch must be an integer >= 1, got"):
        task(examples_per_epoch=most)


class Named(NamedTuple):
    x: Tensor
    y: Tensor


class Several(Dataset[Named]):
    """Gives its examples several at a time, as torch prefers."""

    def __len__(self) -> int:
        return 10

    def __getitems__(self, indices: list[int]) -> list[Named]:
        return [Named(torch.tensor([float(i)]), torch.tensor(i * i)) for i in indices]


class Batches(IterableDataset[tuple[Tensor, Tensor]]):
    """Makes batches itself, the last of them smaller."""

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        examples = torch.arange(10)
        return ((own[:, None].float(), own**2) for own in examples.split(4))


def test_what_a_loader_draws_and_how_its_dataset_gives_it_is_kept() -> None:
    before = torch.get_rng_state()
    for order in (SubsetRandomSampler([7, 2, 5]), [7, 2, 5]):
        loader = DataLoader(Squares(), batch_size=2, sampler=order)
        assert rows(read(loader, "train")) == [2, 5, 7]
    for loader in (
        DataLoader(Squares(), batch_size=3, shuffle=True),
        DataLoader(Squares(), batch_size=3, sampler=RandomSampler(Squares(), num_samples=4)),
    ):
        assert rows(read(loader, "train")) == list(range(10))
    assert torch.equal(torch.get_rng_state(), before)
    whole = read(DataLoader(Batches(), batch_size=None), "train")
    assert (rows(whole), whole[1].tolist()) == (list(range(10)), [i * i for i in range(10)])
    named = read(Several(), "train")
    assert (type(named), rows(named)) == (Named, list(range(10)))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"sampler": WeightedRandomSampler([1.0] * 10, 40)},
         "^train is a DataLoader whose WeightedRandomSampler draws examples more than once"),
        ({"batch_sampler": [[0, 1], [2, 3]]}, "^train is a DataLoader with a list, but batches"),
    ],
)  # fmt: skip
def test_what_a_race_cannot_draw_as_a_loader_does_is_refused(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message):
        read(DataLoader(Squares(), **given), "train")


def test_a_users_own_step_takes_whatever_a_batch_is() -> None:
    def step(model: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        return (model(batch["x"]) - batch["y"]).square().mean()

    x = torch.linspace(-1, 1, 40)[:, None]
    own = task(
        model=lambda: nn.Linear(1, 1), loss=None, step=step, train={"x": x, "y": 3 * x + 1}
    )  # fmt: skip
    training = in_lanes(own, "sgd", [{"lr": 0.3}, {"lr": 0.03}], epochs=40, batch_size=8)
    weights = training.finals[0].stack.lane(0)[0]
    assert [w.item() for w in weights.values()] == pytest.approx([3.0, 1.0], abs=1e-4)


def test_several_inputs_are_handed_over_one_by_one() -> None:
    two = task(model=lambda: nn.Bilinear(1, 1, 4), train=((X / 100, X / 100), Y))
    training = in_lanes(two, "sgd", [{}] * 2, epochs=1)
    assert np.isfinite(training.train_loss).all()


@pytest.mark.parametrize(
    ("error", "given", "message"),
    [
        (TypeError, {"model": nn.Linear(1, 4)}, "got Linear; write model=lambda: Net()"),
        (TypeError, {"loss": None}, "give either loss(outputs, targets) or step(model, batch)"),
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
        task(**given)


class Breaks(Squares):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        if index == 7:
            raise OSError("image_7.png is no image")
        return super().__getitem__(index)


class Unopened(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        raise OSError("no shards in /data")


class Twofold(Squares):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        raise IndexError("no row\n  at all")


def refuse() -> nn.Module:
    raise RuntimeError("no weights\nhere")


def wrong_shape(outputs: Tensor, targets: Tensor) -> Tensor:
    return functional.cross_entropy(outputs, targets, reduction="none")


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


HERE = r"test_task\.py:\d+"


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
        ({"train": ("text", Y)}, "^train must be tensors or arrays of numbers, .* got str$"),
        ({"train": (X[:2], Y[:2])}, "^test=0.2 of train leaves 0 of its rows to that part"),
        ({"train": [X, X, Y]}, r"^a loss needs examples that are pairs \(X, y\); give step="),
        ({"model": refuse}, rf"^.*{HERE}: RuntimeError: no weights; here$"),
        ({"model": lambda: nn.LazyLinear(4)}, r"^model\(\) must .* weight waits for a first"),
        ({"model": lambda: 3}, r"^model\(\) must return an nn.Module, got int$"),
        ({"model": drawn_elsewhere}, r"^model\(\) drew bias otherwise under the same torch"),
        ({"model": lambda: nn.Linear(1, 4).half()}, "must all be .* got torch.float16; autocast="),
        ({"model": nn.Identity}, "^model's trained parameters must .* got none at all;"),
        ({"model": lambda: nn.Linear(2, 4)}, "^loss: RuntimeError: mat1 and mat2 shapes"),
        ({"loss": wrong_shape}, r"^loss\(.* must return one number, .* got shape \(8,\)$"),
        ({"loss": zero}, r"^loss\(.* must return one number, .* got float$"),
        ({"loss": lambda out, _: out.detach().sum()}, "does not depend on any parameter"),
        ({"model": Explodes}, "^the loss of the untrained model is nan on the first"),
    ],
)  # fmt: skip
def test_a_bad_task_is_told_in_one_sentence_with_the_place(
    given: dict[str, Any], message: str
) -> None:
    with pytest.raises(TaskError, match=message) as told:
        make(task(**given))
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
        in_lanes(task(model=Late), "sgd", [{}] * 2, epochs=1, batch_size=53)


def test_the_part_whose_labels_are_wrong_is_named() -> None:
    wrong = (X, torch.full((100,), 4))
    with pytest.raises(TaskError, match=r"^validation: .*4 is out of bounds"):
        in_lanes(task(validation=wrong), "sgd", [{}] * 2, epochs=1)


@pytest.mark.parametrize("call", [lambda: Attention(0.1), lambda: classes("lenet").model().float()])
def test_these_are_stacked(call: Callable[[], nn.Module]) -> None:
    name = "transformer" if isinstance(call(), Attention) else "lenet"
    model, _ = make(classes(name, torch.float32, model=call))
    assert model.stacked, model.traits.why


def test_a_mode_is_without_subnormal_numbers_and_fused_attention_and_ends() -> None:
    def settings() -> tuple[bool, bool]:
        tiny = torch.tensor([1e-40]) * torch.ones(1)
        return bool(tiny), torch.backends.mha.get_fastpath_enabled()

    model, _ = make(classes("mlp"))
    for training in (True, False):
        with model.mode(training=training):
            assert settings() == (False, False)
        assert settings() == (True, True)


def test_one_start_is_kept_however_many_seeds_are_trained() -> None:
    training = in_lanes(classes("mlp"), "sgd", [{}] * 6, epochs=1, seeds=[3, 9, 7, 3, 9, 7])
    assert training.finals[0].stack.model.initial.cache_info().currsize == 1


def test_a_recurrent_network_trains_stacked_or_not() -> None:
    class Recurrent(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens = nn.Embedding(12, 4)
            self.memory = nn.LSTM(4, 5, batch_first=True)
            self.out = nn.Linear(5, 3)

        def forward(self, x: Tensor) -> Tensor:
            scores: Tensor = self.out(self.memory(self.tokens(x))[0][:, -1])
            return scores

    own = classes("transformer", torch.float32, model=Recurrent)
    model, _ = make(own)
    training = in_lanes(own, "adam", [{"lr": 0.01}] * 2, epochs=3, stacked=model.stacked)
    assert (training.train_loss[-1] < training.train_loss[0]).all()


def test_a_model_leaves_its_callers_random_numbers_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    own = classes("transformer", torch.float32, model=lambda: Attention(0.5))
    Model(own, Examples.of(own).draw(0).train)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(tensor.grad_fn is None for tensor in leaves(own.train))
