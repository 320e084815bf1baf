"""Gradients of a stack at other points, against those of the module there."""

import pytest
import torch

from stack.nets import classes, in_lanes, make
from thalweg.stack.elsewhere import Elsewhere
from thalweg.stack.lanes import Stack

pytestmark = pytest.mark.usefixtures("one_thread")


def test_gradients_elsewhere_are_the_modules_there_and_nothing_moves() -> None:
    model, parts = make(classes("mlp"))
    stack = Stack(model, [1, 2, 3], shared=False, stacked=True)
    x, y = (part[:9] for part in parts.train)
    batch = x.expand(3, *x.shape), y.expand(3, *y.shape)
    before = {name: p.detach().clone() for name, p in stack.parameters.items()}
    points = [p.detach()[1:] + 0.5 for p in stack.parameters.values()]
    with model.mode(training=True):
        found = Elsewhere(stack, batch, 1, compiled=False).gradients(slice(1, 3), points)
    for name, p in stack.parameters.items():
        assert torch.equal(p, before[name])
    for lane in range(2):
        module = classes("mlp").model()
        own = [point[lane] for point in points]
        for p, value in zip(module.parameters(), own, strict=True):
            p.data = value
        torch.nn.functional.cross_entropy(module(x), y).backward()
        for p, g in zip(module.parameters(), found, strict=True):
            torch.testing.assert_close(g[lane], p.grad, rtol=1e-12, atol=1e-15)


def test_a_pass_uphill_leaves_running_statistics_as_they_are() -> None:
    """They have met as many minibatches as there were steps: half of momentum's."""
    counts = []
    for rule in ("sam(momentum)", "momentum"):
        (final,) = in_lanes(classes("batch norm"), rule, [{}] * 2, epochs=2).finals
        counts.append(final.stack.state["module.1.num_batches_tracked"].tolist())
    assert counts == [[4, 4], [8, 8]]
