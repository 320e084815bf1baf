"""Running statistics where lanes are judged, against torch's update_bn."""

import pytest
import torch
from torch.optim.swa_utils import update_bn

from stack.nets import classes, in_lanes, make
from thalweg.stack import renew

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize("stacked", [True, False])
def test_a_lane_is_judged_with_the_statistics_of_its_answer(
    monkeypatch: pytest.MonkeyPatch, *, stacked: bool
) -> None:
    monkeypatch.setattr(renew, "_ROWS", 9)
    task = classes("batch norm")
    rules = ["schedule_free_sgd", "sgd"]
    training = in_lanes(task, rules, [{"lr": 0.1}] * 2, epochs=3, stacked=stacked)
    _, parts = make(task)
    x = parts.train[0]
    rows = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))
    batches = [x[piece] for piece in rows.split(9)[: len(x) // 9]]
    for lane, rule in enumerate(rules):
        final = next(one for one in training.finals if lane in one.lanes)
        at = final.lanes.index(lane)
        kept = {name: tensor.clone() for name, tensor in final.stack.state.items()}
        with final.judged() as stack:
            state = stack.model.state_dict(*stack.lane(at))
        module = task.model()
        module.load_state_dict(state)
        if rule != "sgd":
            update_bn(batches, module)
        expected = dict(module.named_buffers())
        for name in ("1.running_mean", "1.running_var"):
            torch.testing.assert_close(state[name], expected[name], rtol=1e-9, atol=1e-12)
            before = kept[f"module.{name}"][at]
            assert torch.equal(before, final.stack.state[f"module.{name}"][at])
            assert torch.equal(before, state[name]) == (rule == "sgd")
        modules = [m for m in final.stack.objective.modules() if hasattr(m, "momentum")]
        assert [m.momentum for m in modules] == [0.1]
