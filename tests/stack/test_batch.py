"""How data become one batch, whatever they come as."""

import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
)

from stack.nets import X, Y, numbered, rows
from thalweg.errors import TaskError
from thalweg.stack import Examples
from thalweg.stack.batch import read


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
        given = Examples.of(numbered(train=source, validation=source, test=source)).draw(0)
        for found, right in zip(given.train, expected, strict=True):
            assert found.dtype == right.dtype  # an array of doubles becomes float32
            assert torch.equal(found, right)
    named = DataLoader(Squares(), collate_fn=collate)
    parts = Examples.of(numbered(train=named, validation=named, test=named)).draw(0)
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


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ([{"x": [1.0], "name": "a"}, {"x": [2.0], "name": "b"}], "train has texts such as 'a'; "),
        (
            {"x": X, "name": ["a"] * len(X)},
            "train has texts such as 'a'; give numbers in their place",
        ),
        ([(torch.zeros(1), 0), (torch.zeros(2), 1)], r"one batch; a DataLoader's collate_fn can "),
        ({"x": object()}, "train must be tensors or arrays of numbers, .* got object"),
    ],
)
def test_what_is_no_batch_is_refused_with_the_remedy(source: Any, message: str) -> None:
    with pytest.raises(TaskError, match=message):
        read(source, "train")


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("layout", [torch.strided, torch.jagged])
def test_nested_tensors_are_refused_with_the_remedy(layout: torch.layout) -> None:
    nested = torch.nested.nested_tensor([torch.ones(1), torch.ones(2)], layout=layout)
    with pytest.raises(TaskError, match=r"nested ones: give torch\.nested") as told:
        read((nested, Y[:2]), "train")
    remedy = str(told.value).partition(" give ")[2]
    padded = eval(remedy, {"torch": torch, "tensor": nested})  # noqa: S307 - ours, word for word
    assert torch.equal(read((padded, Y[:2]), "train")[0], torch.tensor([[1.0, 0.0], [1.0, 1.0]]))


def test_numbers_that_are_objects_are_numbers() -> None:
    found = read({"x": X, "y": np.array([0, 1] * 50, dtype=object)}, "train")
    assert torch.equal(found["y"], torch.tensor([0, 1] * 50))


def test_an_array_that_must_not_be_written_is_copied() -> None:
    frozen = np.arange(3.0)
    frozen.flags.writeable = False
    read(frozen, "train")[0] = 7.0  # torch would warn, and write into it
    assert frozen[0] == 0


class Endless(Dataset[tuple[Tensor, int]]):
    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return torch.zeros(1), index


class Unending(IterableDataset[tuple[Tensor, int]]):
    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return ((torch.tensor([float(i)]), i * i) for i in itertools.count())


@pytest.mark.parametrize("given", [Unending, lambda: DataLoader(Unending()), Endless])
def test_of_data_without_an_end_an_epoch_is_read(given: Callable[[], Any]) -> None:
    examples = Examples.of(numbered(train=given(), examples_per_epoch=30, test=given()))
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
        numbered(examples_per_epoch=most)


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


@pytest.mark.parametrize("kind", ["int8", "int32", "uint16", "uint32", "int64"])
def test_integers_of_arrays_are_those_that_losses_take(kind: str) -> None:
    _, targets = read((np.ones((3, 2)), np.array([0, 2, 1], dtype=kind)), "train")
    assert targets.dtype == torch.int64
    assert targets.tolist() == [0, 2, 1]
    pictures, _ = read((np.ones((3, 2), dtype=np.uint8), np.zeros(3)), "train")
    assert pictures.dtype == torch.uint8
