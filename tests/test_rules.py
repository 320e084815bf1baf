"""Every rule against torch where torch has it, elsewhere against closed forms and optax."""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import references
from cases import CASES, REFUSED, Case
from thalweg import rules
from thalweg.elementwise import sign
from thalweg.rule import RANGES, Hyperparameter, Range
from thalweg.second_order import METHODS

Array = NDArray[Any]
PEERS = [case for case in CASES if case.peer]
every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


def path(case: Case, gradients: Any, x: Any) -> list[Any]:
    """Return the points that the rule visits from its own start."""
    rule = rules.get(case.rule)
    hyper = rule.resolve(case.hyper)
    state, points = rule.first_state(x, hyper), []
    for t, g in enumerate(gradients, 1):
        x, state = rule.advance(g, x, state, t=t, hyper=hyper)
        points.append(x)
    return points


@pytest.fixture
def float64() -> Iterator[None]:
    """Let torch keep its own scalars (step sizes, products) in float64 for one test."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def draw(seed: int, steps: int, dtype: str) -> tuple[Array, Array]:
    """Return gradients (steps, 64), one coordinate always zero, and a point away from zero."""
    random = np.random.default_rng(seed)
    gradients = random.normal(size=(steps, 64)) * random.choice([0.01, 1.0, 10.0], size=64)
    gradients[:, 0] = 0.0
    x = random.uniform(1, 2, size=64) * random.choice([-1, 1], size=64)
    return gradients.astype(dtype), x.astype(dtype)


def optimizer_of(case: Case, x: Array) -> tuple[torch.optim.Optimizer, torch.nn.Parameter]:
    assert case.peer is not None
    parameter = torch.nn.Parameter(torch.tensor(x))
    return getattr(torch.optim, case.peer.name)([parameter], **case.peer.arguments), parameter


def assert_agrees(
    case: Case, gradients: Array, x: Array, state: dict[str, Any], t0: int, *, primed: bool
) -> None:
    """Follow the rule and torch side by side: every point and every state must agree."""
    assert case.peer is not None
    rule = rules.get(case.rule)
    hyper = rule.resolve(case.hyper)
    optimizer, parameter = optimizer_of(case, x)
    if primed:
        optimizer.state[parameter] = {"step": torch.tensor(float(t0))} | {
            theirs: torch.tensor(state[ours]) for theirs, ours in case.peer.state.items()
        }
    rtol, atol = (1e-12, 1e-14) if x.dtype == np.float64 else (1e-6, 1e-6)
    for k, g in enumerate(gradients, 1):
        parameter.grad = torch.tensor(g)
        optimizer.step()
        x, state = rule.advance(g, x, state, t=t0 + k, hyper=hyper)
        pairs = {"x": (x, parameter.detach())} | {
            ours: (state[ours], optimizer.state[parameter][theirs])
            for theirs, ours in case.peer.state.items()
        }
        for name, (actual, expected) in pairs.items():
            np.testing.assert_allclose(
                actual, expected, rtol=rtol * k, atol=atol * k, err_msg=f"{name}, step {k}"
            )


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", PEERS, ids=lambda case: case.id)
def test_twenty_steps_agree_with_torch_from_its_own_start(case: Case, dtype: str) -> None:
    assert case.peer is not None
    if "fresh" in case.peer.skip:
        pytest.skip(case.peer.skip["fresh"])
    gradients, x = draw(1, 20, dtype)
    rule = rules.get(case.rule)
    state = rule.first_state(x, rule.resolve(case.hyper))
    assert_agrees(case, gradients, x, state, 0, primed=False)


@pytest.mark.usefixtures("float64")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("t0", [0, 7, 10_000])
@pytest.mark.parametrize("case", PEERS, ids=lambda case: case.id)
def test_steps_agree_with_torch_from_a_state_in_mid_course(case: Case, t0: int, dtype: str) -> None:
    assert case.peer is not None
    if "primed" in case.peer.skip:
        pytest.skip(case.peer.skip["primed"])
    rule = rules.get(case.rule)
    hyper = rule.resolve(case.hyper)
    gradients, x = draw(2, 12, dtype)
    state = rule.first_state(x, hyper)
    if t0:
        for t, g in enumerate(gradients[:7], t0 - 6):
            x, state = rule.advance(g, x, state, t=t, hyper=hyper)
    assert_agrees(case, gradients[7:], x, state, t0, primed=True)


def test_the_table_has_every_rule() -> None:
    built_in = {n for n in rules.names() if rules.get(n).built_in}
    assert built_in == set(rules.__all__) - {"get", "names", "rule"}
    assert built_in - {*rules.names("matrices", "asking")} == {case.rule for case in CASES}
    assert len({case.id for case in CASES}) == len(CASES)
    for case in CASES:
        rules.get(case.rule).resolve(case.hyper)


# -- rules that torch does not have ------------------------------------------------------------

GRADIENTS = [1.0, -0.5, 0.25, 2.0, -3.0, 0.0, 0.125, 1.5]
# Computed with optax 0.2.8 in float64 from x = 1 over GRADIENTS: scale_by_yogi with
# initial_accumulator_value=0; adabelief with eps = eps_root; lion.
OPTAX = {
    "yogi": (
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.9, "eps": 1e-3},
        [0.9000999000999, 0.8741764333153085, 0.8402238516484349, 0.7799233077816675,
         0.789179337179401, 0.7969668917244542, 0.8021597200533273, 0.7908138990436527],
    ),
    "adabelief": (
        {"lr": 0.1, "beta1": 0.8, "beta2": 0.9, "eps": 0.01},
        [0.8850881839837461, 0.8632673888634379, 0.8321606280780776, 0.7514851424909641,
         0.7711698712708509, 0.7872308679518446, 0.7980727747620796, 0.7792502744073114],
    ),
    "lion": (
        {"lr": 0.1, "beta1": 0.9, "beta2": 0.6, "weight_decay": 0.5},
        [0.85, 0.7075, 0.572125, 0.44351874999999996,
         0.32134281249999996, 0.40527567187499997, 0.48501188828124997, 0.5607612938671875],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OPTAX)
def test_path_is_the_one_that_optax_takes(name: str) -> None:
    hyper, expected = OPTAX[name]
    points = path(Case(name, "optax", hyper), GRADIENTS, 1.0)
    np.testing.assert_allclose(points, expected, rtol=1e-14)


def test_rows_without_a_peer_have_another_oracle() -> None:
    others = {case.rule for case in CASES if case.peer is None}
    of_matrices = {*rules.names("matrices")}
    by_hand = {"adam_mini", "dowg"}  # test_sum_rules.py
    assert others == {*OPTAX, *by_hand, *json.loads(references.FILE.read_text())} - of_matrices


def test_yogi_second_moment_climbs_on_a_line_under_a_constant_gradient() -> None:
    # While v < g², v grows by (1 - beta2) g² a step, so v_t = t (1 - beta2) g² and m̂ = g.
    g, beta2, lr, eps, x = 3.0, 0.99, 0.1, 1e-3, 1.0
    for t, point in enumerate(path(Case("yogi", "", {"lr": lr, "beta2": beta2}), [g] * 50, x), 1):
        root = abs(g) * math.sqrt(t * (1 - beta2) / (1 - beta2**t))
        x -= lr * g / (root + eps)
        assert point == pytest.approx(x, rel=1e-12)


def test_yogi_second_moment_moves_by_the_square_of_the_gradient_at_most() -> None:
    yogi, random = rules.get("yogi"), np.random.default_rng(3)
    m = v = x = np.zeros(1000)
    for t in range(1, 50):
        g = random.normal(size=1000) * 10 ** random.uniform(-3, 3, size=1000)
        before = v
        x, m, v = yogi(g, x, m, v, t=t, beta2=0.9)
        np.testing.assert_allclose(np.abs(v - before), 0.1 * g * g, rtol=1e-6, atol=1e-9 * v.max())
        assert np.all(v >= 0)


def test_adabelief_scale_is_a_geometric_sum_under_a_constant_gradient() -> None:
    # m_t = (1 - beta1^t) g, so (g - m_t)² = beta1^(2t) g², and s_t is a sum of two geometric rows.
    g, x, lr, b1, b2, eps = 2.0, 1.0, 0.1, 0.8, 0.9, 1e-3
    case = Case("adabelief", "", {"lr": lr, "beta1": b1, "beta2": b2, "eps": eps})
    for t, point in enumerate(path(case, [g] * 30, x), 1):
        deviation = (1 - b2) * g**2 * b1**2 * (b2**t - b1 ** (2 * t)) / (b2 - b1**2)
        s_hat = deviation / (1 - b2**t) + eps / (1 - b2)
        x -= lr * g / (math.sqrt(s_hat) + eps)
        assert point == pytest.approx(x, rel=1e-12)


def test_lion_moves_every_coordinate_by_exactly_the_rate() -> None:
    gradients, x = draw(4, 30, "float64")
    points = [x, *path(Case("lion", "", {"lr": 2**-6}), gradients, x)]
    moved = np.abs(np.diff(points, axis=0))
    np.testing.assert_allclose(moved[:, 1:], 2**-6, rtol=1e-12)
    assert not moved[:, 0].any()  # the gradient that is always zero


@pytest.mark.parametrize(("share", "turns"), [(0.999, False), (1.001, True)])
def test_lion_turns_when_the_gradient_outweighs_its_momentum(share: float, turns: bool) -> None:  # noqa: FBT001 - a row of the table
    # After n gradients of 1, m = 1 - beta2^n; a gradient of -a turns the step iff
    # (1 - beta1) a > beta1 m.
    n, beta1, beta2 = 12, 0.9, 0.8
    a = share * beta1 * (1 - beta2**n) / (1 - beta1)
    case = Case("lion", "", {"lr": 1.0, "beta1": beta1, "beta2": beta2})
    *_, before, after = path(case, [1.0] * n + [-a], 0.0)
    assert after - before == (1.0 if turns else -1.0)


def test_lion_with_decay_shrinks_towards_minus_one_over_the_decay() -> None:
    # Under a constant gradient x + 1/w shrinks by the factor 1 - lr w a step.
    lr, w = 0.05, 0.5
    points = path(Case("lion", "", {"lr": lr, "weight_decay": w}), [0.3] * 40, 1.0)
    expected = (1.0 + 1 / w) * (1 - lr * w) ** np.arange(1, 41) - 1 / w
    np.testing.assert_allclose(points, expected, rtol=1e-12, atol=1e-14)


def test_the_centered_variance_stays_a_number_under_a_constant_gradient() -> None:
    # s - m² falls to 0 and rounds to either side of it; torch's turns NaN by step 200.
    g = np.random.default_rng(8).normal(size=1000).astype("float32")
    points = path(Case("centered_rmsprop", "", {"gamma": 0.9}), [g] * 300, 0 * g)
    assert np.isfinite(points[-1]).all()


def test_adopt_rests_first_and_clips_its_next_step_at_one() -> None:
    x = np.array([1.0, -2.0, 3.0])
    tiny, large = np.full(3, 1e-3), np.array([5.0, -0.5, 1e3])
    first, second = path(Case("adopt", "", {"lr": 0.1, "beta1": 0.0}), [tiny, large], x)
    np.testing.assert_array_equal(first, x)
    np.testing.assert_allclose(second, x - 0.1 * np.sign(large), rtol=1e-15)


# -- relations between rules -------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.99])
def test_averaged_momentum_is_momentum_at_the_rate_times_one_minus_beta(beta: float) -> None:
    gradients, x = draw(5, 50, "float64")
    averaged = Case("averaged_momentum", "", {"lr": 0.01 / (1 - beta), "beta": beta})
    plain = Case("momentum", "", {"lr": 0.01, "beta": beta})
    np.testing.assert_allclose(path(averaged, gradients, x), path(plain, gradients, x), rtol=1e-11)


def test_nesterov_is_the_gradient_at_the_look_ahead_point() -> None:
    Q, lr, beta = np.diag([0.2, 1.0, 4.0]), 0.1, 0.8
    nesterov = rules.get("nesterov")
    paper_x, paper_v = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    ours_x, ours_v = paper_x, paper_v
    for t in range(1, 40):
        paper_v = beta * paper_v + Q @ (paper_x - lr * beta * paper_v)
        paper_x = paper_x - lr * paper_v
        ours_x, ours_v = nesterov(Q @ ours_x, ours_x, ours_v, t=t, lr=lr, beta=beta)
        np.testing.assert_allclose(ours_x, paper_x - lr * beta * paper_v, rtol=1e-11, atol=1e-14)


# -- floats, arrays, tensors -------------------------------------------------------------------

KINDS: dict[str, Callable[[Array], Any]] = {
    "float": lambda a: a.tolist(),
    "numpy scalar": lambda a: np.float32(a) if a.ndim == 0 else a.astype("float32"),
    "float32 array": lambda a: a.astype("float32").reshape(*a.shape, 1),
    "float64 array": lambda a: a.reshape(*a.shape, 1),
    "float32 tensor": lambda a: torch.tensor(a, dtype=torch.float32),
    "float64 tensor": lambda a: torch.tensor(a, dtype=torch.float64),
}


@pytest.mark.parametrize("kind", KINDS)
@every_case
def test_floats_arrays_and_tensors_take_the_same_path_and_keep_their_type(
    case: Case, kind: str
) -> None:
    gradients, x = np.random.default_rng(6).normal(size=20), np.array(1.5)
    expected = path(case, gradients[:, None], x.reshape(1))
    like = KINDS[kind](x)
    points = path(case, KINDS[kind](gradients), like)
    for point in points:
        assert type(point) is type(like)
        assert getattr(point, "dtype", None) == getattr(like, "dtype", None)
    wide = kind in {"float", "float64 array", "float64 tensor"}
    rtol, atol = (1e-12, 0.0) if wide else (1e-5, 1e-6)  # some points are near 0
    rtol = max(rtol, 1e-4) if rules.get(case.rule).joint else rtol  # x - x0 loses digits
    found = np.ravel([np.asarray(p) for p in points])
    np.testing.assert_allclose(found, np.ravel(expected), rtol=rtol, atol=atol)


@every_case
def test_a_step_leaves_its_inputs_as_they_were(case: Case) -> None:
    gradients, x = draw(7, 3, "float64")
    kept = gradients.copy(), x.copy()
    path(case, gradients, x)
    np.testing.assert_array_equal(gradients, kept[0])
    np.testing.assert_array_equal(x, kept[1])


# -- what is refused ---------------------------------------------------------------------------

REFUSALS = [(name, hyper) for name in rules.names() for hyper in rules.get(name).hyperparameters]


def test_every_hyperparameter_has_a_refused_value() -> None:
    assert {hyper for _, hyper in REFUSALS} == set(REFUSED) == set(RANGES)


@pytest.mark.parametrize(("name", "hyper"), REFUSALS)
def test_a_value_out_of_range_is_refused_with_its_bound(name: str, hyper: str) -> None:
    rule, (value, message) = rules.get(name), REFUSED[hyper]
    for bad, text in [
        (value, message),
        (math.nan, f"{hyper} must be finite, got nan"),
        (math.inf, f"{hyper} must be finite, got inf"),
    ]:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
            rule.resolve({hyper: bad})
        assert str(refusal.value) == text
    with pytest.raises(TypeError) as not_a_number:
        rule.resolve({hyper: "fast"})
    assert str(not_a_number.value) == f"{hyper} must be a number, got 'fast'"


@pytest.mark.parametrize("name", rules.names())
def test_the_ends_of_the_range_are_accepted_where_they_belong_to_it(name: str) -> None:
    for hyper in rules.get(name).hyperparameters.values():
        assert hyper.check(hyper.default) == hyper.default
        if hyper.range.ends[0] == "[":
            assert hyper.check(hyper.range.low) == hyper.range.low


def test_resolve_fills_in_the_defaults() -> None:
    resolved = rules.get("adam").resolve({"beta2": np.float32(0.5)})
    assert resolved == {"lr": 1e-3, "beta1": 0.9, "beta2": 0.5, "eps": 1e-8}
    assert all(type(value) is float for value in resolved.values())


def test_an_unknown_hyperparameter_is_refused_with_those_there_are() -> None:
    with pytest.raises(TypeError) as refusal:
        rules.get("momentum").resolve({"momentum": 0.9})
    assert str(refusal.value) == (
        "rule 'momentum' has no hyperparameter 'momentum'; it has: lr, beta"
    )


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("adma", "unknown rule 'adma'; did you mean adamax, adan, adam?"),
        ("nestrov", "unknown rule 'nestrov'; did you mean nesterov?"),
        (
            "averaged(newton)",
            (
                "rule 'newton' needs the Hessian of a problem or a search along a line: thalweg "
                "trace and thalweg.descend alone take it, without a wrapper"
            ),
        ),
        ("zzz", f"unknown rule 'zzz'; the rules are: {', '.join(rules.names())}"),
    ],
)
def test_an_unknown_rule_is_refused_with_the_closest_ones(name: str, message: str) -> None:
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        rules.get(name)
    assert str(refusal.value) == message


# -- a user's own rule -------------------------------------------------------------------------


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the rules that a test declares."""
    rules.names()
    module = __import__("thalweg.rule", fromlist=["_rules"])
    monkeypatch.setattr(module, "_rules", dict(module._rules))


@pytest.mark.usefixtures("registry")
def test_a_users_rule_is_read_from_its_signature() -> None:
    @rules.rule(
        "a notebook", start={"scale": "lr", "total": 2}, ranges={"width": Range(1, 3, "[]")}
    )
    def mine(g, x, scale, *, t, total, lr=0.5, width=2, shift=0):  # noqa: ANN001, ANN202
        return x - scale * sign(g) + shift, scale, total * width

    assert rules.get("mine") is rules.get(mine) is mine
    assert rules.names()[-1] == "mine"
    assert (mine.name, mine.source, mine.state, mine.uniform_state) == (
        "mine", "a notebook", ("scale",), ("total",),
    )  # fmt: skip
    assert mine.defaults == {"lr": 0.5, "width": 2.0, "shift": 0.0}
    assert [mine.start_of(name, mine.defaults) for name in ("scale", "total")] == [0.5, 2]
    assert mine(3.0, 1.0, 0.5, t=1, total=2.0) == (0.5, 0.5, 4.0)
    for hyper, message in [
        ({"width": 4}, "width must be in [1, 3], got 4"),
        ({"shift": math.nan}, "shift must be finite, got nan"),
        ({"lr": 0}, "lr must be > 0, got 0"),
    ]:
        with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
            mine.resolve(hyper)
        assert str(refusal.value) == message


@pytest.mark.usefixtures("registry")
def test_a_users_rule_may_be_declared_again_but_a_built_in_one_may_not() -> None:
    def mine(g, x, *, t, lr=0.5):  # noqa: ANN001, ANN202
        return x - lr * g

    first, second = rules.rule("first")(mine), rules.rule("second")(mine)
    assert rules.get("mine") is second is not first

    def adam(g, x, *, t, lr=0.5):  # noqa: ANN001, ANN202
        return x - lr * g

    with pytest.raises(TypeError) as refusal:
        rules.rule("mine")(adam)
    assert str(refusal.value) == (
        "a rule 'adam' exists already in thalweg.rules; give yours another name"
    )
    assert rules.get("adam").source == "Kingma & Ba 2015, Algorithm 1"


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("registry")
def test_a_users_rule_may_not_be_called_like_a_second_order_method(method: str) -> None:
    def mine(g, x, *, t, lr=0.5):  # noqa: ANN001, ANN202
        return x - lr * g

    mine.__name__ = method
    with pytest.raises(TypeError) as refusal:
        rules.rule("mine")(mine)
    assert str(refusal.value) == (
        f"a rule {method!r} exists already in thalweg.second_order; give yours another name"
    )
    assert method not in rules.names()


@pytest.mark.parametrize(
    ("state", "returned", "message"),
    [
        ("m, ", "x, m, m", "rule 'mine' must return 2 values, x, m, and returns 3"),
        ("m, ", "x", "rule 'mine' must return 2 values, x, m, and returns 1"),
        ("", "x, x", "rule 'mine' must return one value, x, and returns 2"),
    ],
)
@pytest.mark.usefixtures("registry")
def test_a_rule_that_returns_other_values_than_it_declares_is_refused(
    state: str, returned: str, message: str
) -> None:
    scope: dict[str, Any] = {}
    exec(f"def mine(g, x, {state}*, t, lr=0.5): return {returned}", scope)  # noqa: S102 - see above
    mine = rules.rule("a test")(scope["mine"])
    x = np.array([1.0, 2.0])  # as long as x and m together
    with pytest.raises(ValueError) as refusal:  # noqa: PT011 - the whole message is compared
        mine.advance(x, x, mine.first_state(x, mine.defaults), t=1, hyper=mine.defaults)
    assert str(refusal.value) == f"<string>, line 1: {message}"


START = (
    "rule 'mine': start={} must map a state to a number, to the name of a hyperparameter, or a "
    "varying state to 'x'"
)
FORM = "rule 'mine' must have the signature (g, x, <state>, *, t, <hyper>=...)"


@pytest.mark.parametrize(
    ("signature", "start", "message"),
    [
        ("x, g, *, t, lr=1.0", {}, FORM),
        ("g, *, t, lr=1.0", {}, FORM),
        ("g, x, *state, t, lr=1.0", {}, FORM),
        ("g, x, *, t, lr=1.0, **more", {}, FORM),
        ("g, x, /, *, t, lr=1.0", {}, FORM),
        (
            "g, x, m, *, lr=1.0",
            {},
            "rule 'mine' must take the step t as a keyword: (g, x, ..., *, t, ...)",
        ),
        (
            "g, x, m, *, t, lr=1.0",
            {"v": 1.0},
            START.format("{'v': 1.0}"),
        ),
        (
            "g, x, m, *, t, lr=1.0",
            {"m": "rate"},
            START.format("{'m': 'rate'}"),
        ),
        (
            "g, x, *, t, lr=None",
            {},
            "rule 'mine': the default of lr must be a number, got None",
        ),
    ],
)
@pytest.mark.usefixtures("registry")
def test_a_signature_that_declares_no_rule_is_refused(
    signature: str, start: dict[str, float | str], message: str
) -> None:
    scope: dict[str, Any] = {}
    exec(f"def mine({signature}): return x", scope)  # noqa: S102 - the signatures above
    with pytest.raises(TypeError) as refusal:
        rules.rule("a test", start=start)(scope["mine"])
    assert str(refusal.value) == message
    assert "mine" not in rules.names()


def test_a_rule_has_a_name() -> None:
    with pytest.raises(TypeError, match="a rule must be a function that def declares, got <lamb"):
        rules.rule("a test")(lambda g, x, *, t, lr=0.1: x - lr * g / t)


def test_ranges_say_what_they_are() -> None:
    cases = [
        (Range(), "finite", [0.0, -1e300], []),
        (Range(0.0), "> 0", [1e-300], [0.0, -1.0]),
        (Range(0.0, ends="[)"), ">= 0", [0.0], [-1e-300]),
        (Range(0.0, 1.0, "(]"), "in (0, 1]", [1.0], [0.0, 1.5]),
    ]
    for bounds, text, inside, outside in cases:
        assert str(bounds) == text
        assert all(value in bounds for value in inside)
        assert not any(value in bounds for value in outside)
    assert Hyperparameter("lr", 0.1, Range(0.0)).check(np.float64(0.5)) == 0.5
