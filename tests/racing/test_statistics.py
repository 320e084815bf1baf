"""Epochs to a target and sensitivity, by hand."""

import numpy as np
import pytest

from thalweg.racing.statistics import epochs_to, middle, sensitivity


def test_the_middle_of_what_was_never_reached_is_nothing() -> None:
    assert middle([3, None, 1]) == 3
    assert middle([None, 2, None]) is None
    assert middle([1, None]) is None  # half of them are not enough
    assert middle([0]) == 0


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
