"""Sentence: what a race's verdict says in words."""

import math
from collections.abc import Sequence
from typing import Any

from thalweg.racing.comparison import AS_GOOD, HUGE, UNDECIDED, WORSE
from thalweg.tasks.schedule import CONSTANT
from thalweg.words import listed, worse

__all__ = ["FAMILIAR", "decide", "sentence"]

FAMILIAR = ("adam", "adamw", "sgd", "momentum")
"""Rules that most readers know. One of them is taken if it is as good as any."""

_NAMED = 3  # names of a kind at most, or one more; the table has all
_LOOSE = 1.0  # a price of twice the best loss is a bound that helps nobody
_FEW = 5  # repeats: fewer than a race has by default
_MOST = 200  # repeats for which somebody might wait

Row = dict[str, Any]


def decide(rows: Sequence[Row], winner: str, margin: float) -> str:
    """Return the rule to take: a familiar one if it surely costs hardly more, else the winner.

    Where no price has a bound that helps, it is the winner: high bounds that are near each other
    say nothing of which rule is better.

    Args:
        rows: of the results.
        winner: the rule of the lowest loss.
        margin: how far the highest price of a familiar rule may lie above the lowest of any rule.
    """
    highest = {row["rule"]: row["price"]["high"] for row in rows if not _lost(row)}
    least = min(highest.values())
    if least > _LOOSE:
        return winner
    enough = least + margin
    return next((rule for rule in FAMILIAR if highest.get(rule, math.inf) <= enough), winner)


def sentence(rows: Sequence[Row], take: str, margin: float) -> str:
    """Say what to take, what is as good, what the others cost, and what remains unknown.

    Args:
        rows: of the results.
        take: the rule to take.
        margin: a rule is as good as the best up to this price.
    """
    chosen = next(row for row in rows if row["rule"] == take)
    others = [row for row in rows if row is not chosen]
    if not others:
        return f"{_setting(chosen)} is the best setting of the only rule that raced."
    lost = [row for row in others if _lost(row)]
    diverged = f"{_all_of([row['rule'] for row in lost])} diverged in every repeat"
    if len(lost) == len(others):
        return f"Take {_setting(chosen)}: {diverged}."
    of = {
        state: [row for row in others if row["state"] == state and row not in lost]
        for state in (AS_GOOD, WORSE, UNDECIDED)
    }
    highest = chosen["price"]["high"]
    bound = f"it is at most {worse(highest, highest)} worse than the best, with 95 % confidence"
    if not highest and not of[AS_GOOD]:
        bound = "no other rule is as good, with 95 % confidence"
    if highest > _LOOSE:
        bound = "but the race was too short to say how much worse than the best it may be"
    if len(of[AS_GOOD]) == len(others) and chosen["state"] == AS_GOOD:
        return (
            f"Any of these {len(rows)} rules will do: none is more than {worse(margin, margin)} "
            f"worse than the best, with 95 % confidence. Take {_setting(chosen)}."
        )
    parts = [f"Take {_setting(chosen)}{', ' if highest > _LOOSE else ': '}{bound}"]
    if of[AS_GOOD]:
        names = [row["rule"] for row in of[AS_GOOD]]
        parts.append(f"{_all_of(names)} {_are(names)} as good")
    if of[WORSE]:
        parts.append(_worse(of[WORSE]))
    if of[UNDECIDED]:
        parts.append(_undecided(of[UNDECIDED], alone=not of[WORSE] and not of[AS_GOOD]))
    if lost:
        parts.append(diverged)
    return "; ".join(parts) + "."


def _lost(row: Row) -> bool:
    return not any(abs(loss) < HUGE for loss in row["test_losses"])


def _setting(row: Row) -> str:
    rate = f", lr {row['hyper']['lr']:g}" if "lr" in row["hyper"] else ""
    schedule = f", {row['schedule']}" if row["schedule"] != CONSTANT else ""
    return f"{row['rule']}{rate}{schedule}, batch {row['batch_size']}"


def _worse(rows: Sequence[Row]) -> str:
    """Name the prices of familiar rules, and count the others."""
    known = [row for rule in FAMILIAR for row in rows if row["rule"] == rule]
    named = [*known, *(row for row in rows if row not in known)][:_NAMED]
    said = [
        f"{row['rule']} is {worse(row['price']['low'], row['price']['high'])} worse"
        for row in named
    ]
    left = len(rows) - len(named)
    return ", ".join([*said, *([f"{left} more are worse"] * bool(left))])


def _undecided(rows: Sequence[Row], *, alone: bool) -> str:
    names = [row["rule"] for row in rows]
    needed = [row["repeats_needed"] for row in rows]
    enough = max(needed)
    few = len(rows[0]["test_losses"]) < _FEW
    remedy = f"more {'repeats, ' * few}rows or {'more ' * (not few)}trials might"
    if enough <= _MOST:
        remedy = f"some {enough:.0f} repeats would"
    whom = "any two rules" if alone else _all_of(names)
    from_it = " apart" if alone else f" from {'it' if len(names) == 1 else 'the best'}"
    return f"the race cannot tell {whom}{from_it}; {remedy}"


def _all_of(names: Sequence[str]) -> str:
    said = listed(names, _NAMED)
    return said if len(names) > _NAMED + 1 else " and ".join(said.rsplit(", ", 1))


def _are(names: Sequence[str]) -> str:
    return "is" if len(names) == 1 else "are"
