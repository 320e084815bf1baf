"""The generator and the step kernel, against the rule functions themselves."""

import math
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from thalweg import rules, schedules
from thalweg.elementwise import exp, log, maximum, sign, sqrt, where
from thalweg.kernels import Step, cache, source
from thalweg.kernels.cpu.generate import generate
from thalweg.kernels.cpu.linear import LOSSES, evaluate_blocks
from thalweg.kernels.cpu.simd import LANES
from thalweg.rule import Range, Rule, rule
from thalweg.rules import adam

RULES = rules.names()
SHAPES = [(3,), (17, 5), (0,), (1,), (8,), (40_000,)]
Arrays = list[NDArray[Any]]


def reference(
    of: Rule, arrays: Arrays, gradients: list[Arrays], **hyper: float
) -> tuple[Arrays, list[dict[str, Any]]]:
    """The plain function in float64."""
    values = of.resolve(hyper)
    arrays = [np.asarray(a, np.float64) for a in arrays]
    states = [of.first_state(a, values) for a in arrays]
    for t, step_gradients in enumerate(gradients, 1):
        for i, g in enumerate(step_gradients):
            arrays[i], states[i] = of.advance(
                np.asarray(g, np.float64), arrays[i], states[i], t=t, hyper=values
            )
    return arrays, states


def random_problem(dtype: str, steps: int = 20, seed: int = 0) -> tuple[Arrays, list[Arrays]]:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(shape).astype(dtype) for shape in SHAPES]
    gradients = [
        [rng.standard_normal(shape).astype(dtype) for shape in SHAPES] for _ in range(steps)
    ]
    return arrays, gradients


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 2e-14), ("float32", 1e-5)])
def test_a_step_is_the_rule_function(name: str, dtype: str, tolerance: float) -> None:
    of = rules.get(name)
    hyper = {"weight_decay": 0.1} if "weight_decay" in of.hyperparameters else {}
    arrays, gradients = random_problem(dtype)
    expected, states = reference(of, arrays, gradients, **hyper)
    step = Step(name, arrays, **hyper)
    for g in gradients:
        step(g)
    for i, array in enumerate(arrays):
        np.testing.assert_allclose(array, expected[i], rtol=tolerance, atol=tolerance)
        for state in of.state:
            np.testing.assert_allclose(
                step.state[state][i], states[i][state], rtol=20 * tolerance, atol=tolerance
            )
    for state in of.uniform_state:
        assert step.uniform_state[state] == pytest.approx(states[0][state], rel=1e-13)


@settings(max_examples=30, deadline=None)
@given(
    name=st.sampled_from(RULES),
    sizes=st.lists(st.integers(0, 70), min_size=1, max_size=5),
    lr=st.floats(1e-6, 10.0),
    seed=st.integers(0, 1000),
)
def test_a_step_is_the_rule_function_at_any_size(
    name: str, sizes: list[int], lr: float, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    arrays = [rng.standard_normal(n) for n in sizes]
    gradients = [[rng.standard_normal(n) for n in sizes] for _ in range(3)]
    expected, _ = reference(rules.get(name), arrays, gradients, lr=lr)
    step = Step(name, arrays, lr=lr)
    for g in gradients:
        step(g)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=1e-12, atol=1e-12)


def test_what_lies_behind_an_array_is_not_touched() -> None:
    buffer = np.arange(24, dtype=np.float32)
    Step("adam", [buffer[:11]])([np.ones(11, np.float32)])
    np.testing.assert_array_equal(buffer[11:], np.arange(11, 24))


def test_many_threads_and_one_give_the_same_bits() -> None:
    rng = np.random.default_rng(3)
    x, g = rng.standard_normal((2, 100_000))
    halves = [x[:30_000].copy(), x[30_000:].copy()]  # blocks fall elsewhere
    whole = x.copy()
    for step, gradient in (
        (Step("adam", [whole]), [g]),
        (Step("adam", halves), [g[:30_000].copy(), g[30_000:].copy()]),
    ):
        for _ in range(3):
            step(gradient)
    np.testing.assert_array_equal(whole, np.concatenate(halves))


def test_a_schedule_is_followed_and_may_reach_zero() -> None:
    x = np.array([1.0])
    step = Step("sgd", [x], lr=schedules.linear(1.0, steps=2))
    for _ in range(3):
        step([np.array([1.0])])
    assert x[0] == pytest.approx(1.0 - 1.0 - 0.5)


def test_hyperparameters_may_change_between_steps() -> None:
    x = np.zeros(1)
    step = Step("sgd", [x], lr=1.0)
    step([np.ones(1)])
    step.hyper["lr"] = 0.25
    step([np.ones(1)])
    assert x[0] == -1.25
    step.hyper["lr"] = -1.0
    with pytest.raises(ValueError, match=r"lr must be > 0, got -1\.0"):
        step([np.ones(1)])


@pytest.mark.parametrize(
    ("arrays", "gradients", "message"),
    [
        ([], [], "arrays must hold at least one array, got none"),
        ([np.zeros(2), np.zeros(2, np.float32)], [], "array 0 is float64, array 1 is float32"),
        ([np.zeros(2, np.int64)], [], "dtype must be float32 or float64, got int64"),
        ([np.zeros((4, 4))[:, ::2]], [], "array 0 must be C-contiguous and writable"),
        ([np.zeros(2)], [np.zeros(2), np.zeros(2)], "expected 1 gradients, got 2"),
        (
            [np.zeros(2)],
            [np.zeros(3)],
            r"gradient 0 must be float64\[2\] like its parameter, got float64\[3\]",
        ),
        ([np.zeros(2)], [np.zeros(4)[::2]], "gradient 0 must be C-contiguous"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    arrays: Arrays, gradients: Arrays, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Step("sgd", arrays)(gradients)


# Rules of a user's own. Each must do in the kernel what it does as a function.


def mixed(g, x, m, *, t, lr=0.1, beta=0.9, kappa=3.0):  # noqa: ANN001, ANN201
    a, b = beta * m, g  # a tuple assignment
    a = a + b
    scale = 2 if t > 1 else 0.5  # uniform in the step
    power = (abs(g) + 1.0) ** kappa + g**3
    flag = where(g > 0, 2, 1)  # two literals
    chosen = a if kappa < 2 else -a  # uniform test, varying values
    return x - lr * scale * flag * chosen / power - sqrt(abs(g)) * 1e-3 + -sign(m), a


def counting(g, x, *, t, count, lr=0.1, beta=0.5):  # noqa: ANN001, ANN201
    factor = beta**t + exp(-count) + log(count + 1)
    beta2 = beta * beta
    first = 1 - beta2**t
    beta2 = beta2 / 2  # the name now means something else
    second = 1 - beta2**t
    count = maximum(count, t) + 1
    return x - lr * factor * first / second * g, count


def nested(g, x, v, *, t, lr=0.1, beta=0.9):  # noqa: ANN001, ANN201
    y, v = helper(g, x, v, factor=lr * 2, beta=beta)
    return halved(y) + halved(x), v


def helper(g, x, v, factor, beta=0.1):  # noqa: ANN001, ANN201
    v = beta * v + g
    x = x - factor * v
    return x, v


def halved(v):  # noqa: ANN001, ANN201
    return v / 2


DECAY = 0.9


def numbered(g, x, m, *, t, c, lr=0.1, boost=2.0, flag=1.0):  # noqa: ANN001, ANN201
    m = DECAY * m + g  # uniform numbers and tests that are no vectors
    rate = lr * (boost if t > 2 else 1.0) / (1 - DECAY**t)
    c = c + 1 if t > 3 else 0.0
    n = 3
    return x - rate * (-1) ** t * (m if flag else -m) - lr * c * 2**-n, m, c


def asking(g, x, up, *, t, lr=0.1, kappa=3.0):  # noqa: ANN001, ANN201
    turned = (g > 0) == (up > 0)  # tests as numbers
    climbs = g > 0
    x = x - lr * turned - 0.5 * climbs * (kappa > 2) * (t > 1) * (x > 0) + where(turned, lr, 0.0)
    return x, climbs


def calling(g, x, m, v, *, t, lr=0.1):  # noqa: ANN001, ANN201
    return adam(g, x, m, v, t=t, lr=lr)  # its other hyperparameters are numbers


def colliding(g, x, v, *, t, lr=0.1):  # noqa: ANN001, ANN201
    helper1_v = g * 2  # names that the variables of a called function have had, and have
    v_call1 = g * 3
    y, v = helper(g, x, v, factor=lr)
    return y + helper1_v + v_call1, v


@pytest.mark.parametrize(
    ("function", "start"),
    [
        (mixed, {}), (counting, {"count": 2.0}), (nested, {}), (numbered, {"c": 1.0}),
        (asking, {}), (calling, {}), (colliding, {}),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-13), ("float32", 3e-5)])
def test_a_users_rule_is_compiled_as_it_is_written(
    function: Callable[..., Any], start: dict[str, float], dtype: str, tolerance: float
) -> None:
    of = rule("test", start=start)(function)
    arrays, gradients = random_problem(dtype, steps=5)
    expected, _ = reference(of, arrays, gradients)
    step = Step(of, arrays)
    for g in gradients:
        step(g)
    for array, wanted in zip(arrays, expected, strict=True):
        np.testing.assert_allclose(array, wanted, rtol=tolerance, atol=tolerance)


def against_the_sign(g, x, *, t):  # noqa: ANN001, ANN201
    return x - sign(g)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_sign_of_a_subnormal_number_is_numpys(dtype: Any) -> None:
    g = np.array([1e-40, -1e-40], dtype)
    x = np.zeros_like(g)
    Step(rule("test")(against_the_sign), [x])([g])
    np.testing.assert_array_equal(x, -np.sign(g))


def refused(body: str, tmp_path: Path, signature: str = "g, x, v, *, t, lr=0.1") -> str:
    """Return the message with which a rule of that body is refused."""
    path = tmp_path / "own.py"
    lines = ["from thalweg.rule import rule", "import math", "table = [1, 2]", '@rule("test")']
    path.write_text(
        "\n".join([*lines, f"def own({signature}):", *[f"    {b}" for b in body.split("\n")]])
    )
    namespace: dict[str, Any] = {"__name__": "own"}
    exec(compile(path.read_text(), str(path), "exec"), namespace)  # noqa: S102
    with pytest.raises(ValueError, match=r"compiled|must|source") as caught:
        generate(namespace["own"])
    return str(caught.value)


@pytest.mark.parametrize(
    ("body", "line", "part"),
    [
        ("while x: pass\nreturn x, v", 6, "while x:"),
        ("if t > 1: x = g\nreturn x, v", 6, "if t > 1:"),
        ("return math.sqrt(x), v", 6, "math.sqrt(x)"),
        ("return x // 2, v", 6, "x // 2"),
        ("return x % lr, v", 6, "x % lr"),
        ("return x if x > 0 else v, v", 6, "the test depends on the gradient; write where"),
        ("return (x > 0) and x, v", 6, "x > 0 and x"),
        ("return 0 < x < 1, v", 6, "0 < x < 1"),
        ("y = x[0]\nreturn y, v", 6, "x[0]"),
        ("return sum(x), v", 6, "sum(x)"),
        ("return table * x, v", 6, "'table' is neither"),
        ("y = unknown + x\nreturn y, v", 6, "'unknown' is neither"),
        ("x.data = g\nreturn x, v", 6, "x.data"),
        ("a, b = x\nreturn a, v", 6, "1 values for 2 names"),
        ("v = v + g", 6, "must end in a return"),
        ("return (lambda: x), v", 6, "lambda: x"),
        ("return f'{x}', v", 6, "f'{x}'"),
        ("return x - lr * ((g > 0) + (x > 0)), v", 6, "arrays of tests do not add up; write where"),
    ],
)
def test_what_cannot_be_compiled_is_refused_with_its_line(
    body: str, line: int, part: str, tmp_path: Path
) -> None:
    message = refused(body, tmp_path)
    assert f"own.py, line {line}" in message
    assert part in message


def test_a_wrong_number_of_results_is_refused(tmp_path: Path) -> None:
    assert "must return 2 values (x and its state), not 1" in refused("return x", tmp_path)


def test_what_numba_refuses_is_refused_with_the_rules_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: Any, **__: Any) -> None:
        raise NumbaError("Cannot cast")

    monkeypatch.setattr("thalweg.kernels.cpu.kernel.callback", refusing)

    @rule("test")
    def unknown_to_numba(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g

    line = unknown_to_numba.function.__code__.co_firstlineno
    message = (
        rf"test_kernels\.py, line {line}: rule 'unknown_to_numba' cannot be compiled.*: Cannot cast"
    )
    with pytest.raises(ValueError, match=message):
        Step(unknown_to_numba, [np.zeros(1)])


def test_names_of_the_generated_code_are_free_for_rules() -> None:
    @rule("test")
    def clashing(g, x, n, n_, *, t, slots=0.1, load=0.5):  # noqa: ANN001, ANN202
        u0 = load * n_ + g
        x_new = x - slots * u0 * load
        return x_new, n + 1, u0

    x = np.array([1.0])
    step = Step(clashing, [x])
    step([np.array([2.0])])
    assert x[0] == pytest.approx(0.9)
    assert step.state["n_"][0] == 2.0


def test_uniform_state_must_stay_uniform(tmp_path: Path) -> None:
    message = refused("return x, v, c * x", tmp_path, "g, x, v, *, t, c, lr=0.1")
    assert "the uniform state 'c' must not depend on g or x" in message


def test_of_two_literals_one_carries_the_element_type() -> None:
    assert "where(g > 0.0, u" in source(rule("test")(mixed))


def test_uniform_expressions_leave_the_loop() -> None:
    element = source("adam").split("def element")[1].split("def update")[0]
    assert "beta" not in element
    assert "/ (sqrt" in element


@pytest.mark.parametrize("name", RULES)
def test_generated_source_is_plain_python(name: str) -> None:
    compile(source(name), name, "exec")


COUNT_COMPILATIONS = """
import sys
import numpy as np
from numba.core import event
recorder = event.install_recorder("numba:run_pass")
with recorder as passes:
    from thalweg.kernels import Step
    from thalweg.linear import train
    x = [np.zeros(10, np.float32), np.zeros(100_000, np.float32)]
    step = Step("adam", x, lr=0.1)
    step(x)
    step = Step("adam", x[:1], lr=0.1)
    step(x[:1])
    X = np.random.default_rng(0).standard_normal((50, 3))
    train(X, X[:, 0], rule="adam", epochs=2)
    first = len(passes.buffer)
    step.hyper["lr"] = 0.2
    step(x[:1])
    train(X, X[:, 0], rule="adam", epochs=2, lr=[0.1, 0.2])
    again = len(passes.buffer) - first
print(first, again)
"""


def count_compilations(folder: Path) -> tuple[int, int]:
    environment = {
        **os.environ,
        "THALWEG_CACHE": str(folder),
        "NUMBA_CACHE_DIR": str(folder / "numba"),
    }
    output = subprocess.run(
        [sys.executable, "-c", COUNT_COMPILATIONS],
        env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    first, again = map(int, output.split())
    return first, again


def test_a_warm_cache_compiles_nothing_and_neither_does_a_new_rate(tmp_path: Path) -> None:
    cold, again = count_compilations(tmp_path)
    assert cold > 0
    assert again == 0
    assert count_compilations(tmp_path) == (0, 0)


def test_the_cache_is_a_folder_that_only_its_user_can_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    folder = cache.folder()
    assert folder == tmp_path / "kernels"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    folder.chmod(0o770)
    assert cache.folder() is None
    folder.chmod(0o700)
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")
    assert cache.folder() is None


def test_without_a_safe_folder_kernels_still_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "kernels").mkdir(mode=0o777)
    (tmp_path / "kernels").chmod(0o777)
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))

    @rule("test")
    def unsafe_place(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g * 7

    x = np.zeros(3)
    Step(unsafe_place, [x], lr=0.5)([np.ones(3)])
    np.testing.assert_array_equal(x, -3.5)
    assert not list((tmp_path / "kernels").iterdir())


def test_a_file_that_is_not_ours_is_written_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THALWEG_CACHE", str(tmp_path))
    first, _ = cache.load_module("planted", "value = 1", "")
    sys.modules.pop(first.__name__)
    Path(str(first.__file__)).write_text("value = 2")
    again, _ = cache.load_module("planted", "value = 1", "")
    assert again.value == 1


def test_powers_do_not_become_subnormal() -> None:
    """beta**t runs through 1e-300 at step 6,557 for beta = 0.9; there it must end at 0."""
    from thalweg.linear import train  # noqa: PLC0415

    X = np.random.default_rng(0).standard_normal((100, 2))
    fit = train(X, X[:, 0], rule="adam", epochs=70, batch_size=1, lr=1e-3, dtype="float64")
    assert math.isclose(fit.coef[0, 0, 0], 1.0, abs_tol=0.05)


def test_powers_of_a_negative_number_alternate() -> None:
    """In a training, where a power is last step's times the base."""
    from thalweg.linear import train  # noqa: PLC0415

    @rule("test")
    def alternating(g, x, *, t, lr=0.1, base=-0.9):  # noqa: ANN001, ANN202
        return x - lr * (2 + base**t) * g

    X, y = np.ones((1, 1)), np.ones(1)
    fit = train(X, y, rule=alternating, epochs=9, evaluate_every=9, batch_size=1, dtype="float64")
    w = np.zeros(2)  # intercept and weight: the loss is (sum w - 1)^2 / 2
    for t in range(1, 10):
        w = alternating(np.full(2, w.sum() - 1), w, t=t)
    np.testing.assert_allclose(fit.coef.ravel(), w[:1], rtol=1e-12)


def test_a_small_logistic_loss_keeps_its_digits() -> None:
    margins = np.array([0.1, 1.0, 10.0, 16.0, 17.0, 20.0, 50.0], np.float32)
    w = np.full((1, 1, 1, LANES), 1, np.float32)
    for margin in margins:
        found = np.empty((1, LANES))
        X, y = np.array([[margin]]), np.ones(1, np.float32)
        evaluate_blocks(LOSSES["logistic"], X, y, w, 0, 1, found)
        np.testing.assert_allclose(found, np.log1p(np.exp(-float(margin))), rtol=3e-7)


def test_a_range_may_be_the_users_own() -> None:
    @rule("test", ranges={"kick": Range(0.0, 1.0, "[]")})
    def kicked(g, x, *, t, kick=0.5):  # noqa: ANN001, ANN202
        return x - kick * g

    with pytest.raises(ValueError, match=r"kick must be in \[0, 1\], got 2"):
        Step(kicked, [np.zeros(1)], kick=2)
