"""A PyTorch module as the task of a race."""

import io
import sqlite3
from collections.abc import Hashable
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from stack.nets import SEED, classes, minibatches
from tasks.conftest import line, run, trial
from thalweg import optim, race
from thalweg.racing.protocol import Rules
from thalweg.racing.trial import FINAL, RERUN, Trial
from thalweg.rules import get, names
from thalweg.stack import TorchTask
from thalweg.stack.measure import Cost, cost
from thalweg.tasks.modules import ModuleTask

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_results_say_of_it(task: ModuleTask) -> None:
    assert task.parts == {"train": 36, "validation": 12, "test": 12}
    assert task.data == {
        "name": "model", "source": "TorchTask", "kind": "classification", "rows": 60
    }  # fmt: skip
    assert task.facts["model"] == "Sequential, 83 parameters"
    assert task.facts["loss"] == "cross_entropy"
    assert task.facts["metric"] == "accuracy"
    assert task.facts["dtype"] == "float64"
    assert task.facts["stacked"] == "many trainings in one pass"


def test_trials_share_minibatches_and_the_others_are_stacked_over_seeds(task: ModuleTask) -> None:
    one, other = trial(seed=1), trial(seed=2)
    alike = replace(trial("lion", seed=1, hyper={"lr": 9.0}), round="round 2", schedule="cosine")

    def kind(of: Trial) -> Hashable:
        return task.together(of.lane(Rules()))

    assert kind(one) == kind(alike)
    for label, same in (("round 1", False), (RERUN, True), (FINAL, True)):
        pair = replace(one, round=label), replace(other, round=label)
        assert (kind(pair[0]) == kind(pair[1])) is same
    for change in ({"batch_size": 4}, {"epochs": 9}):
        assert kind(one) != kind(replace(one, **change))


def test_a_repeat_draws_other_parts_for_the_same_model(task: ModuleTask) -> None:
    again = task.repeated(1)
    assert task.drawn
    assert task.repeated(0) is task
    assert again.model is task.model
    assert again.parts == task.parts
    for name in ("train", "validation", "test"):
        own, other = (getattr(each._parts, name)[0] for each in (task, again))
        assert not torch.equal(own, other)
    there = cloudpickle.loads(cloudpickle.dumps(task)).repeated(1)
    assert torch.equal(there._parts.test[0], again._parts.test[0])
    losses = [run(each, [trial()]) for each in (task, again)]
    assert losses[0].train_loss[0] != losses[1].train_loss[0]


def test_a_part_that_is_given_is_the_same_in_all_repeats() -> None:
    given = (torch.randn(20, 6, dtype=torch.float64), torch.arange(20) % 3)
    task = ModuleTask(replace(classes("mlp"), test=given), 0)
    assert not task.drawn
    assert task.repeated(1)._parts.test[0] is task._parts.test[0]
    assert not torch.equal(task.repeated(1)._parts.train[0], task._parts.train[0])


def test_repeats_share_out_the_rows_of_a_test_part_that_is_given() -> None:
    given = (torch.arange(22.0, dtype=torch.float64)[:, None].repeat(1, 6), torch.arange(22) % 3)
    task = ModuleTask(replace(classes("mlp"), test=given), 0, repeats=4)
    folds = [task.repeated(k)._judged[0][:, 0] for k in range(4)]
    assert [len(fold) for fold in folds] == [6, 6, 5, 5]
    assert torch.equal(torch.cat(folds).sort().values, torch.arange(22.0, dtype=torch.float64))
    there = cloudpickle.loads(cloudpickle.dumps(task)).repeated(1)
    assert torch.equal(there._judged[0][:, 0], folds[1])
    trained = run(task.repeated(1), [trial()])
    rows = torch.isin(given[0][:, 0], folds[1])
    only = ModuleTask(replace(classes("mlp"), test=tuple(each[rows] for each in given)), 0)
    np.testing.assert_allclose(
        trained.judge(), run(only.repeated(1), [trial()]).judge(), rtol=1e-12
    )
    drawn = ModuleTask(classes("mlp"), 0, repeats=4)
    assert drawn._judged is drawn._placed.test


@pytest.mark.parametrize("rule", names())
def test_training_goes_on_from_a_checkpoint(rule: str, task: ModuleTask) -> None:
    trials = [trial(rule, epochs=epochs, hyper={"lr": 0.01}) for epochs in (2, 3)]
    file = io.BytesIO()
    torch.save(run(task, trials[:1]).checkpoint(0), file)
    file.seek(0)
    kept = torch.load(file, weights_only=True)
    assert (kept["rule"], kept["batch_size"], kept["epochs"]) == (rule, 9, 2)
    module = task.description.model()
    module.load_state_dict(kept["model"])
    otherwise = "adamw" if rule in names("matrices") else None
    optimizer = optim.Descent(module, rule, otherwise=otherwise, report=None, **kept["hyper"])
    optimizer.load_state_dict(kept["optimizer"])
    optimizer.train()
    whole = run(task, trials[1:]).checkpoint(0)
    assert whole
    x, y = task._parts.train
    for rows in minibatches(len(y), 9, SEED, epochs=3)[8 : 8 + task.steps(9, get(rule))]:
        optimizer.zero_grad()
        functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimizer.step()
    # Roots of a nearly singular matrix make more of the last digit of a gradient.
    near = {"rtol": 1e-3, "atol": 1e-5} if rule == "shampoo" else {"rtol": 1e-5, "atol": 1e-7}
    with optimizer.answer():
        for name, value in module.state_dict().items():
            torch.testing.assert_close(value, whole["model"][name], **near)


def test_the_fingerprint_knows_data_start_settings_and_loss() -> None:
    def other(outputs: Tensor, targets: Tensor) -> Tensor:
        return 2 * functional.mse_loss(outputs, targets)

    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    changed = {
        "data": {"train": (x, 3 * x + 1 + 1e-9)}, "loss": {"loss": other}, "l2": {"l2": 1e-3},
        "model": {"model": lambda: nn.Linear(1, 1, bias=False).double()},
        "split": {"validation": 0.3}, "clip": {"clip_norm": 1.0},
    }  # fmt: skip
    first = ModuleTask(line(), 0).fingerprint()
    assert first == ModuleTask(line(), 0).fingerprint()
    others = [ModuleTask(line(**given), 0).fingerprint() for given in changed.values()]
    others.append(ModuleTask(line(), 1).fingerprint())
    assert len({first, *others}) == 8
    kept = {"validation": (x, x), "test": (x, x)}
    both = [ModuleTask(line(train=(x, x + tiny), **kept), 0).fingerprint() for tiny in (0, 1e-9)]
    assert both[0] != both[1]


def test_it_travels_to_another_process(task: ModuleTask) -> None:
    there = cloudpickle.loads(cloudpickle.dumps(task))
    assert there.lanes == 8
    assert there.fingerprint() == task.fingerprint()
    settings = [trial(hyper={"lr": 0.1})]
    np.testing.assert_array_equal(
        run(there, settings).validation_loss, run(task, settings).validation_loss
    )


def test_a_module_is_looked_at_once_and_not_in_every_process(
    task: ModuleTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = cloudpickle.dumps(task)
    monkeypatch.setattr("thalweg.stack.model.probe", None)
    there = cloudpickle.loads(packed)
    assert there.model.traits == task.model.traits
    assert run(there, [trial()]).diverged_at.tolist() == [0]


def test_what_the_data_were_read_from_stays_behind() -> None:
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]

    class Stored(Dataset[Any]):
        def __init__(self) -> None:
            self.file = sqlite3.connect(":memory:")  # cannot be sent

        def __len__(self) -> int:
            return 50

        def __getitem__(self, index: int) -> Any:
            return x[index], 3 * x[index] + 1

    own, plain = (ModuleTask(line(train=train), 0) for train in (Stored(), (x, 3 * x + 1)))
    there = cloudpickle.loads(cloudpickle.dumps(own))
    assert there.fingerprint() == own.fingerprint() == plain.fingerprint()


def test_lanes_are_measured_and_what_cannot_be_stacked_has_one() -> None:
    task = ModuleTask(line(), 0)
    assert task.lanes in {2, 4, 8, 16, 32, 64, 128, 256}

    class Chooser(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) if x.sum() > -99 else x

    one = ModuleTask(line(model=lambda: Chooser(1, 1).double()), 0)
    assert one.lanes == 1
    assert one.facts["stacked"].startswith("one training at a time: ")
    task.lanes = 4
    trials = [trial(hyper={"lr": lr}, batch_size=5) for lr in (0.1, 0.2)]
    np.testing.assert_allclose(
        run(one, trials).validation_loss, run(task, trials).validation_loss, rtol=1e-12
    )


def test_lanes_fit_into_a_quarter_of_the_free_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(*given: Any) -> Cost:
        return Cost(seconds=0.01 / given[3], bytes=1000)  # each doubling halves the seconds

    monkeypatch.setattr("thalweg.stack.measure.cost", measured)
    for lanes in (8, 64, 256):
        monkeypatch.setattr("thalweg.stack.measure._free", lambda _, n=lanes: 4 * 1000.0 * n)
        assert ModuleTask(line(), 0).lanes == lanes


def test_parts_are_evaluated_by_chunks_of_examples() -> None:
    sizes = []

    class Noting(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            sizes.append(len(x))
            return super().forward(x)

    x = torch.linspace(-1, 1, 5000, dtype=torch.float64)[:, None]
    own = ModuleTask(line(model=lambda: Noting(1, 1).double(), train=(x, 3 * x + 1)), 0)
    assert max(sizes) <= 384
    own.lanes = 2
    for _ in range(2):
        run(own, [trial(epochs=1)] * 2).judge()
    assert max(sizes) <= 384
    assert sum(sizes) > 5000


@pytest.mark.usefixtures("short_targets")
def test_lanes_have_room_for_the_largest_batch_of_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def noted(_: Any, examples: Any, batch_size: int) -> int:
        assert len(examples[1]) == 30
        sizes.append(batch_size)
        return 2

    monkeypatch.setattr("thalweg.tasks.modules.best_lanes", noted)
    terms: dict[str, Any] = {
        "rules": "sgd", "trials": 4, "repeats": 2, "seeds": 2, "epochs": 1, "on": "threads",
    }  # fmt: skip
    race(line(), batch_size=[4, 16, 8], **terms)
    assert ModuleTask(line(), 0, batch_size=31).lanes == 2
    assert sizes == [16, 30]


def test_results_say_one_at_a_time_where_that_was_the_fastest() -> None:
    task = ModuleTask(line(), 0)
    for lanes, said in ((1, "one training at a time: that was measured to be the fastest"),
                        (2, "many trainings in one pass")):  # fmt: skip
        task.lanes = lanes
        assert task.facts["stacked"] == said
        assert task.stacked is (lanes > 1)


def test_the_fingerprint_takes_bfloat16_which_numpy_has_not() -> None:
    x = torch.linspace(-1, 1, 50)[:, None]

    def frozen(value: float) -> nn.Module:
        backbone = nn.Linear(1, 1).bfloat16().requires_grad_(requires_grad=False)
        nn.init.constant_(backbone.weight, value)
        return nn.Sequential(backbone, Widened(), nn.Linear(1, 1))

    def prints(value: float, tiny: float) -> str:
        inputs = (x + tiny).bfloat16()
        task = line(model=lambda: frozen(value), train=(inputs, 3 * x + 1))
        return ModuleTask(task, 0).fingerprint()

    found = [prints(0.5, 0.0), prints(0.25, 0.0), prints(0.5, 0.25), prints(0.5, 0.0)]
    assert len(set(found)) == 3
    assert found[0] == found[3]


class Widened(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.float()


def test_the_noise_scale_is_that_of_a_gradient_known_in_closed_form() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4000, 3, dtype=torch.float64, generator=generator) * 2 + torch.tensor([3, 0, 0])

    class Slope(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(3, dtype=torch.float64))

        def forward(self, x: Tensor) -> Tensor:
            return x @ self.w  # the gradient of its mean is the mean of x, whatever w

    task = ModuleTask(TorchTask(model=Slope, loss=lambda out, _: out.mean(), train=(x, x[:, 0])), 0)
    task.lanes = 2
    measured = task.measure(32)
    rows = task._parts.train[0]
    expected = (rows.var(0).sum() / rows.mean(0).square().sum()).item()
    assert expected == pytest.approx(12 / 9, rel=0.1)  # tr Σ = 3 * 2², |G|² = 3²
    assert measured["noise_scale"] == pytest.approx(expected, rel=0.05)
    assert measured["seconds_per_step"] > 0


def test_memory_of_a_step_counts_weights_gradients_state_and_activations() -> None:
    x = torch.randn(64, 100)

    def wide() -> nn.Module:
        return nn.Sequential(nn.Linear(100, 100, bias=False), nn.Tanh())

    task = ModuleTask(TorchTask(model=wide, loss=functional.mse_loss, train=(x, x)), 0)
    small, large = (cost(task.model, task._placed.train, size, 1).bytes for size in (8, 32))
    weights = 4 * 4 * 100 * 100  # x, g, m, v
    assert weights <= small <= weights + 4 * 64 * 100 * 5
    assert 24 * 4 * 100 <= large - small <= 24 * 4 * 100 * 5  # inputs, outputs, targets
    stacked = cost(task.model, task._placed.train, 32, 8).bytes  # with minibatches of their own
    assert weights + 2 * 32 * 4 * 100 <= stacked <= large + 32 * 4 * 100


def test_a_checkpoint_is_judged_where_the_race_did_and_goes_on_from_where_it_trained() -> None:
    task = ModuleTask(classes("mlp", torch.float32), 0)
    trained = run(task, [trial("schedule_free_sgd", hyper={"lr": 0.1}, epochs=2)])
    kept = trained.checkpoint(0)
    assert kept is not None
    module = task.model.module
    module.load_state_dict(kept["model"])
    module.eval()
    x, y = task._judged
    with torch.no_grad():
        loss = functional.cross_entropy(module(x), y).item()
    assert loss == pytest.approx(trained.judge()[0][0], rel=1e-6)
    optimizer = optim.Descent(module.parameters(), "schedule_free_sgd", **kept["hyper"])
    optimizer.load_state_dict(kept["optimizer"])
    optimizer.train()
    trained_at = [p.detach().clone() for p in module.parameters()]
    with optimizer.answer():
        for p, point, before in zip(
            module.parameters(), kept["model"].values(), trained_at, strict=True
        ):
            torch.testing.assert_close(p.detach(), point)
            assert not torch.equal(p, before)


def test_every_epoch_of_every_lane_is_counted(task: ModuleTask) -> None:
    told: list[int] = []
    lanes = [trial(number=i).lane(Rules()) for i in range(3)]
    task.run(lanes, should_stop=lambda: False, epochs_ended=told.append)
    assert told == [3, 3, 3]
    told.clear()
    task.run(lanes, should_stop=lambda: False, epochs_ended=told.append, alone=True)
    assert told == [1] * 9


@pytest.mark.usefixtures("short_targets")
def test_the_target_counts_its_epochs(task: ModuleTask) -> None:
    told: list[int] = []
    task.target(told.append)
    assert sum(told) == task.target_epochs == 4 * 250 // 25  # of two steps each


def test_a_loss_that_refuses_what_is_not_finite_has_diverged() -> None:
    def refusing(out: Tensor, y: Tensor) -> Tensor:
        if not out.isfinite().all():
            raise ValueError("between 0 and 1")
        return functional.mse_loss(out, y)

    class Exponential(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x).square().exp()

    given = line(loss=refusing, model=lambda: Exponential(1, 1).double())
    task = ModuleTask(given, 0)
    task.lanes = 1
    steep = {"lr": 1e6}  # leaves finite weights
    assert run(task, [trial(hyper=steep)]).diverged_at[0] == 2
    one = trial(hyper=steep, batch_size=len(task._parts.train[0]), epochs=1)
    assert np.isnan(run(task, [one]).validation_loss[-1, 0])
