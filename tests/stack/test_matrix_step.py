"""Matrices of all lanes in one call, against trainings one by one."""

from typing import Any

import pytest
import torch
from torch import Tensor

from thalweg import schedules
from thalweg.matrices import orthogonalize
from thalweg.rule import Rule, read_signature
from thalweg.rules import get, names
from thalweg.stack.matrix_step import MatrixStep, mapped
from thalweg.stack.mixed_step import MixedStep
from thalweg.stack.step import WholeStep
from thalweg.sums import norm

SHAPES = ((4, 5), (6,), (3, 2, 2, 2), (2, 4), (3, 8), (3, 3), (6, 3))
BLOCKS = (2, 0, 1, 1, 1, 1, 2)
SQUARE = (1, *BLOCKS[1:])  # no wide blocks: SOAP's eigenvectors of a null space are arbitrary
FALLING = schedules.exponential(0.02, 0.1)


def values(rule: Rule) -> list[dict[str, Any]]:
    """Return hyperparameters of three lanes, some of which differ."""
    columns = {"lr": (0.1, FALLING, 0.3), "beta": (0.9, 0.8, 0.95), "beta1": (0.9, 0.8, 0.95)}
    known = {n: column for n, column in columns.items() if n in rule.hyperparameters}
    return [rule.defaults | {n: c[lane] for n, c in known.items()} for lane in range(3)]


def drawn(seed: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(3, *s, dtype=torch.float64, generator=generator) for s in SHAPES]


def trained(made: Any, parameters: list[Tensor], lanes: list[int]) -> Any:
    """Take three steps of some lanes, then three of the last two."""
    for t in range(1, 4):
        made([g[lanes] for g in drawn(t)], torch.tensor([1.0, 0.5, 2.0])[lanes])
    kept = [place for place, lane in enumerate(lanes) if lane]
    parameters[:] = [p[kept] for p in parameters]
    made.select(kept, parameters)
    for t in range(4, 7):
        made([g[1:][: len(kept)] if len(lanes) > 1 else g[lanes] for g in drawn(t)], None)
    return made


def whole_norm(g: Tensor, x: Tensor, m: Tensor, *, t: int, lr: float = 1e-2) -> Any:
    m = m + orthogonalize(g)
    return x - lr * m * norm(m), m


@pytest.mark.parametrize("name", [*names("matrices"), "cautious(muon)", "whole_norm"])
def test_lanes_step_as_alone(name: str) -> None:
    own = read_signature(whole_norm, "none", {}, {})  # its norm is that of each of two blocks
    rule = own if name == "whole_norm" else get(name)
    blocks = SQUARE if name == "soap" else BLOCKS
    together = drawn(0)
    made = MixedStep([rule] * 3, values(rule), together, 6, blocks)
    assert isinstance(made._steps[0][1], MatrixStep)
    trained(made, together, [0, 1, 2])
    for place, lane in enumerate((1, 2)):
        alone = [p[lane : lane + 1] for p in drawn(0)]
        one = WholeStep(rule, values(rule)[lane : lane + 1], alone, 6, blocks)
        trained(one, alone, [lane])
        for many, single, start in zip(together, alone, drawn(0), strict=True):
            apart = (many[place] - single[0]).abs().max()
            assert apart < 1e-13 * (single[0] - start[lane]).abs().max()
        for mine, own in zip(made.states(place), one.states(0), strict=True):
            assert mine.keys() == own.keys()
            for key, value in own.items():
                torch.testing.assert_close(mine[key], value, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", names("matrices"))
def test_a_lane_that_is_lost_changes_no_bit_of_others(name: str) -> None:
    rule = get(name)
    ends = []
    for lost in (0.0, float("nan"), float("inf")):
        parameters = drawn(0)
        made = MixedStep([rule] * 3, values(rule), parameters, 3, BLOCKS)
        for t in range(1, 4):
            gradients = drawn(t)
            for g in gradients:
                g[1] += lost
            made(gradients, None)
        ends.append([p[[0, 2]] for p in parameters])
        assert all(p[1].isfinite().all() for p in parameters) == (lost == 0.0)
    for other in ends[1:]:
        for p, like in zip(other, ends[0], strict=True):
            assert torch.equal(p, like)


def asking_values(g: Tensor, x: Tensor, m: Tensor, *, t: int, lr: float = 1e-3) -> Any:
    m = m + g @ g.swapaxes(-1, -2)
    return x - (lr if float(m.sum()) > 0 else 0.0) * g, m


def test_what_cannot_be_mapped_is_stepped_lane_by_lane() -> None:
    soap, asking = get("soap"), read_signature(asking_values, "none", {}, {})
    parameters = drawn(0)
    assert mapped(soap, values(soap), parameters)
    assert not mapped(soap, [soap.defaults | {"every": e} for e in (5.0, 10.0, 5.0)], parameters)
    assert not mapped(asking, [asking.defaults] * 3, parameters)
    assert not mapped(soap, values(soap)[:1], parameters)  # a lane alone
    assert not mapped(soap, values(soap), [p.bfloat16() for p in parameters])
    assert not mapped(get("adafactor"), [get("adafactor").defaults] * 3, parameters)
