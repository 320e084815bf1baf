import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kernels.own_rules import undeclared
from node import needs_node, run
from thalweg import data, problems, rules, schedules, theory
from thalweg.explore import page, sources
from thalweg.theory.linearization import linearize

RANDOM = np.random.default_rng(3)


def imports(folder: Path, *lines: str) -> str:
    """Return the lines that import names from the explorer's modules."""
    pairs = [line.split(" from ") for line in lines]
    made = [f'import {{ {names} }} from "{folder}/{module}.js";' for names, module in pairs]
    return "\n".join(made) + "\n\n"


@needs_node
def test_problems_and_their_gradients_are_those_of_python(modules: Path, tmp_path: Path) -> None:
    cases = []
    for name in problems.names():
        problem = problems.get(name)
        for point in RANDOM.normal(0, 2, (20, problem.start.size)):
            part = int(RANDOM.integers(len(problem.parts))) if problem.parts else -1
            cases.append((name, point.tolist(), part))
    text = imports(modules, "problems from generated") + (
        "const named = Object.fromEntries(problems.map((p) => [p.name, p]));"
        "console.log(JSON.stringify(cases.map(([name, x, part]) => [named[name].value(...x), "
        "named[name].gradient(...x), part < 0 ? [] : named[name].parts[part](...x)])));"
    )
    found = run(tmp_path, text, cases=cases)
    for (name, point, part), (value, gradient, slope) in zip(cases, found, strict=True):
        problem, x = problems.get(name), np.array(point)
        np.testing.assert_allclose(value, problem.value(x), rtol=1e-12, err_msg=name)
        scale = 1e-12 * np.abs(problem.gradient(x)).max()
        np.testing.assert_allclose(gradient, problem.gradient(x), 1e-12, scale, err_msg=name)
        if part >= 0:
            wanted = problem.parts[part].gradient(x)
            np.testing.assert_allclose(slope, wanted, 1e-12, 1e-12, err_msg=name)


ARGUMENTS: dict[str, list[float]] = {
    "initial": [0.8], "final": [0.1], "value": [0.3], "peak": [0.9], "decay": [0.02, 0.0],
    "power": [0.5, 1.7], "factor": [0.3], "rise": [0.3, 0.0], "initial_divisor": [25.0],
    "final_divisor": [100.0], "steps": [40, 1], "every": [7], "period": [5, 9], "growth": [1, 2, 3],
    "warmup_steps": [6, 0], "stable_steps": [10, 0], "decay_steps": [20],
}  # fmt: skip


def calls(name: str) -> list[dict[str, Any]]:
    """Arguments of a schedule, each value of each argument at least once."""
    if name == "piecewise_constant":
        return [{"value1": 1.0, "value2": 0.3, "value3": 0.1, "boundary1": 5, "boundary2": 30}]
    given = list(inspect.signature(getattr(schedules, name)).parameters)
    most = max(len(ARGUMENTS[each]) for each in given)
    return [{e: ARGUMENTS[e][i % len(ARGUMENTS[e])] for e in given} for i in range(most)]


@needs_node
def test_schedules_are_those_of_python(modules: Path, tmp_path: Path) -> None:
    names = [n for n in schedules.__all__ if n not in {"Schedule", "values", "warmup"}]
    cases = [(name, given) for name in names for given in calls(name)]
    text = imports(modules, "schedules, share from generated") + (
        "const named = Object.fromEntries(schedules.map((s) => [s.name, s]));"
        "const steps = Array.from({length: 300}, (_, t) => t);"
        "console.log(JSON.stringify([cases.map(([name, given]) => steps.map((t) => "
        "named[name].at(t, ...named[name].arguments.map((each) => given[each])))), "
        "steps.map((t) => share(t, 7))]));"
    )
    found, rises = run(tmp_path, text, cases=cases)
    steps = np.arange(300)
    for (name, given), values in zip(cases, found, strict=True):
        if name == "piecewise_constant":
            *values3, one, two = given.values()
            made: Any = schedules.piecewise_constant(values3, [one, two])
        else:
            made = getattr(schedules, name)(**given)
        np.testing.assert_allclose(values, made(steps), 1e-12, 1e-15, err_msg=f"{name} {given}")
    np.testing.assert_allclose(rises, schedules.warmup(1.0, 7)(steps), 1e-15)


@needs_node
def test_matrices_rates_limits_and_floors_are_those_of_theory(
    modules: Path, tmp_path: Path
) -> None:
    cases, wanted = [], []
    for name in rules.names("element-wise"):
        rule = rules.get(name)
        if "refused" in sources.theory_of(rule):
            continue
        zeroed = dict.fromkeys(sources.theory_of(rule)["zeroed"], 0.0)
        for _ in range(2):
            hyper = rule.defaults | {"lr": float(10 ** RANDOM.uniform(-3, -1.5))} | zeroed
            for each in rule.hyperparameters.values():
                if str(each.range) == "in [0, 1)":
                    hyper[each.name] = float(RANDOM.uniform(0.3, 0.9))
            map_ = linearize(rule, hyper)
            rest = {n: v for n, v in hyper.items() if n != "lr"}
            cases.append((name, hyper))
            floor = theory.noise_floor(rule, 0.7, 0.3, **hyper)
            limit = theory.max_lr(rule, 3.0, **rest)
            rate = theory.rate(rule, [0.5, 2.0], **hyper)
            wanted.append((map_.A.tolist(), map_.b.tolist(), rate, limit, floor))
    text = imports(
        modules, "ruleNamed from state", "hyperOf, linearize, limit, noiseFloor, rate from theory"
    ) + (
        "console.log(JSON.stringify(cases.map(([name, given]) => {"
        "const rule = ruleNamed[name]; const map = linearize(rule, hyperOf(rule, given));"
        "return [map.A, map.b, rate(map, [0.5, 2]), limit(rule, given, 3), "
        "noiseFloor(map, 0.7, 0.3)]; })));"
    )
    assert len(cases) > 30
    for (name, _), found, right in zip(
        cases, run(tmp_path, text, cases=cases), wanted, strict=True
    ):
        for value, exact in zip(found, right, strict=True):
            np.testing.assert_allclose(value, exact, 1e-8, 1e-12, err_msg=name)


@needs_node
def test_the_best_point_of_the_page_is_that_of_theory(modules: Path, tmp_path: Path) -> None:
    text = imports(modules, "ruleNamed from state", "best from theory") + (
        'console.log(JSON.stringify(["sgd", "momentum", "nesterov", "adam"]'
        ".map((name) => best(ruleNamed[name], {}, [0.2, 4]))));"
    )
    for name, found in zip(
        ("sgd", "momentum", "nesterov", "adam"), run(tmp_path, text), strict=True
    ):
        assert found["rate"] == pytest.approx(theory.best(name, 0.2, 4.0).rate, rel=1e-5)


@needs_node
def test_descents_are_those_of_python(modules: Path, tmp_path: Path) -> None:
    from thalweg import descend  # noqa: PLC0415

    names = ["sgd", "adam", "nadam", "asgd", "schedule_free_sgd", "rprop"]
    text = imports(
        modules,
        "ruleNamed from state",
        "problems from generated",
        "descend from run",
        "hyperOf from theory",
    ) + (
        'const where = problems.find((p) => p.name === "rosenbrock");'
        "console.log(JSON.stringify(names.map((name) => [...descend(where, ruleNamed[name], "
        "{ hyper: hyperOf(ruleNamed[name], { lr: 1e-3 }), lr: null, start: where.start, "
        "steps: 50, noise: 0, seed: 0, batchSize: 0 }).f])));"
    )
    for name, f in zip(names, run(tmp_path, text, names=names), strict=True):
        rule = rules.get(name)
        trace = descend("rosenbrock", name, steps=50, lr=1e-3)
        if rule.judged is None:
            np.testing.assert_allclose(f, trace.f, 1e-9, err_msg=name)
        else:  # the page judges at the rule's answer
            hyper = rule.defaults | {"lr": 1e-3}
            at = rule.answer_at(trace.x[-1], trace.state, hyper)
            np.testing.assert_allclose(f[-1], problems.get("rosenbrock").value(at), 1e-9)


@needs_node
def test_the_network_has_the_gradient_and_the_sharpness_of_torch(
    modules: Path, tmp_path: Path
) -> None:
    import torch  # noqa: PLC0415

    text = imports(
        modules,
        "network, start, workspace, gradient, sharpen, points, ACTIVATIONS from mlp",
        "generator from random",
    ) + (
        'const { p, y } = points("moons", 30, 0.2, 0.1, generator(3));'
        "console.log(JSON.stringify(ACTIVATIONS.map((kind) => {"
        'const net = network([5, 4], kind); const x = start(net, "usual", generator(5));'
        "const g = new Float64Array(net.count); const space = workspace(net, 30);"
        "const loss = gradient(net, x, p, y, 30, g, space);"
        "const root = new Float64Array(net.count).fill(1); const v = Float64Array.from(g);"
        "const scratch = [0, 1].map(() => new Float64Array(net.count)); let top = 0;"
        "v.forEach((e, i) => { v[i] = Math.cos(i); });"
        "for (let k = 0; k < 200; k += 1) top = sharpen(net, x, p, y, 30, root, v, space, scratch);"
        "return { kind, loss, g: [...g], x: [...x], p: [...p], y: [...y], top }; })));"
    )
    for found in run(tmp_path, text):
        X = torch.tensor(found["p"], dtype=torch.float64).reshape(-1, 2)
        y = torch.tensor(found["y"], dtype=torch.float64)
        x = torch.tensor(found["x"], dtype=torch.float64, requires_grad=True)

        def loss(
            x: torch.Tensor, X: torch.Tensor = X, y: torch.Tensor = y, kind: str = found["kind"]
        ) -> torch.Tensor:
            z, at = X, 0
            for i, (a, b) in enumerate([(2, 5), (5, 4), (4, 1)]):
                weight, bias = x[at : at + a * b].reshape(b, a), x[at + a * b : at + a * b + b]
                z, at = z @ weight.T + bias, at + a * b + b
                z = getattr(torch, kind)(z) if i < 2 else z
            return torch.nn.functional.binary_cross_entropy_with_logits(z[:, 0], y)

        value = loss(x)
        (g,) = torch.autograd.grad(value, x)
        assert found["loss"] == pytest.approx(value.item(), rel=1e-12)
        np.testing.assert_allclose(found["g"], g.numpy(), 1e-10, 1e-14)
        eigenvalues = torch.linalg.eigvalsh(torch.autograd.functional.hessian(loss, x.detach()))
        largest = eigenvalues[eigenvalues.abs().argmax()]
        assert found["top"] == pytest.approx(float(largest), rel=1e-6)


def test_data_have_the_minimum_and_the_scatter_of_their_gradients() -> None:
    made = sources.data_source("diabetes")
    X, y, w = (np.array(made[name]) for name in ("X", "y", "minimizer"))
    assert len(X) == len(data.load("diabetes").X)
    np.testing.assert_allclose(X.T @ (X @ w - y), 0, atol=1e-9)
    residuals = X @ w - y
    assert made["minimum"] == pytest.approx(np.mean(residuals**2) / 2)
    one = residuals[:, None] * X @ np.array(made["eigenvectors"][0])
    assert made["noise"][0] == pytest.approx(np.mean(one**2))


def test_modules_have_no_more_rules_than_are_drawn() -> None:
    with pytest.raises(ValueError, match="at most 6 rules, got 7"):
        page.modules(["sgd"] * 7)


def undefined(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * missing(g)  # noqa: F821


def divided(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return x - lr * g / (1 - 1)


def test_a_rule_that_fails_is_refused_with_its_line_or_has_no_theory() -> None:
    line = undefined.__code__.co_firstlineno + 1
    with pytest.raises(ValueError, match=rf"line {line}: `missing\(g\)` cannot be compiled"):
        sources.rule_source(undeclared(undefined))
    assert "division by zero" in sources.theory_of(undeclared(divided))["refused"]
