"""Parts are drawn by shares, or given."""

import itertools

import pytest
import torch
from torch import Tensor

from stack.nets import X, Y, numbered, rows
from thalweg.stack import Examples


def test_shares_are_drawn_once_each_and_stratified() -> None:
    parts = Examples.of(numbered(validation=0.2, test=0.4)).draw(0)
    assert parts.sizes == {"train": 40, "validation": 20, "test": 40}
    drawn = [rows(part) for part in (parts.train, parts.validation, parts.test)]
    assert sorted(itertools.chain(*drawn)) == list(range(100))
    for part in (parts.train, parts.validation, parts.test):
        assert torch.equal(part[1], part[0].flatten().long() % 4)  # X and y still go together
        assert torch.bincount(part[1]).unique().numel() == 1
    assert drawn[2] == rows(Examples.of(numbered(validation=0.5, test=0.4)).draw(0).test)
    assert drawn[2] != rows(Examples.of(numbered(validation=0.2, test=0.4)).draw(1).test)


def test_parts_that_are_given_are_taken_whole() -> None:
    given = (X[:3] + 1000, Y[:3])
    parts = Examples.of(numbered(validation=given)).draw(0)
    assert rows(parts.validation) == [1000, 1001, 1002]
    assert parts.sizes == {"train": 80, "validation": 3, "test": 20}
    both = Examples.of(numbered(validation=given, test=given)).draw(0)
    assert rows(both.train) == list(range(100))  # in their own order


@pytest.mark.parametrize("y", [torch.arange(100), X, torch.zeros(100, 3, dtype=torch.int64)])
def test_targets_without_classes_to_stratify_by_are_split_all_the_same(y: Tensor) -> None:
    assert Examples.of(numbered(train=(X, y))).draw(0).sizes["train"] == 60
