"""Whether a rule leaves a coordinate alone that has no gradient, found by trying."""

import functools
from collections.abc import Mapping

import numpy as np

from thalweg.rule import Rule

__all__ = ["rests"]

_STEPS = 40
_NUMBERS = 16
_ROUNDING = 1e-9


def rests(rule: Rule, hyper: Mapping[str, float]) -> bool:
    """Return whether steps without a gradient may be left out: the parameters are the same.

    The rule takes steps whose gradient is 0 now and then, in float64, once with all of them and
    once without those. What is uniform, as t, goes on in both.

    Args:
        rule: of elements.
        hyper: all its hyperparameters.

    Example:
        >>> from thalweg import rules
        >>> adagrad, adam = rules.get("adagrad"), rules.get("adam")
        >>> rests(adagrad, adagrad.defaults), rests(adam, adam.defaults)
        (True, False)
    """
    tried = _known if rule.built_in else _tried  # a user's function may change
    return tried(rule, tuple(hyper.items()))


def _tried(rule: Rule, given: tuple[tuple[str, float], ...]) -> bool:
    hyper, rng = dict(given), np.random.default_rng(0)
    x = rng.normal(size=_NUMBERS)
    paths = [(x, rule.first_state(x, hyper))] * 2
    for t in range(1, _STEPS + 1):
        g = rng.normal(size=_NUMBERS) * (rng.random() < 0.5)
        with np.errstate(all="ignore"):
            steps = [rule.advance(g, at, state, t=t, hyper=hyper) for at, state in paths]
        if not g.any():
            at, state = paths[1]
            steps[1] = at, state | {name: steps[1][1][name] for name in rule.uniform_state}
        paths = steps
        if not np.allclose(paths[0][0], paths[1][0], rtol=_ROUNDING, atol=_ROUNDING):
            return False
    return True


_known = functools.cache(_tried)
