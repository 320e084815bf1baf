"""The lines that a verdict gives to paste for a module of the user's own."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, r2_score

import thalweg
import thalweg.rule
from thalweg import catalog, data, rules
from thalweg.tasks import schedule, snippets
from thalweg.tasks.modules import ModuleTask


def _path(lines: str, steps: int) -> Any:
    """Train three weights of a quadratic with the pasted optimizer, and scheduler if any."""
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    scope: dict[str, Any] = {"model": model}
    exec(lines, scope)  # noqa: S102 - it is there to be pasted
    path = []
    for _ in range(steps):
        scope["optimizer"].zero_grad()
        (model.weight * torch.tensor([1.0, 2.0, 3.0])).square().sum().backward()
        scope["optimizer"].step()
        if "scheduler" in scope:
            scope["scheduler"].step()
        path.append(model.weight.detach().clone())
    return torch.stack(path)


def _reference(name: str, hyper: dict[str, float], kind: str, steps: int) -> Any:
    """The same by the rule itself, its rate times the schedule's factor."""
    rule, factor = rules.get(name), schedule.factor(kind, steps)
    torch.manual_seed(0)
    x = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64).weight.detach()
    state, path = rule.first_state(x, hyper), []
    for t in range(1, steps + 1):
        g = 2 * x * torch.tensor([1.0, 2.0, 3.0]).square()
        now = {**hyper, "lr": hyper["lr"] * factor(t - 1)}
        x, state = rule.advance(g, x, state, t=t, hyper=now)
        path.append(x)
    return torch.stack(path)


@pytest.mark.parametrize("kind", schedule.NAMES)
@pytest.mark.parametrize("steps", [7, 25])
@pytest.mark.parametrize("name", ["sgd", "averaged_momentum", "adamw", "rmsprop", "lion", "yogi"])
def test_pasted_lines_train_as_the_rule_with_its_schedule(name: str, kind: str, steps: int) -> None:
    hyper = {**rules.get(name).defaults, "lr": 0.01}
    expected = _reference(name, hyper, kind, steps)
    code = snippets.module(rules.get(name), hyper, schedule=kind, steps=steps)
    torch.testing.assert_close(_path(code["thalweg"], steps), expected, rtol=1e-9, atol=1e-12)
    if snippets.torch_class(rules.get(name), hyper) is None:
        assert code["torch"].startswith(f"# torch.optim has no {name}")
    else:
        torch.testing.assert_close(_path(code["torch"], steps), expected, rtol=1e-9, atol=1e-12)


def test_schedule_has_a_rise_only_where_a_tenth_of_the_steps_is_one() -> None:
    short = snippets.module(rules.get("sgd"), {"lr": 0.1}, schedule="cosine", steps=9)["torch"]
    assert "LinearLR" not in short
    long = snippets.module(rules.get("sgd"), {"lr": 0.1}, schedule="cosine", steps=10)["torch"]
    assert "LinearLR" in long


def test_a_module_s_race_gives_lines_for_its_whole_training() -> None:
    X = torch.randn(60, 3, generator=torch.Generator().manual_seed(0))
    line = thalweg.TorchTask(
        model=lambda: torch.nn.Linear(3, 1),
        loss=torch.nn.functional.mse_loss,
        train=(X, X.sum(1, keepdim=True)),
    )
    task = ModuleTask(line, 0)
    rule, hyper = rules.get("nesterov"), {"lr": 0.1, "beta": 0.9}
    code = task.code(rule, hyper, batch_size=8, epochs=10, schedule="cosine")
    steps = 10 * -(-task.parts["train"] // 8)
    assert code == snippets.module(rule, hyper, schedule="cosine", steps=steps)
    assert _path(code["thalweg"], steps).shape[0] == steps


# -- a linear model's lines ----------------------------------------------------------------------


def _raw(name: str) -> tuple[Any, Any]:
    """Return numbers as a user has them: a target in its own unit, classes by name."""
    found = data.load(name)
    return found.X, found.y if found.classes is None else np.array(found.classes)[found.y]


def _torch_decision(scope: dict[str, Any]) -> Any:
    X = torch.tensor(scope["split"].test.X, dtype=torch.float32)
    return scope["model"](X).detach().numpy()


def _thalweg_decision(scope: dict[str, Any]) -> Any:
    return scope["training"].decision(scope["split"].test.X)[0]


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("name", "predict"),
    [
        ("diabetes", lambda z, split, _: z[:, 0] * split.y_scale + split.y_mean),
        ("breast_cancer", lambda z, _, classes: classes[(z[:, 0] > 0).astype(int)]),
        ("iris", lambda z, _, classes: classes[z.argmax(axis=1)]),
    ],
)
def test_pasted_lines_reach_the_score_of_the_table(name: str, predict: Any) -> None:
    """On raw data, in the unit of the target: what the lines leave unsaid cannot be put right."""
    X, y = _raw(name)
    found = thalweg.race(X, y, rules=["sgd"], trials=20, epochs=20)
    row, classes = found.results["rules"][0], np.unique(y)
    score = r2_score if name == "diabetes" else accuracy_score
    for library, decision in (("torch", _torch_decision), ("thalweg", _thalweg_decision)):
        scores = []
        for seed in range(5 if library == "torch" else 1):
            torch.manual_seed(seed)
            scope: dict[str, Any] = {"X": X, "y": y}
            exec(found.code[library], scope)  # noqa: S102 - it is there to be pasted
            rows = scope["split"].test.rows
            predicted = predict(decision(scope), scope["split"], classes)
            scores.append(score(y[rows], predicted))
        low, high = min(row["test_scores"]), max(row["test_scores"])
        assert low - 0.05 <= np.median(scores) <= high + 0.05, library
    scope = {"X": X, "y": y}
    exec(found.code["scikit-learn"], scope)  # noqa: S102 - it is there to be pasted
    predicted = scope["model"].predict(X[scope["test"]])
    if name != "diabetes":
        predicted = classes[predicted]
    assert low - 0.05 <= score(y[scope["test"]], predicted) <= high + 0.05


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_pipeline_of_scikit_learn_takes_words_and_gaps(tmp_path: Path, kind: str) -> None:
    """The score is that of the race's own encoding, on a table with words, a date and gaps."""
    rng = np.random.default_rng(0)
    size, town = rng.normal(50, 20, 400), rng.integers(3, size=400)
    price = 1e5 + 2e3 * size + 1e5 * town + rng.normal(0, 2e4, 400)
    table = pd.DataFrame(
        {"size": size, "town": np.take(["a", "b", "c"], town), "sold": pd.Timestamp(2020, 1, 1)}
    )
    table["sold"] += pd.to_timedelta(rng.integers(900, size=400), unit="D")
    table.loc[::9, "size"] = np.nan
    table["price"] = price if kind == "regression" else np.where(price > 3e5, "dear", "cheap")
    table.to_csv(tmp_path / "homes.csv", index=False)
    homes = data.load(tmp_path / "homes.csv", target="price")
    found = thalweg.race(homes, rules=["sgd"], trials=32, repeats=2)
    scope: dict[str, Any] = {}
    exec(found.code["scikit-learn"], scope)  # noqa: S102 - it is there to be pasted
    scores = found.results["rules"][0]["test_scores"]
    score = scope["model"].score(scope["X"].iloc[scope["test"]], scope["y"][scope["test"]])
    assert min(scores) - 0.05 <= score <= max(scores) + 0.05
    assert score > 0.7


def test_a_pipeline_of_scikit_learn_is_that_of_every_rule_it_can_have() -> None:
    fit = snippets.LinearFit("logistic", 4, 1, 0.1, 8, 3, "data.load('breast_cancer')")
    for name in rules.names():
        rule = rules.get(name)
        text = snippets.scikit_learn(fit, rule, {**rule.defaults, "lr": 0.01})
        if rule.judged is None:
            assert f"rule={name!r}, lr=0.01" in text
        else:
            assert text == f"# no estimator has {name}, which is judged elsewhere than it trains"


WITH_TORCH = [
    name
    for name in rules.names()
    if (known := catalog.of(rules.get(name)).torch) and known.in_torch
]
# -- the code to paste ---------------------------------------------------------------------------
IRIS = "data.load('iris')"


@pytest.mark.parametrize("name", WITH_TORCH)
def test_torch_code_takes_the_steps_of_the_rule(name: str) -> None:
    torch = pytest.importorskip("torch")
    rule = rules.get(name)
    hyper = {**rule.defaults, "lr": 0.03}
    fit = snippets.LinearFit("softmax", 4, 3, 0.1, 8, 0, IRIS)
    scope: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(snippets.torch(fit, rule, hyper), scope)  # noqa: S102 - it is there to be pasted
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(8, 4, generator=generator, dtype=torch.float64)
    y = torch.arange(8) % 3
    model = scope["model"].double()
    x = model.weight.detach().clone()
    state = rule.first_state(x, hyper)
    for t in range(1, 8):
        scope["optimizer"].zero_grad()
        scope["objective"](X, y).backward()
        scope["optimizer"].step()
        x, state = rule.advance(model.weight.grad.clone(), x, state, t=t, hyper=hyper)
        torch.testing.assert_close(model.weight.detach(), x, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(("loss", "outputs"), [("squared", 1), ("logistic", 1), ("softmax", 3)])
def test_torch_objective_is_the_engine_s(loss: str, outputs: int) -> None:
    torch = pytest.importorskip("torch")
    fit = snippets.LinearFit(loss, 4, outputs, 0.1, 8, 0, IRIS)
    scope: dict[str, Any] = {}
    torch.manual_seed(0)
    exec(snippets.torch(fit, rules.sgd, {"lr": 0.1}), scope)  # noqa: S102
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(9, 4)), np.arange(9) % max(outputs, 2)
    model = scope["model"].double()
    w, b = model.weight.detach().numpy(), model.bias.detach().numpy()
    z = X @ w.T + b
    if loss == "squared":
        expected = np.mean((z[:, 0] - y) ** 2) / 2
    else:
        z = z if outputs > 1 else np.column_stack([0 * z, z])
        expected = np.mean(np.log(np.exp(z).sum(axis=1)) - z[np.arange(9), y])
    y = torch.tensor(y if loss != "squared" else y.astype(float))
    assert scope["objective"](torch.tensor(X), y).item() == pytest.approx(
        expected + 0.05 * np.sum(w**2)
    )


def test_rules_that_torch_lacks_are_said_to_be_lacking() -> None:
    fit = snippets.LinearFit("squared", 4, 1, 0.0, 8, 5, IRIS)
    lacking = {*rules.names()} - {*WITH_TORCH}
    assert lacking == {"yogi", "adabelief", "lion", "laprop", "adopt", "adan", "ademamix",
        "schedule_free_sgd", "schedule_free_adamw", *rules.names("sums", "matrices", "asking"),
    }  # fmt: skip
    for name in lacking:
        text = snippets.torch(fit, rules.get(name), {})
        assert text.startswith(f"# torch.optim has no {name}")
