"""Comparisons with the best, against closed forms, SciPy's multivariate t and planted truths."""

import math

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from thalweg.racing import comparison
from thalweg.racing.comparison import AS_GOOD, OVERLAP, UNDECIDED, WORSE, compare

MANY = 10**9  # rows, so many that one more changes nothing


def logarithms(*rows: list[float]) -> NDArray[np.float64]:
    return np.exp(np.array(rows))


def test_two_rules_have_students_interval_of_their_paired_difference() -> None:
    x = np.random.default_rng(1).normal([[0.0], [0.3]], 0.1, (2, 9))
    apart = x[1] - x[0]
    half = stats.t.ppf(0.975, 8) * apart.std(ddof=1) * math.sqrt(1 / 9 + OVERLAP)
    found = compare(np.exp(x), rows=MANY, constant=1.0)
    assert found.winner == 0
    assert not found.could_be_best[1]
    expected = np.expm1([apart.mean() - half, apart.mean() + half])
    np.testing.assert_allclose([found.low[1], found.high[1]], expected, rtol=0.05)
    np.testing.assert_allclose(found.price, [0.0, np.expm1(apart.mean())], atol=1e-9)


def test_the_largest_t_is_that_of_the_multivariate_t() -> None:
    x = np.random.default_rng(2).normal(size=(3, 7)) + np.random.default_rng(3).normal(size=7)
    correlation = np.corrcoef(x)
    c = np.full(3, comparison._largest_t(x, 6))
    covered = stats.multivariate_t(shape=correlation, df=6, seed=0).cdf(c, lower_limit=-c)
    assert covered == pytest.approx(0.95, abs=0.006)


def test_equal_rules_could_all_be_best_and_cost_nothing() -> None:
    same = [1.0, 3.0, 2.0]
    found = compare([same, same, same], rows=MANY, constant=5.0)
    assert found.could_be_best.all()
    assert found.high.tolist() == [0.0, 0.0, 0.0]
    assert found.probability.tolist() == [0.5, 0.5, 0.5]
    assert found.states(0.0) == [AS_GOOD] * 3
    assert found.repeats_needed(0.05).tolist() == [2.0, 2.0, 2.0]


def test_a_rule_is_compared_with_every_rule_that_could_be_best() -> None:
    """Two rules take turns: either may be the best, so the third's price reaches over both."""
    noise = np.random.default_rng(4).normal(0, 0.02, (3, 8))
    turns = 0.3 * np.array([1, -1] * 4)
    x = np.add(noise, [turns, -turns, 0.9 + turns])
    found = compare(np.exp(x), rows=MANY, constant=9.0)
    assert found.could_be_best.tolist() == [True, True, False]
    alone = compare(np.exp(x[[0, 2]]), rows=MANY, constant=9.0)
    assert found.low[2] < alone.low[1]
    assert found.high[2] > alone.high[1]


def uneven(random: np.random.Generator, shape: tuple[int, int], kind: str) -> NDArray[np.float64]:
    """Return luck of variance 1, each rule's in a row."""
    if kind == "heavy tails":
        return random.standard_t(3, shape) / math.sqrt(3)
    if kind == "skew":
        return random.exponential(size=shape) - 1
    own = random.normal(size=shape)
    if kind == "correlated":  # three families, whose rules have most of their luck in common
        family = random.normal(size=(3, shape[1]))[np.arange(shape[0]) % 3]
        return math.sqrt(0.7) * family + math.sqrt(0.3) * own
    return own


@pytest.mark.parametrize(
    ("rules", "kind"),
    [(2, "normal"), (6, "heavy tails"), (6, "skew"), (6, "correlated")],
)
def test_statements_hold_at_once_in_95_of_100_races(
    rules: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Half of the rules are equal, and each rule's luck has a size of its own."""
    monkeypatch.setattr(comparison, "_DRAWS", 1000)
    random = np.random.default_rng(5)
    price = np.maximum(np.linspace(-0.2, 0.2, rules), 0)
    held, best, races = 0, 0, 200
    for _ in range(races):
        size = 0.1 * np.exp(random.normal(0, 0.3, (rules, 1)))
        shared = random.normal(0, math.sqrt(OVERLAP), (rules, 1))  # they share their rows
        own = shared + uneven(random, (rules, 8), kind)
        x = price[:, None] + size * own + random.normal(0, 0.3, 8)
        found = compare(np.exp(x), rows=MANY, constant=1.0)
        true = np.expm1(price)
        held += bool(((found.low <= true) & (true <= found.high)).all())
        best += bool(found.could_be_best[0])
    assert min(held, best) / races >= 0.93


def test_variances_are_drawn_towards_the_usual_one_as_far_as_they_tell_of_it() -> None:
    """Of the least measured ones too the mean of 1/σ² is then what it truly is."""
    random, free, prior, many = np.random.default_rng(8), 5, 3.0, 4000
    true = prior / random.chisquare(prior, many)
    measured = true * random.chisquare(free, many) / free
    variances, told = comparison._moderated(measured, free)
    assert told == pytest.approx(free + prior, abs=0.3)
    least = np.argsort(measured)[: many // 10]
    assert np.mean(variances[least] / true[least]) == pytest.approx(1, abs=0.1)
    assert np.mean(measured[least] / true[least]) < 0.6


def test_equal_variances_are_worth_twice_the_repeats_and_one_alone_is_kept() -> None:
    drawn = np.random.default_rng(9).chisquare(9, 500) / 9
    variances, told = comparison._moderated(drawn, 9)
    assert told == 18
    np.testing.assert_allclose(variances, (1 + drawn) / 2, rtol=0.03)
    for few in ([0.0, 0.3], [0.3]):
        variances, told = comparison._moderated(np.array(few), 9)
        assert (variances.tolist(), told) == (few, 9)


def test_only_differences_in_pairs_count() -> None:
    apart = [[0.00, 0.01, 0.02, 0.01], [0.10, 0.12, 0.11, 0.13]]
    alike = compare(logarithms(*apart), rows=MANY, constant=1.0)
    uneven = np.add(apart, [-3.0, 0.0, 3.0, 1.0])
    np.testing.assert_allclose(compare(np.exp(uneven), rows=MANY, constant=1.0).high, alike.high)
    assert alike.states(0.05)[1] == WORSE


def test_losses_below_zero_are_compared_as_they_are() -> None:
    losses = np.array([[-2.0, -2.1, -1.9, -2.0], [-1.0, -1.1, -0.9, -1.05]])
    found = compare(losses, rows=MANY, constant=0.0)
    assert found.winner == 0
    assert found.price[1] == pytest.approx(0.9875 / 1.0125, rel=0.2)
    assert (found.loss_low <= found.loss).all()
    np.testing.assert_allclose(found.loss, losses.mean(axis=1))


def test_a_diverged_training_counts_as_the_best_constant() -> None:
    good = [0.1, 0.11, 0.1, 0.12]
    diverged = compare([good, [0.1, np.inf, np.nan, 0.1]], rows=100, constant=2.0)
    constant = compare([good, [0.1, 2.0, 2.0, 0.1]], rows=100, constant=2.0)
    np.testing.assert_array_equal(diverged.high, constant.high)


def test_a_rule_that_always_diverged_is_neither_the_winner_nor_could_be_best() -> None:
    """Where nothing can be learned, the best constant output, as which it counts, is the best."""
    lost, overfit = [np.nan, np.inf, 1e200, np.nan], [2.1, 2.2, 2.15, 2.1]
    found = compare([lost, overfit], rows=100, constant=2.0)
    assert found.winner == 1
    assert found.could_be_best.tolist() == [False, True]
    assert found.states(0.5) == [WORSE, AS_GOOD]
    assert found.high[1] == 0
    assert (found.price >= 0).all()


def test_one_row_more_keeps_losses_near_zero_apart_from_nonsense() -> None:
    near = [[1e-9, 1e-3, 1e-6, 1e-4], [1e-5, 1e-3, 1e-9, 1e-5]]
    found = compare(near, rows=30, constant=1.0)
    assert found.high.max() < 0.2
    assert compare(near, rows=MANY, constant=1e-9).high.max() > 1e3


def test_more_repeats_are_needed_for_smaller_differences_and_rows_for_the_smallest() -> None:
    noise = np.random.default_rng(6).normal(0, 0.05, (2, 6))
    needed = [
        compare(np.exp(np.add(noise, [[0.0], [gap]])), rows=MANY, constant=1.0).repeats_needed(0.0)[
            1
        ]
        for gap in (0.5, 0.2, 0.01)
    ]
    assert needed[0] <= needed[1] < needed[2]
    assert math.isinf(needed[2])


def test_repeats_needed_are_the_fewest_whose_interval_leaves_zero_out() -> None:
    noise = np.random.default_rng(6).normal(0, 0.05, (2, 12))
    found = compare(np.exp(np.add(noise, [[0.0], [0.07]])), rows=MANY, constant=1.0)
    low, high = np.log1p([found.low[1], found.high[1]])
    assert low > 0  # so that both ends are those of the interval
    gap, half = (low + high) / 2, (high - low) / 2

    def at(repeats: float) -> float:  # of two rules the largest |t| is Student's own
        points = stats.t.ppf(0.975, [repeats - 1, 11])
        return half * points[0] / points[1] * np.sqrt((1 / repeats + OVERLAP) / (1 / 12 + OVERLAP))

    needed = found.repeats_needed(0.0)[1]
    assert 2 < needed <= 12
    assert at(needed) <= gap < at(needed - 1)


def test_two_repeats_need_no_more_than_tell_the_same_rules_apart_later() -> None:
    """Of two repeats the interval is wide because the spread is hardly known, not because it is."""
    noise = np.random.default_rng(4).normal(0, 0.05, (2, 40))
    losses = np.exp(np.add(noise, [[0.0], [0.3]]))
    early = [compare(losses[:, k : k + 2], rows=MANY, constant=1.0) for k in range(0, 40, 2)]
    needed = [found.repeats_needed(0.0)[1] for found in early]
    assert np.median(needed) <= 4
    assert compare(losses[:, :4], rows=MANY, constant=1.0).low[1] > 0


def test_states_follow_the_margin() -> None:
    noise = np.random.default_rng(7).normal(0, 0.01, (2, 12))
    found = compare(np.exp(np.add(noise, [[0.0], [0.03]])), rows=MANY, constant=1.0)
    assert found.states(0.2) == [AS_GOOD, AS_GOOD]
    assert found.states(0.0)[1] in {WORSE, UNDECIDED}


def test_one_repeat_is_refused() -> None:
    with pytest.raises(ValueError, match=r"two repeats or more, got shape \(2, 1\)"):
        compare([[1.0], [2.0]], rows=10, constant=1.0)
