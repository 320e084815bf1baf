import numpy as np
import pytest
from scipy import stats

from thalweg.racing.statistics import difference, epochs_to, median_interval, sensitivity


def test_median_interval_agrees_with_the_order_statistics() -> None:
    # The bootstrap distribution of the median of n = 21 distinct values is known exactly: the
    # median of a resample is at most the k-th value iff at least 11 of 21 draws are, Bin(21, k/21).
    values = np.random.default_rng(0).normal(size=21)
    at_most = stats.binom.sf(10, 21, np.arange(1, 22) / 21)
    low, high = (np.sort(values)[np.searchsorted(at_most, q)] for q in (0.025, 0.975))
    found = median_interval(values)
    assert found.median == np.median(values)
    assert (found.low, found.high) == (low, high)


def test_interval_covers_the_median_as_often_as_it_says() -> None:
    rng = np.random.default_rng(1)
    covered = sum(0.0 in median_interval(rng.normal(size=20)) for _ in range(100))
    assert 88 <= covered <= 100  # Bin(100, 0.95) lies there with probability 0.996


@pytest.mark.parametrize("seeds", [2, 3, 5, 8])
def test_few_values_have_student_s_interval(seeds: int) -> None:
    values = np.random.default_rng(seeds).normal(size=seeds)
    found = median_interval(values)
    by_scipy = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert found.median == np.median(values)
    assert (found.low, found.high) == pytest.approx((by_scipy.low, by_scipy.high))
    assert found.median in found
    same = median_interval(np.full(seeds, 3.0))
    assert (same.median, same.low, same.high) == (3, 3, 3)


@pytest.mark.parametrize("seeds", [2, 3, 4, 5, 6, 7, 8, 9])
def test_interval_of_few_values_covers_the_median_as_often_as_it_says(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    covered = sum(0.0 in median_interval(rng.normal(size=seeds)) for _ in range(200))
    assert covered >= 180  # Bin(200, 0.95) is below with probability 0.0015


def test_diverged_runs_count_as_the_worst() -> None:
    found = median_interval([1.0, 2.0, np.nan, np.inf, 3.0])
    assert found.median == 3.0
    assert found.low == 1.0
    assert found.high == np.inf
    assert median_interval([np.inf, np.inf, 1.0]).median == np.inf


def test_difference_is_paired() -> None:
    rng = np.random.default_rng(2)
    seeds = 10 * rng.normal(size=20)  # luck of the seed, shared by both
    winner, other = seeds + 0.01 * rng.normal(size=20), seeds + 1 + 0.01 * rng.normal(size=20)
    found = difference(other, winner)
    assert found.low == pytest.approx(1, abs=0.1)
    assert 0 not in found
    assert 0 in difference(winner, winner)
    backwards = difference(np.arange(20.0)[::-1], np.arange(20.0))  # the same values, other seeds
    assert backwards.low < -5
    assert backwards.high > 5


def test_a_difference_has_the_luck_of_the_search_in_its_interval() -> None:
    winner = np.full(20, 2.0)
    found = difference(winner + 0.1, winner)  # without any noise, 0.6 % of the loss is left
    assert found.median == pytest.approx(0.1)
    assert (found.low, found.high) == pytest.approx(
        (0.1 - 1.96 * 0.012, 0.1 + 1.96 * 0.012), abs=1e-5
    )
    assert 0 in difference(winner + 0.023, winner)
    assert 0 not in difference(winner + 0.024, winner)
    noise = stats.norm.ppf((np.arange(20) + 0.5) / 20)  # of deviation 1, whatever the loss
    wide, seeds = difference(0.3 + noise, np.zeros(20)), median_interval(0.3 + noise)
    deviation = stats.median_abs_deviation(noise, scale="normal")
    assert deviation == pytest.approx(1, abs=0.05)
    luck = 1.96 * 0.4 * deviation
    assert (wide.median - wide.low) ** 2 == pytest.approx(
        (seeds.median - seeds.low) ** 2 + luck**2, rel=1e-3
    )
    assert (wide.high - wide.median) ** 2 == pytest.approx(
        (seeds.high - seeds.median) ** 2 + luck**2, rel=1e-3
    )
    assert difference(winner - 5, winner - 4).low == pytest.approx(-1 - 1.96 * 0.012, abs=1e-5)


def _worse(rules: int, seeds: int, rng: np.random.Generator) -> bool:
    """Race equal rules, each with its search's luck, drawn; return whether one is called worse."""
    own = 0.01
    luck = np.hypot(0.006, 0.4 * np.sqrt(2) * own) / np.sqrt(2)  # of one rule, not of a pair
    losses = 1 + luck * rng.normal(size=(rules, 1)) + own * rng.normal(size=(rules, seeds))
    ranked = sorted(losses, key=np.median)
    return any(0 not in difference(row, ranked[0], rules) for row in ranked[1:])


@pytest.mark.parametrize("seeds", [4, 20])
def test_of_equal_rules_none_is_called_worse(seeds: int) -> None:
    rng = np.random.default_rng(3)
    assert sum(_worse(8, seeds, rng) for _ in range(40)) <= 6  # Bin(40, 0.05): with 0.997


def test_a_difference_is_widened_for_the_pairs_that_might_have_been_compared() -> None:
    rng = np.random.default_rng(4)
    winner, other = rng.normal(size=20), 1 + rng.normal(size=20)
    two, twenty = difference(other, winner, 2), difference(other, winner, 20)
    assert two == difference(other, winner)
    one, all_pairs = (stats.t.ppf(1 - 0.05 / (2 * pairs), 19) for pairs in (1, 190))
    assert twenty.median == two.median
    assert twenty.median - twenty.low == pytest.approx(all_pairs / one * (two.median - two.low))
    assert twenty.high - twenty.median == pytest.approx(all_pairs / one * (two.high - two.median))


def test_difference_of_diverged_runs() -> None:
    found = difference([np.inf, np.nan, np.inf], [np.inf, np.inf, np.nan])
    assert (found.median, found.low, found.high) == (0, 0, 0)
    assert difference([np.inf] * 3, [1.0] * 3).median == np.inf
    assert 0 not in difference([np.inf] * 3, [1.0] * 3, 20)
    assert 0 not in difference([1.1, np.inf], [1.0, 1.0])


def test_epochs_to_target_is_null_unless_more_than_half_get_there() -> None:
    curves = np.array([[9, 9, 9, 9], [1, 9, 9, 9], [5, 1, 9, 9], [5, 1, 1, 9]], float)
    assert epochs_to(1.0, curves) == 3
    assert epochs_to(1.0, curves[:3]) is None  # a half: their median never gets there
    assert epochs_to(1.0, curves[:, :2]) == 2
    assert epochs_to(1.0, curves[:, :3]) == 2
    assert epochs_to(1.0, curves[:, 2:]) is None
    assert epochs_to(1.0, curves[:, 3:]) is None
    assert epochs_to(1.0, curves[:3, 1:]) is None
    assert epochs_to(9.0, curves) == 0
    assert epochs_to(1.0, np.full((3, 2), np.nan)) is None


def test_sensitivity_by_hand() -> None:
    found = sensitivity(
        losses=[1.0, 1.05, 1.051, np.inf, 1.02],
        diverged=[False, False, True, True, False],
        rates=[0.1, 1.0, 100.0, 1000.0, 0.01],
        chosen=0,
        spread=4,
    )
    assert found.within_5_percent == 0.5
    assert found.diverged == 0.5
    assert found.good_lr == (0.01, 1.0)
    assert found.good_lr_decades == pytest.approx(2)


def test_sensitivity_is_measured_by_the_chosen_trial_and_not_by_a_lucky_one() -> None:
    found = sensitivity([1.0, 0.01, 1.04, 2.0], [False] * 4, [0.1, 50.0, 0.2, 1.0], 0, 4)
    assert found.within_5_percent == 0.75
    assert found.good_lr == (0.1, 50.0)


def test_sensitivity_of_losses_below_zero() -> None:
    found = sensitivity([-2.0, -1.91, -1.89, -2.5], [False] * 4, [0.1, 1.0, 10.0, 0.01], 0, 4)
    assert found.within_5_percent == 0.75
    assert found.good_lr == (0.01, 1.0)


def test_sensitivity_where_nothing_works_or_there_is_no_rate() -> None:
    nothing = sensitivity([np.inf, np.inf], [True, True], [0.1, 1.0], 0, 2)
    assert (nothing.within_5_percent, nothing.good_lr, nothing.good_lr_decades) == (0, None, 0)
    chosen = sensitivity([np.inf, 1.0, 100.0], [True, False, False], [0.1, 1.0, 10.0], 0, 3)
    assert (chosen.within_5_percent, chosen.good_lr) == (0, None)
    assert sensitivity([1.0, 2.0], [False, False], [np.nan, np.nan], 0, 2).good_lr is None
