"""torch's own records of its optimizers, run against ours: every configuration, every error."""

import warnings
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.testing._internal.common_optimizers import OptimizerErrorEnum, optim_db

from optim_pairs import (
    PRECISIONS,
    Configuration,
    assert_same,
    follow,
    new_parameters,
    scalars_in,
    without_bfloat16,
)
from thalweg import optim
from thalweg.optim.optimizer import CompiledOptimizer

RECORDS = [
    record
    for record in optim_db
    if issubclass(getattr(optim, record.optim_cls.__name__, object), CompiledOptimizer)
]
ELSEWHERE = pytest.mark.skip(reason="torch lists it for accelerators: capturable, or lr as tensor")


def configurations() -> Iterator[Any]:
    """Every configuration with its own decay and, if it has none, with one; float32 by defaults."""
    for record in RECORDS:
        name = record.optim_cls.__name__
        here = {given.desc for given in record.optim_inputs_func("cpu")}
        for device in ("cpu", "cuda", "mps"):
            for given in record.optim_inputs_func(device):
                if device != "cpu" and given.desc in here:
                    continue
                marks = () if device == "cpu" else ELSEWHERE
                made = Configuration(name, given.kwargs)
                for dtype, tolerance in PRECISIONS[: 2 if given.desc == "default" else 1]:
                    words = f"{name}: {given.desc}, {dtype}"
                    yield pytest.param(made, dtype, tolerance, id=words, marks=marks)
                if name != "Rprop" and not given.kwargs.get("weight_decay"):
                    decayed = Configuration(name, {**given.kwargs, "weight_decay": 0.1})
                    words = f"{name}: {given.desc}, decayed"
                    yield pytest.param(decayed, *PRECISIONS[0], id=words, marks=marks)


def errors() -> Iterator[Any]:
    for record in RECORDS:
        for given in record.optim_error_inputs_func("cpu", torch.float64):
            name = record.optim_cls.__name__
            yield pytest.param(name, given, id=f"{name}: {given.optimizer_error_input.desc}")


def test_torch_has_a_record_of_each_class_that_we_share() -> None:
    torchs = {n for n in optim.__all__ if getattr(optim, n) is getattr(torch.optim, n, None)}
    assert torchs == {"LBFGS", "Optimizer", "SparseAdam", "lr_scheduler", "swa_utils"}
    shared = {n for n in optim.__all__ if hasattr(torch.optim, n)} - torchs
    assert {record.optim_cls.__name__ for record in RECORDS} == shared


@pytest.mark.parametrize(("configuration", "dtype", "tolerance"), list(configurations()))
def test_every_configuration_equals_torch(
    configuration: Configuration, dtype: torch.dtype, tolerance: float
) -> None:
    with scalars_in(dtype), without_bfloat16():
        ours = configuration.ours(new_parameters(dtype, shapes=configuration.shapes))
        theirs = configuration.theirs(new_parameters(dtype, shapes=configuration.shapes))
        follow(ours, 1, 25)
        follow(theirs, 1, 25)
    if torch.is_tensor(configuration.options.get("lr")):
        tolerance = 2e-5  # torch multiplies by it in its own format, float32
    assert_same(ours, theirs, tolerance)


@pytest.mark.parametrize(("name", "given"), list(errors()))
def test_every_refusal_is_torchs(name: str, given: Any) -> None:
    """Ours raises what torch's class raises, word for word, when it is made or in a step."""
    said = [refusal(getattr(module, name), given) for module in (torch.optim, optim)]
    assert said[0] == said[1]


def refusal(cls: Any, given: Any) -> str:
    params = given.optimizer_error_input.params
    if params is None:
        params = [torch.zeros(1, requires_grad=True)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused = pytest.raises(given.error_type, match=given.error_regex)
        if given.error_on is OptimizerErrorEnum.CONSTRUCTION_ERROR:
            with refused as caught:
                cls(params, **given.optimizer_error_input.kwargs)
        else:
            made = cls(params, **given.optimizer_error_input.kwargs)
            with refused as caught:
                made.step()
    return str(caught.value)
