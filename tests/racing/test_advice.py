"""What a verdict says about budgets and batch sizes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyarrow import parquet

import race_folder
import thalweg
from racing_task import LeastSquares
from thalweg import data, linear, rules
from thalweg.racing.advice import batch_sizes, by_budget
from thalweg.racing.search import Found
from thalweg.racing.space import Point, Space
from thalweg.racing.trial import Result, Trial
from thalweg.racing.verdict import Verdict
from thalweg.report import Record
from thalweg.tasks import schedule
from thalweg.tasks.linear import LinearTask
from thalweg.tasks.task import Target


def _result(number: int, curve: Sequence[float], size: int = 32) -> Result:
    trial = Trial("sgd", "rerun", number, 0, size, {"lr": float(number)}, len(curve) - 1)
    losses = np.array(curve)
    return Result(trial, 0, losses, losses)


def test_best_at_each_budget_is_the_lowest_of_the_first_trials() -> None:
    rng = np.random.default_rng(0)
    losses = {name: rng.uniform(size=40) for name in ("adam", "lion", "sgd")}
    losses["adam"][0], losses["sgd"][15], losses["lion"][39] = 0.0001, 0.00001, 0.0
    losses["lion"][3] = np.inf
    trials = {n: [[_result(i, [9.0, v]) for i, v in enumerate(own)]] for n, own in losses.items()}
    found = by_budget(trials, 32)  # what follows was drawn around a best, and is no budget's
    assert [(row["trials"], row["best"]) for row in found] == [
        (1, "adam"),
        (4, "adam"),
        (16, "sgd"),
        (32, "sgd"),
    ]
    for row in found:
        lowest = {name: min(own[: row["trials"]]) for name, own in losses.items()}
        assert row["val_loss"] == pytest.approx(lowest)
    assert [row["trials"] for row in by_budget(trials, 1)] == [1]


def test_a_budget_s_loss_is_the_median_over_repeats() -> None:
    repeats = [[_result(0, [9.0, loss])] for loss in (5.0, 1.0, 2.0)]
    assert by_budget({"adam": repeats}, 1)[0]["val_loss"] == {"adam": 2.0}


def test_no_rule_is_best_where_all_diverged() -> None:
    trials = {name: [[_result(0, [1.0, np.nan])]] for name in ("adam", "sgd")}
    assert by_budget(trials, 1)[0]["best"] is None


class _Costs(LeastSquares):
    """Costs by hand: 100 examples; a step takes 1 ms, or 10 ms at 64 examples."""

    def steps(self, batch_size: int) -> int:
        return -(-100 // batch_size)

    def measure(self, batch_size: int) -> dict[str, float]:
        seconds = 1e-2 if batch_size == 64 else 1e-3
        return {"seconds_per_step": seconds, "bytes": 1024 * batch_size, "noise_scale": 8.0}


def _compared(epochs: dict[int, int | None], again: dict[int, float]) -> dict[str, Any]:
    """Compare sizes that reach the target after so many epochs, on two seeds each."""
    sizes = list(epochs)
    curves = [
        [1.0] * 20 if at is None else [1.0] * at + [0.0] * (20 - at) for at in epochs.values()
    ]
    reruns = [_result(i, curve, size) for i, (size, curve) in enumerate(zip(sizes, curves))] * 2  # noqa: B905
    point = Point({"lr": 0.1}, sizes[0])
    found = Found(0, point, 0.0, Space({}, (), tuple(sizes)), (), again, 0)
    row = {"seconds_per_epoch": 0.5, "batch_size": 4}
    return batch_sizes(_Costs(), row, found, reruns, Target(0.5, 1.0, 0.0, ""))


def test_batch_sizes_by_hand() -> None:
    epochs = {4: 2, 16: 2, 64: 8}
    found = _compared(epochs, {7: 0.1, 9: 0.2, 11: 0.3})
    rows = found["rows"]
    assert [row["epochs_to_target"] for row in rows] == [2, 2, 8]
    # the winner's epoch at 4 takes 0.5 s for 25 steps; 7 steps at 16, 2 of tenfold length at 64
    assert [row["seconds_per_epoch"] for row in rows] == pytest.approx([0.5, 0.14, 0.4])
    assert [row["seconds_to_target"] for row in rows] == pytest.approx([1.0, 0.28, 3.2])
    # (1 + B / 8) / (1 + 4 / 8) times the epochs at 4
    assert [row["predicted_epochs"] for row in rows] == pytest.approx([2, 4, 12])
    assert found["noise_scale"] == 8
    assert found["advice"] == (
        "In one repeat, batch 16 reaches the target first (280 ms, 2 epochs, 16 KiB)."
    )


def test_the_largest_batch_that_needs_no_more_epochs_may_not_be_the_fastest() -> None:
    found = _compared({4: 7, 16: 2, 64: 2}, {7: 0.1, 9: 0.2, 11: 0.3})
    assert found["advice"] == (
        "In one repeat, "
        "batch 16 reaches the target first (280 ms, 2 epochs, 16 KiB). 64 is the largest "
        "that needs at most 10 % more epochs than the fewest (800 ms, 2 epochs, 64 KiB)."
    )


def test_batch_sizes_that_take_as_long_are_said() -> None:
    found = _compared({4: 1, 16: 4, 64: 9}, {7: 0.1, 9: 0.2, 11: 0.3})  # 500, 560 and 3,600 ms
    assert (
        found["advice"]
        == "In one repeat, batch 4 reaches the target first (500 ms, 1 epoch, 4.0 KiB)."
    )
    found = _compared({4: 9, 16: 32, 64: 9}, {7: 0.1, 9: 0.2, 11: 0.3})  # 4,500, 4,480, 3,600 ms
    assert "16" not in found["advice"]
    found = _compared({4: 8, 16: 9, 64: 10}, {7: 0.1, 9: 0.2, 11: 0.3})  # 4,000, 1,260, 4,000 ms
    assert found["advice"].startswith(
        "In one repeat, batch 16 reaches the target first (1.3 s, 9 epochs"
    )
    found = _compared({4: 2, 16: 7, 64: 10}, {7: 0.1, 9: 0.2, 11: 0.3})  # 1,000, 980, 4,000 ms
    assert found["advice"] == (
        "In one repeat, "
        "batch 16 reaches the target as soon as any (980 ms, 7 epochs, 16 KiB). 4 takes "
        "about as long. 4 is the largest that needs at most 10 % more epochs than the fewest "
        "(1.0 s, 2 epochs, 4.0 KiB)."
    )


def test_a_tenth_more_epochs_than_the_fewest_is_no_waste_and_a_fifth_is() -> None:
    found = _compared({4: 10, 16: 11, 64: 12}, {7: 0.1, 9: 0.2, 11: 0.3})
    assert (
        found["advice"]
        == "In one repeat, batch 16 reaches the target first (1.5 s, 11 epochs, 16 KiB)."
    )


def test_a_batch_size_is_shown_at_its_best_and_left_out_of_advice_if_it_never_arrives() -> None:
    found = _compared({4: None, 16: 3}, {7: 0.1, 9: 0.2})
    assert found["rows"][0]["seconds_to_target"] is None
    assert found["rows"][1]["predicted_epochs"] == 3
    assert found["advice"].startswith("In one repeat, batch 16 reaches the target first")
    none = _compared({4: None, 16: None}, {7: 0.1, 9: 0.2})
    assert none["advice"] == "In one repeat, no batch size reaches the target."
    assert [row["predicted_epochs"] for row in none["rows"]] == [None, None]


@pytest.mark.parametrize("name", ["diabetes", "iris", "breast_cancer"])
def test_noise_scale_of_a_linear_model_is_that_of_torch_s_gradients(name: str) -> None:
    torch = pytest.importorskip("torch")
    task = LinearTask(data.load(name), l2=0.1, seed=3)
    train = task.split.train
    fit = linear.train(
        train.X, train.y, loss=task.loss, rule="adam", epochs=1, batch_size=32,
        l2=0.1, initial="uniform", seed=3,
    )  # fmt: skip
    model = torch.nn.Linear(train.X.shape[1], task.outputs, dtype=torch.float64)
    with torch.no_grad():
        model.weight.copy_(torch.tensor(fit.coef[0]))
        model.bias.copy_(torch.tensor(fit.intercept[0]))
    gradients = []
    for x, y in zip(torch.tensor(train.X), torch.tensor(train.y), strict=True):
        z = model(x)
        loss = {
            "squared": lambda z, y: (z[0] - y) ** 2 / 2,
            "logistic": lambda z, y: torch.nn.functional.softplus(z[0]) - y * z[0],
            "softmax": lambda z, y: torch.nn.functional.cross_entropy(z[None], y[None]),
        }[task.loss](z, y) + 0.05 * model.weight.square().sum()
        grads = torch.autograd.grad(loss, [model.weight, model.bias])
        gradients.append(torch.cat([g.flatten() for g in grads]))
    G = torch.stack(gradients)
    expected = G.var(dim=0).sum() / G.mean(dim=0).square().sum()
    assert task.measure(8)["noise_scale"] == pytest.approx(expected.item(), rel=1e-4)


def test_a_race_compares_its_batch_sizes_and_says_how_good_the_defaults_are() -> None:
    found = thalweg.race(
        "iris", rules=["adam", "sgd"], batch_size=[8, 32], epochs=3, trials=8, seeds=2
    ).results
    rows = found["batch_sizes"]["rows"]
    assert [row["batch_size"] for row in rows] == [8, 32]
    assert all(row["seconds_per_epoch"] > 0 for row in rows)
    best = next(row for row in found["rules"] if row["rule"] == found["take"])
    own = next(row for row in rows if row["batch_size"] == best["batch_size"])
    assert own["hyper"] == best["hyper"]
    assert own["val_loss"] == min(row["val_loss"] for row in rows)
    assert own["seconds_per_epoch"] == pytest.approx(best["seconds_per_epoch"])
    assert [row["trials"] for row in found["by_budget"]] == [1, 4]
    assert all(row["defaults"]["excess"] >= 0 for row in found["rules"])
    assert best["steps"] == 3 * -(-90 // best["batch_size"])


def test_one_batch_size_is_not_compared() -> None:
    found = thalweg.race("iris", rules=["sgd"], epochs=2, trials=4, seeds=2).results
    assert found["batch_sizes"] is None


def _verdict(rule: str, kind: str, **hyper: float) -> Verdict:
    results, _ = race_folder.make((rule,), trials=4, seeds=2)
    chosen = {"hyper": rules.get(rule).resolve(hyper), "schedule": kind, "steps": 40}
    return Verdict(Record.of({**results, "rules": [{**results["rules"][0], **chosen}]}), None)


@pytest.mark.parametrize("name", ["sgd", "nesterov", "adamw", "rmsprop_momentum", "lion"])
def test_best_optimizer_steps_as_the_winner(name: str) -> None:
    torch = pytest.importorskip("torch")
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    optimizer, scheduler = _verdict(name, "constant", lr=0.05).best_optimizer([w])
    assert scheduler is None
    assert isinstance(optimizer, torch.optim.Optimizer)
    hyper = rules.get(name).resolve({"lr": 0.05})
    x = w.detach().clone()
    state = rules.get(name).first_state(x, hyper)
    for t in range(1, 6):
        x, state = rules.get(name).advance(2 * x, x, state, t=t, hyper=hyper)
        optimizer.zero_grad()
        w.square().sum().backward()
        optimizer.step()
        torch.testing.assert_close(w.detach(), x, rtol=1e-9, atol=0)


def test_best_optimizer_has_the_winner_s_schedule() -> None:
    torch = pytest.importorskip("torch")
    w = torch.ones(1, requires_grad=True)
    optimizer, scheduler = _verdict("adam", "cosine", lr=0.2).best_optimizer([w])
    assert scheduler is not None
    rates = []
    for _ in range(40):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    np.testing.assert_allclose(rates, 0.2 * schedule.factor("cosine", 40)(np.arange(40)))


def test_a_race_on_rungs_is_told_without_what_short_trials_cannot_say(tmp_path: Path) -> None:
    found = thalweg.race(
        "iris", rules=["sgd", "adam"], epochs=9, trials=9, seeds=2, halving=True,
        out=tmp_path / "race",
    ).results  # fmt: skip
    assert found["by_budget"] == []
    for row in found["rules"]:
        assert row["sensitivity"]["within_5_percent"] is None
        assert row["defaults"]["excess"] >= 0
        assert row["defaults"]["hyper"] == rules.get(row["rule"]).defaults
    curves = parquet.read_table(tmp_path / "race" / "curves.parquet").to_pylist()
    epochs: dict[tuple[int, int], list[int]] = {}
    for row in curves:
        if (row["rule"], row["phase"]) == ("sgd", "trial"):
            epochs.setdefault((row["repeat"], row["trial"]), []).append(row["epoch"])
    assert [epochs[0, number] for number in range(4)] == [[0, 1]] * 4
    assert {len(told) for told in epochs.values()} == {2, 4, 10}
    assert all(told == list(range(len(told))) for told in epochs.values())
    page = (tmp_path / "race" / "report.html").read_text(encoding="utf-8")
    assert "Every trial of all repeats, short ones too:" in page
    assert "the best third of those for a third" in page
