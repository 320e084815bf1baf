"""A PyTorch module as the task of a race."""

import io
import math
import sqlite3
from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import cloudpickle
import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import Dataset

from stack.nets import SEED, classes, minibatches, one_by_one
from thalweg import optim, race
from thalweg.errors import TaskError
from thalweg.racing.protocol import Rules
from thalweg.racing.trial import FINAL, RERUN, TIMING, Trial
from thalweg.rules import get, names
from thalweg.stack import TorchTask, train
from thalweg.stack.measure import Cost, cost
from thalweg.tasks import schedule
from thalweg.tasks.constant import best_constant
from thalweg.tasks.modules import ModuleTask
from thalweg.tasks.task import Lanes

pytestmark = pytest.mark.usefixtures("one_thread")


def trial(rule: str = "sgd", **given: Any) -> Trial:
    hyper = get(rule).defaults | given.pop("hyper", {})
    settings = {"round": "round 1", "number": 0, "seed": SEED, "batch_size": 9, "epochs": 3}
    return Trial(**{"rule": rule, "hyper": hyper, **settings, **given})


def run(task: ModuleTask, trials: Sequence[Trial]) -> Lanes:
    lanes, alone = [each.lane(Rules()) for each in trials], trials[0].round == TIMING
    return task.run(lanes, should_stop=lambda: False, alone=alone)


@pytest.fixture(scope="module")
def task() -> ModuleTask:
    made = ModuleTask(classes("mlp"), 0)
    made.lanes = 8  # measuring takes seconds
    return made


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


def test_a_training_is_timed_as_its_user_would_run_it(
    task: ModuleTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    stacks = []

    def noted(*given: Any, stacked: bool, **settings: Any) -> Any:
        stacks.append(stacked)
        return train(*given, stacked=stacked, **settings)

    monkeypatch.setattr("thalweg.tasks.modules.train", noted)
    timed, other = (run(task, [trial(round=label)]) for label in (TIMING, FINAL))
    assert stacks == [False, True]
    np.testing.assert_allclose(timed.train_loss, other.train_loss, rtol=1e-12)


def test_the_cosine_schedule_is_the_races(task: ModuleTask) -> None:
    lanes = run(task, [trial(hyper={"lr": 0.5}, schedule="cosine"), trial(hyper={"lr": 0.5})])
    factors = schedule.factor("cosine", 3 * 4)

    class Cosine(torch.optim.SGD):
        taken = 0

        def step(self, closure: Any = None) -> Any:
            self.param_groups[0]["lr"] = 0.5 * factors(self.taken)
            self.taken += 1
            return super().step(closure)

    expected = one_by_one(task.description, Cosine, epochs=3)
    np.testing.assert_allclose(lanes.validation_loss[:, 0], expected[2], rtol=1e-10)
    assert lanes.validation_loss[-1, 0] != lanes.validation_loss[-1, 1]


def test_the_test_part_is_judged_by_loss_and_accuracy(task: ModuleTask) -> None:
    lanes = run(task, [trial(hyper={"lr": lr}, round=FINAL, seed=SEED) for lr in (0.5, 1e308)])
    losses, scores = lanes.judge()
    module, _, _ = one_by_one(task.description, lambda p: torch.optim.SGD(p, lr=0.5), epochs=3)
    x, y = task._parts.test
    outputs = module(x)
    assert losses[0] == pytest.approx(functional.cross_entropy(outputs, y).item(), rel=1e-10)
    assert scores[0] == (outputs.argmax(1) == y).double().mean().item()
    assert np.isnan([losses[1], scores[1]]).all()  # it diverged
    assert lanes.checkpoint(1) is None


def line(**given: Any) -> TorchTask:
    """Return y = 3 x + 1, fitted by least squares."""
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    settings = {
        "model": lambda: nn.Linear(1, 1).double(), "loss": functional.mse_loss,
        "train": (x, 3 * x + 1),
    }  # fmt: skip
    return TorchTask(**{**settings, **given})


def test_a_regression_is_scored_by_r2_a_users_metric_by_itself() -> None:
    def largest(outputs: Tensor, targets: Tensor) -> Tensor:
        return (outputs - targets).abs().max()

    def ours(model: nn.Module, batch: Any) -> Tensor:
        return largest(model(batch[0]), batch[1])

    def step(model: nn.Module, batch: Any) -> Tensor:
        return functional.mse_loss(model(batch[0]), batch[1])

    found = {}
    for name, given in {
        "R²": {}, "largest": {"metric": largest}, "none": {"loss": None, "step": step},
        "ours": {"metric": ours, "loss": None, "step": step},
    }.items():  # fmt: skip
        task = ModuleTask(line(**given), 0)
        task.lanes = 2
        assert task.facts["metric"] == name
        found[name] = run(task, [trial(hyper={"lr": 0.1}, epochs=9)]).judge()[1].item()
    assert 0.8 < found["R²"] < 1
    assert found["largest"] == pytest.approx(found["ours"])
    assert math.isnan(found["none"])


def test_a_metric_of_the_users_own_step_may_leave_torch(task: ModuleTask) -> None:
    def share(model: nn.Module, batch: Any) -> float:
        return float(f1_score(batch[1].numpy(), model(batch[0]).argmax(1).numpy(), average="micro"))

    def right(model: nn.Module, batch: Any) -> float:
        return (model(batch[0]).argmax(1) == batch[1]).double().mean().item()

    def step(model: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1])

    trials = [trial(hyper={"lr": lr}, round=FINAL, seed=seed) for lr, seed in ((0.5, 1), (0.1, 2))]
    expected = run(task, trials).judge()[1]
    for metric in (share, right):  # of one label each, both are the accuracy
        own = ModuleTask(classes("mlp", loss=None, step=step, metric=metric), 0)
        own.lanes = 2
        np.testing.assert_allclose(run(own, trials).judge()[1], expected)


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
    optimizer = optim.Descent(module.parameters(), rule, **kept["hyper"])
    optimizer.load_state_dict(kept["optimizer"])
    whole = run(task, trials[1:]).checkpoint(0)
    assert whole
    x, y = task._parts.train
    for rows in minibatches(len(y), 9, SEED, epochs=3)[8:]:
        optimizer.zero_grad()
        functional.cross_entropy(module(x[rows]), y[rows]).backward()
        optimizer.step()
    for name, value in module.state_dict().items():
        torch.testing.assert_close(value, whole["model"][name], rtol=1e-5, atol=1e-7)


def test_the_target_lies_between_the_best_constant_and_adam(task: ModuleTask) -> None:
    assert best_constant(task.model, task._placed) == pytest.approx(
        math.log(3), abs=1e-3
    )  # three classes, equally often
    x = torch.linspace(-1, 1, 500, dtype=torch.float64)[:, None]
    fitted = ModuleTask(line(train=(x, 3 * x + 1)), 0)
    fitted.lanes = 4
    y = fitted._parts.train[1].mean()
    target = fitted.target()
    assert target.constant == pytest.approx(
        (fitted._parts.validation[1] - y).square().mean().item(), rel=1e-6
    )
    assert target.reference < 0.1 * target.constant
    assert target.validation_loss == pytest.approx(
        target.reference + 0.05 * (target.constant - target.reference)
    )


def probabilities() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 1), nn.Sigmoid(), nn.Flatten(0))


def logarithms() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 3), nn.LogSoftmax(1))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(("model", "loss"), [
    (probabilities, functional.binary_cross_entropy), (logarithms, functional.nll_loss),
])  # fmt: skip
def test_a_loss_without_a_best_constant_starts_from_the_untrained_model(
    model: Callable[[], nn.Module], loss: Any, dtype: torch.dtype
) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(60, 6, dtype=dtype, generator=generator)
    y = (x.sum(1) > 0) & (x[:, 0] > 0)
    targets = y.long() if model is logarithms else y.to(dtype)
    own = ModuleTask(TorchTask(model=lambda: model().to(dtype), loss=loss, train=(x, targets)), 0)
    own.lanes = 4
    target = own.target()
    if "untrained" in target.rule:
        start = run(own, [trial(seed=0, batch_size=32)]).validation_loss[0, 0]
        assert target.constant == pytest.approx(start, rel=1e-6)
    else:  # the search happened to stay among probabilities
        p = own._parts.train[1].mean()
        q = own._parts.validation[1].mean()
        expected = -(q * p.log() + (1 - q) * (1 - p).log())
        assert target.constant == pytest.approx(expected.item(), rel=1e-5)
        assert model is probabilities
    assert target.reference < target.validation_loss < target.constant


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_a_part_with_numbers_that_are_not_finite_is_refused(part: str) -> None:
    x = torch.linspace(-1, 1, 50, dtype=torch.float64)[:, None]
    broken = torch.where(torch.arange(50)[:, None] == 40, torch.nan, x)
    parts = dict.fromkeys(("train", "validation", "test"), (x, 3 * x)) | {part: (broken, 3 * x)}
    message = (
        rf"nan on the {part} part; 1 of its 50 examples hold numbers that are not finite: drop"
    )
    with pytest.raises(TaskError, match=message):
        ModuleTask(line(**parts), 0)

    def known(outputs: Tensor, targets: Tensor) -> Tensor:
        return torch.where(targets.isnan(), 0.0, outputs - targets.nan_to_num()).square().mean()

    holes = {part: (x, broken)}  # of a loss that knows what to do with them
    ModuleTask(line(**{**parts, **holes}, loss=known, metric=known), 0)


def test_a_loss_that_weighs_examples_is_that_of_the_whole_part() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(900, 6, dtype=torch.float64, generator=generator)
    y = (torch.arange(900) % 10 == 0).long().sort().values
    ignored = torch.where(torch.arange(900) < 600, -100, y)
    weight = torch.tensor([1.0, 50.0], dtype=torch.float64)

    def step(model: nn.Module, batch: Any) -> Tensor:
        return functional.cross_entropy(model(batch[0]), batch[1], weight=weight)

    def head() -> nn.Module:
        layer = nn.Linear(6, 2).double()
        nn.init.zeros_(layer.weight)  # all losses are log 2 at first
        nn.init.zeros_(layer.bias)
        return layer

    weighted = nn.CrossEntropyLoss(weight=weight)
    for targets, given, loss in (
        (y, {"loss": weighted}, weighted),
        (y, {"loss": None, "step": step}, weighted),
        (ignored, {"loss": functional.cross_entropy}, functional.cross_entropy),
    ):
        whole = (x, targets)
        own = ModuleTask(
            TorchTask(model=head, train=(x, y), validation=whole, test=whole, **given), 0
        )
        own.lanes = 2
        for made in (own, cloudpickle.loads(cloudpickle.dumps(own))):
            lanes = run(made, [trial(hyper={"lr": 0.1}, epochs=1, batch_size=90)] * 2)
            kept = lanes.checkpoint(0)
            assert kept
            module = head()
            module.load_state_dict(kept["model"])
            expected = loss(module(x), targets).item()
            np.testing.assert_allclose(lanes.validation_loss[-1], expected, rtol=1e-10)
            np.testing.assert_allclose(lanes.judge()[0], expected, rtol=1e-10)


def test_a_loss_that_is_no_mean_of_examples_is_left_to_chunks() -> None:
    def apart(outputs: Tensor, targets: Tensor) -> Tensor:
        """Hold each example against all others of its batch."""
        return functional.cross_entropy(outputs @ targets.T, torch.arange(len(outputs)))

    x = torch.linspace(-1, 1, 900, dtype=torch.float64)[:, None]
    for loss in (functional.mse_loss, apart):
        own = ModuleTask(line(train=(x, 3 * x + 1), loss=loss), 0)
        assert not own.model.traits.whole


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


def test_lanes_have_room_for_the_largest_batch_of_the_race(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = []

    def noted(_: Any, examples: Any, batch_size: int) -> int:
        assert len(examples[1]) == 30
        sizes.append(batch_size)
        return 2

    monkeypatch.setattr("thalweg.tasks.modules.best_lanes", noted)
    terms = {"rules": "sgd", "trials": 4, "seeds": 2, "epochs": 1, "on": "threads"}
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


def test_a_model_that_breaks_in_evaluation_alone_is_told_in_a_sentence() -> None:
    class Late(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            if not self.training:
                raise RuntimeError("no running mean\nat all")
            return super().forward(x)

    with pytest.raises(
        TaskError, match=r"test_stack_race\.py:\d+: RuntimeError: no running mean; at"
    ):
        ModuleTask(line(model=lambda: Late(1, 1).double()), 0)


def test_a_model_whose_gradient_breaks_is_told_in_a_sentence() -> None:
    class InPlace(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            squashed = super().forward(x).sigmoid()
            return squashed.mul_(2.0)

    with pytest.raises(TaskError, match=r"^loss: RuntimeError: one of the variables needed for"):
        ModuleTask(line(model=lambda: InPlace(1, 1).double()), 0)


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
