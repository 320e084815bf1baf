"""What a wrapper makes of a rule: one function, its names, and what it refuses."""

import inspect
import linecache
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import thalweg
from thalweg import catalog, linear, rules, wrappers
from thalweg.elementwise import maximum, minimum
from thalweg.kernels.translate import translate
from thalweg.optim import Descent
from thalweg.racing.parcel import packed, unpacked
from thalweg.racing.race import _equation
from thalweg.racing.raced import Raced
from thalweg.racing.store import Records
from thalweg.rule import read_signature, rule
from thalweg.stack.mixed_step import MixedStep
from thalweg.wrapper import Wrapped, named, wrapper
from thalweg.wrappers import cautious, grams, lookahead

LIMIT = 0.5


@wrapper("no element moves further than LIMIT; r counts steps", start={"r": 0.0})
def limited(step: Any, g: Any, x: Any, last: Any, *, t: int, r: float) -> Any:
    d = x - step(g, x)
    return x - minimum(maximum(d, -LIMIT), LIMIT), d, r + 1


def test_a_wrapped_rule_is_one_function_with_the_names_of_both() -> None:
    found = rules.get("limited( momentum )")
    assert isinstance(found, Wrapped)
    assert (found.name, found.state, found.uniform_state) == (
        "limited(momentum)",
        ("v", "last"),
        ("r",),
    )
    assert [*found.hyperparameters] == ["lr", "beta"]
    assert found(2.0, 1.0, 4.0, 0.0, t=1, r=3.0, lr=1.0, beta=0.5) == (0.5, 4.0, 4.0, 4.0)
    assert limited(rules.momentum) is found is rules.get("limited(momentum)")
    assert found not in map(rules.get, rules.names())
    assert "momentum(g, x, v, t=t, lr=lr, beta=beta)" in inspect.getsource(found.function)


def test_locals_of_a_wrapper_may_have_the_names_of_a_rules_state() -> None:
    """Prodigy's d is a state; that of the wrapper is its step."""
    plain, around = rules.prodigy, rules.get("cautious(prodigy)")
    g, x = np.array([1.0, -2.0]), np.array([3.0, 4.0])
    state = plain.first_state(x, plain.defaults)
    for t in (1, 2):
        _, expected = plain.advance(g, x, state, t=t, hyper=plain.defaults)
        _, state = around.advance(g, x, state, t=t, hyper=plain.defaults)
        assert all(np.array_equal(expected[name], state[name]) for name in expected)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cautius(adamw)", "unknown wrapper 'cautius'; did you mean cautious?"),
        ("cautious(adma)", "unknown rule 'adma'; did you mean"),
        ("cautious", "'cautious' must be a wrapper around a rule: write 'cautious.adamw.'"),
        ("cautious lion", "'cautious lion' must be a .* around a rule: write 'cautious.lion.'"),
        ("cautious[lion]", "must be a wrapper around a rule: write 'cautious.lion.'"),
        ("grams(lookahead(lion))", r"rules without an answer, as in lookahead.grams.lion..$"),
        ("grams(schedule_free_sgd)", r"rules without an answer, as in grams.adamw.$"),
        ("cautious()", r"write a wrapper around a rule as cautious\(adamw\), got 'cautious\(\)'"),
        ("cautious(adamw", "write a wrapper around a rule"),
        ("cautious(adamw))", "write a wrapper around a rule"),
        ("cautious(adamw, sgd)", "unknown rule 'adamw, sgd'"),
        ("averaged(schedule_free_sgd)", "'schedule_free_sgd' is judged elsewhere than it trains"),
        ("cautious(asgd)", "'asgd' is judged elsewhere than it trains"),
        ("limited(prodigy)", "wrapper 'limited' and rule 'prodigy' both have a 'r'"),
        ("grams(limited(limited(sgd)))", r"wrapper 'limited' and rule 'limited\(sgd\)' both have"),
        ("trusted(rateless)", "wrapper 'trusted' reads the rule's lr, and rule 'rateless' has"),
    ],
)
def test_what_does_not_go_together_is_refused(name: str, message: str) -> None:
    @rule("a rule without a rate")
    def rateless(g: Any, x: Any, *, t: int) -> Any:
        return x - g

    with pytest.raises(ValueError, match=message):
        rules.get(name)


def test_wrappers_of_another_form_are_refused() -> None:
    with pytest.raises(TypeError, match="'first' must have the signature"):

        @wrapper("a")
        def first(g: Any, x: Any, *, t: int) -> Any:
            return x

    with pytest.raises(TypeError, match="start names 'slow', which is no state"):

        @wrapper("a", start={"slow": "x"})
        def second(step: Any, g: Any, x: Any, *, t: int) -> Any:
            return step(g, x)

    with pytest.raises(TypeError, match="cautious takes a Rule"):
        cautious("adamw")  # type: ignore[arg-type]

    def like(step: Any, g: Any, x: Any, *, t: int) -> Any:
        return step(g, x)

    like.__name__ = "cautious"
    with pytest.raises(TypeError, match="thalweg has a wrapper 'cautious'"):
        wrapper("a")(like)


def test_texts_of_another_form_are_refused() -> None:
    @wrapper("a")
    def twice(step: Any, g: Any, x: Any, *, t: int) -> Any:
        return step(g, step(g, x))

    @wrapper("a")
    def sometimes(step: Any, g: Any, x: Any, *, t: int) -> Any:
        if t > 1:
            x = step(g, x)
        return x

    @wrapper("a")
    def early(step: Any, g: Any, x: Any, *, t: int) -> Any:
        if t == 1:
            return x
        return step(g, x)

    @wrapper("a")
    def pointless(step: Any, g: Any, x: Any, *, t: int) -> Any:
        return step(g)

    @wrapper("a")
    def stateless(step: Any, g: Any, x: Any, kept: Any, *, t: int) -> Any:
        return step(g, x)

    for wrong, message in (
        (twice, "'twice' must call step.g, x. once"),
        (sometimes, "'sometimes' must call step.g, x. once, in no if"),
        (stateless, "'stateless' must end in a return, its only one, of 2 values"),
        (early, "'early' must end in a return, its only one, of 1 value"),
        (pointless, "'pointless' must call step.g, x. once"),
    ):
        with pytest.raises(TypeError, match=message):
            wrong(rules.sgd)


def test_kernels_lanes_and_the_function_agree() -> None:
    """Of elements: the kernel; of sums: the function in lanes."""
    for name in ("lookahead(momentum)", "lookahead(cautious(momentum))"):
        found = rules.get(name)
        hyper = [found.resolve({"lr": lr, "k": 2}) for lr in (0.1, 0.2)]
        stacked = torch.arange(6.0, dtype=torch.float64).reshape(2, 3).clone()
        x, states = (
            stacked.numpy().copy(),
            [
                found.first_state(row, h)
                for row, h in zip(stacked.numpy().copy(), hyper, strict=True)
            ],
        )
        step = MixedStep([found, found], hyper, [stacked], 3)
        for t in range(1, 4):
            g = stacked * 0.5
            slopes = g.numpy().copy()
            step([g], None)
            for i in range(2):
                x[i], states[i] = found.advance(slopes[i], x[i], states[i], t=t, hyper=hyper[i])
        np.testing.assert_allclose(stacked, x, rtol=1e-13)


def test_a_wrapped_rule_travels() -> None:
    for found in (rules.get("grams(adam)"), Descent([torch.ones(1)], "grams(adam)").rule):
        assert pickle.loads(pickle.dumps(found)) is grams(rules.adam)  # noqa: S301 - just made
    whole = Raced(_Task(), {"limited(sgd)": limited(rules.sgd)})
    sent = unpacked(packed(whole)).rules["limited(sgd)"]
    assert sent is not limited(rules.sgd)
    assert isinstance(sent, Wrapped)
    assert sent(9.0, 1.0, 0.0, t=1, r=0.0, lr=1.0) == (0.5, 9.0, 1.0)
    assert "def limited_sgd" in inspect.getsource(sent.function)


class _Task:
    name = "task"


def test_what_is_known_of_the_rule_holds_around_it() -> None:
    assert catalog.of(cautious(rules.lion)).rates == catalog.of(rules.lion).rates
    assert catalog.of(cautious(rules.adam)).torch is None


def test_linear_models_take_those_of_elements_and_refuse_those_of_sums() -> None:
    X, y = np.ones((8, 2)), np.arange(8.0)
    found = linear.train(X, y, loss="squared", rule=lookahead(rules.sgd), lr=0.1, epochs=2)
    assert np.isfinite(found.train_loss).all()
    with pytest.raises(ValueError, match="looks at whole tensors, but linear models"):
        linear.train(X, y, loss="squared", rule="cautious(sgd)", lr=0.1, epochs=2)


def test_a_wrapped_rule_is_raced_by_its_name(tmp_path: Path) -> None:
    wrapped = ["averaged(grams(sgd))", "lookahead(momentum)"]
    terms: dict[str, Any] = {"epochs": 1, "trials": 4, "repeats": 2, "seeds": 1}
    found = thalweg.race("iris", rules=wrapped, out=tmp_path, **terms)
    assert {row["rule"] for row in found.results["rules"]} == {*wrapped}
    assert "memory" in found.record.row(wrapped[0]).hyper
    assert wrapped[0] in (tmp_path / "report.html").read_text("utf-8")
    with Records(tmp_path) as records:  # names with parentheses are names
        assert {one.trial.rule for one in records.results()} == {*wrapped}
    assert thalweg.resume(tmp_path).results["rules"] == found.results["rules"]


def test_a_race_knows_the_equation_of_the_rule_inside() -> None:
    """Or a race would go on after that rule has changed."""
    text = _equation(rules.get("grams(adam)"))
    assert "sign(g) * abs(x - stepped)" in text
    assert "m_hat = m / (1 - beta1**t)" in text


def test_a_wrapped_rule_descends_by_its_name() -> None:
    problem = thalweg.problems.bowl()
    trace = thalweg.descend(problem, "lookahead(sgd)", lr=0.1, steps=5)
    plain = thalweg.descend(problem, "sgd", lr=0.1, steps=5)
    np.testing.assert_allclose(trace.x[5], (trace.x[0] + plain.x[5]) / 2, rtol=1e-12)
    with pytest.raises(ValueError, match="'cautious' must be a wrapper around a rule"):
        thalweg.descend(problem, "cautious", lr=0.1, steps=5)


def test_a_kernel_is_made_though_others_emptied_the_line_cache() -> None:
    wrapped = rules.get("lookahead(laprop)")
    linecache.clearcache()
    assert translate(wrapped)


@pytest.mark.parametrize(
    ("name", "text", "file"),
    [
        ("cautious(adamw)", "return x - d * kept * (tsum(", "wrappers.py"),
        ("lookahead(lamb)", "size, length = norm(x), norm(u)", "sum_rules.py"),
        ("lookahead(lamb)", "fast = step(g, x)", "wrappers.py"),  # where it is called
        ("averaged(trusted(adam))", "size, length = norm(x), norm(d)", "wrappers.py"),
        ("lookahead(sam(adam))", '@wrapper("Foret et al. 2021', "wrappers.py"),
    ],
)
def test_a_refusal_of_a_kernel_names_the_files_that_are_written_by_hand(
    name: str, text: str, file: str
) -> None:
    lines = (Path(wrappers.__file__).parent / file).read_text(encoding="utf-8").splitlines()
    line = next(i for i, one in enumerate(lines, 1) if text in one)
    with pytest.raises(ValueError, match="cannot be compiled") as refused:
        translate(rules.get(name))  # of elements, as for browsers
    assert f"{file}, line {line}" in str(refused.value)
    assert "<" not in str(refused.value)


def forgetful(g, x, m, *, t, lr=0.1):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    m = 0.9 * m + g
    return x - lr * m


@pytest.mark.parametrize("name", ["cautious", "averaged"])
def test_a_rule_that_forgets_a_state_is_refused_inside_a_wrapper(name: str) -> None:
    """Else a tensor of two rows would be unpacked as x and m."""
    around = named(name)
    assert around is not None
    x = torch.ones(2, 2, requires_grad=True)
    optimizer = Descent([x], around(read_signature(forgetful, "test", {}, {})))
    x.grad = torch.ones(2, 2)
    line = forgetful.__code__.co_firstlineno
    with pytest.raises(
        ValueError, match=rf"py, line {line}: rule 'forgetful' must return 2 values"
    ):
        optimizer.step()
    assert x.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def with_a_default(step, g, x, e=1.0, *, t):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN201
    return step(g, x), e


def test_a_state_of_a_wrapper_has_no_default() -> None:
    with pytest.raises(TypeError, match=r"e must have no default; start=\{'e': 1.0\} says where a"):
        wrapper("test")(with_a_default)
