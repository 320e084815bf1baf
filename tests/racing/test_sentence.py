"""What a verdict says in words."""

import math
from typing import Any

import pytest

from thalweg.racing.sentence import decide, sentence


def row(rule: str, state: str, low: float, high: float, **given: Any) -> dict[str, Any]:
    usual = {"hyper": {"lr": 0.012}, "schedule": "constant", "batch_size": 32, "repeats_needed": 40}
    usual["test_losses"] = [1.0] * 5
    price = {"price": {"low": low, "high": high}}
    return {"rule": rule, "state": state, **usual, **price, **given}


def test_a_familiar_rule_is_taken_if_it_is_sure_to_cost_hardly_more() -> None:
    rows = [row("yogi", "as good", 0.0, 0.01), row("adam", "as good", 0.0, 0.04)]
    assert decide(rows, "yogi", 0.05) == "adam"
    assert decide(rows, "yogi", 0.01) == "yogi"
    assert (
        decide([row("yogi", "undecided", 0.0, 0.3), row("sgd", "worse", 0.2, 0.9)], "yogi", 0.05)
        == "yogi"
    )


def test_bounds_that_help_nobody_do_not_choose_a_familiar_rule() -> None:
    rows = [row("lion", "undecided", 0.0, 90.0), row("sgd", "undecided", 0.0, 20.0)]
    assert decide(rows, "lion", 0.05) == "lion"


def test_the_only_rule_that_could_be_best_is_said_to_be_so() -> None:
    rows = [row("adam", "as good", 0.0, 0.0), row("sgd", "worse", 0.5, 0.9)]
    assert sentence(rows, "adam", 0.05) == (
        "Take adam, lr 0.012, batch 32: no other rule is as good, with 95 % confidence; sgd is 50 "
        "to 90 % worse."
    )


def test_it_says_what_to_take_what_is_as_good_and_what_the_others_cost() -> None:
    rows = [
        row("adam", "as good", 0.0, 0.021),
        row("yogi", "as good", 0.0, 0.03),
        row("nadam", "as good", 0.0, 0.05),
        row("sgd", "worse", 0.12, 0.31),
    ]
    assert sentence(rows, "adam", 0.05) == (
        "Take adam, lr 0.012, batch 32: it is at most 2.1 % worse than the best, with 95 % "
        "confidence; yogi and nadam are as good; sgd is 12 to 31 % worse."
    )


def test_where_all_are_as_good_any_will_do() -> None:
    rows = [row("adam", "as good", 0.0, 0.02), row("sgd", "as good", 0.0, 0.05)]
    assert sentence(rows, "adam", 0.05) == (
        "Any of these 2 rules will do: none is more than 5% worse than the best, with 95 % "
        "confidence. Take adam, lr 0.012, batch 32."
    ).replace("5%", "5 %")
    assert "none is more than 0.5 % worse than" in sentence(rows, "adam", 0.005)


@pytest.mark.parametrize(
    ("needed", "remedy"),
    [
        (40.0, "some 40 repeats would"),
        (900.0, "more rows or more trials might"),
        (math.inf, "more rows or more trials might"),
    ],
)
def test_what_could_not_be_told_is_said_with_what_would_tell(needed: float, remedy: str) -> None:
    rows = [
        row("adam", "undecided", 0.0, 0.3),
        row("lion", "undecided", 0.0, 0.5, repeats_needed=needed),
    ]
    assert sentence(rows, "adam", 0.05) == (
        "Take adam, lr 0.012, batch 32: it is at most 30 % worse than the best, with 95 % "
        f"confidence; the race cannot tell any two rules apart; {remedy}."
    )
    rows.append(row("rprop", "worse", 0.5, 1.2))
    assert sentence(rows, "adam", 0.05).endswith(
        f"; rprop is 50 to 120 % worse; the race cannot tell lion from it; {remedy}."
    )


def test_a_race_of_few_repeats_is_told_that_more_might_help() -> None:
    few = {"repeats_needed": math.inf, "test_losses": [1.0, 1.1]}
    rows = [row("adam", "undecided", 0.0, 0.3), row("lion", "undecided", 0.0, 0.5, **few)]
    assert sentence(rows, "adam", 0.05).endswith("; more repeats, rows or trials might.")


def test_a_race_that_bounds_nothing_says_so() -> None:
    rows = [row("adam", "undecided", 0.0, 20.0), row("sgd", "undecided", 0.0, 30.0)]
    assert sentence(rows, "adam", 0.05).startswith(
        "Take adam, lr 0.012, batch 32, but the race was too short to say how much worse"
    )


def test_many_worse_rules_are_counted_the_familiar_ones_first() -> None:
    rows = [row("adam", "as good", 0.0, 0.01)]
    rows += [row(name, "worse", 0.2, 0.4) for name in ("lion", "rprop", "yogi", "radam", "sgd")]
    assert "; sgd is 20 to 40 % worse, lion is" in sentence(rows, "adam", 0.05)
    assert sentence(rows, "adam", 0.05).endswith("2 more are worse.")


def test_a_race_of_one_and_settings() -> None:
    alone = sentence([row("sgd", "as good", 0.0, 0.0)], "sgd", 0.05)
    assert alone == "sgd, lr 0.012, batch 32 is the best setting of the only rule that raced."
    cosine = row("own", "as good", 0.0, 0.0, schedule="cosine", hyper={})
    assert sentence([cosine], "own", 0.05).startswith("own, cosine, batch 32 is")


def test_a_rule_that_diverged_in_every_repeat_is_said_to_have() -> None:
    lost = {"test_losses": [math.nan, math.inf]}
    rows = [row("yogi", "as good", 0.0, 0.0), row("adam", "worse", 0.0, 0.0, **lost)]
    assert decide(rows, "yogi", 0.05) == "yogi"
    assert sentence(rows, "yogi", 0.05) == (
        "Take yogi, lr 0.012, batch 32: adam diverged in every repeat."
    )
    rows += [row("sgd", "worse", 0.0, 0.3, **lost), row("lion", "worse", 0.1, 0.3)]
    assert sentence(rows, "yogi", 0.05).endswith(
        "lion is 10 to 30 % worse; adam and sgd diverged in every repeat."
    )
