"""State: what a rule keeps for a parameter, under torch's own names."""

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from thalweg import catalog
from thalweg.kind import ELEMENT_WISE, MATRICES
from thalweg.optim.options import Options
from thalweg.optim.recipe import Recipe

__all__ = ["LOST", "check_steppable", "computed", "kept_keys", "prepare"]

LOST = "lost"  # what rounding has taken from bfloat16 parameters, with rounding="kahan"

_NOT_KEPT = (
    "betas[0] was 0 from the start, so that no first moment was kept, and now is not: the moment "
    "begins at 0, where torch has the last gradient; start with a betas[0] > 0, however small, to "
    "keep it"
)


def kept_keys(recipe: Recipe, p: Tensor, options: Options) -> list[str]:
    """Return the names of a parameter's arrays of state, in the order of the kernel."""
    keys = [recipe.keys[name] for name in recipe.rule.state if name not in recipe.without]
    return [*keys, LOST] if options.rounding == "kahan" and p.dtype is torch.bfloat16 else keys


def check_steppable(state: Mapping[str, Any], p: Tensor, recipe: Recipe, options: Options) -> None:
    """Raise RuntimeError, as torch does, if a step would fail after it has written half.

    Kernels do not take such parameters, so only the others are checked.
    """
    if not (p.is_floating_point() or p.is_complex()):
        raise RuntimeError(
            f"a parameter of {p.dtype} has a gradient and no step: a rate times a gradient is no "
            "whole number; give the optimizer parameters of floating point"
        )
    if recipe.rule.kind == MATRICES and p.is_complex():
        raise RuntimeError(
            f"rule {recipe.rule.name!r} takes no complex matrices; step them by another rule"
        )
    for key in kept_keys(recipe, p, options):
        formed = recipe.rule.kind == ELEMENT_WISE or recipe.like_parameter
        if formed and state[key].shape != p.shape:
            raise RuntimeError(
                f"the shape of the state {key!r} is {tuple(state[key].shape)}, that of its "
                f"parameter {tuple(p.shape)}: the state of another parameter was loaded, or this "
                "one was changed"
            )


def prepare(state: dict[str, Any], p: Tensor, recipe: Recipe, options: Options) -> None:
    """Complete a parameter's state. Its values are kept, in the dtype that the options ask for."""
    rule, begun = recipe.rule, bool(state)
    for name, key in recipe.keys.items():
        if name in recipe.without:
            state.pop(key, None)
        elif name not in rule.state:
            start = 0.0 if name == "step" else rule.start_of(name, recipe.hyper)
            number, dtype = state.get(key, start), _number_dtype(name, p, recipe)
            if not _is_number(number, dtype, p.device):  # torch loads some in the parameter's dtype
                state[key] = torch.tensor(float(number), dtype=dtype, device="cpu")
        elif state.get(key) is None:
            if begun and name in catalog.of(rule).decays:
                warnings.warn(_NOT_KEPT, stacklevel=2)
            state[key] = _first(p, recipe, rule.start_of(name, recipe.hyper, p), options)
        elif options.state_dtype and state[key].is_floating_point():
            state[key] = state[key].to(options.state_dtype)
    if LOST in kept_keys(recipe, p, options) and LOST not in state:
        state[LOST] = torch.zeros_like(p, memory_format=torch.preserve_format).detach()


def _is_number(value: Any, dtype: torch.dtype, device: torch.device) -> bool:  # noqa: ANN401 - whatever is loaded
    """Return whether a value is one number, as at torch's start, which kernels can change."""
    return (
        isinstance(value, Tensor)
        and value.dtype is dtype
        and value.numel() == 1
        and value.device in (torch.device("cpu"), device)
    )


def _first(p: Tensor, recipe: Recipe, value: float | Tensor, options: Options) -> Tensor:
    """Return the first value of a state: as its parameter, or one number that is yet to grow."""
    if isinstance(value, Tensor):
        dtype = p.dtype if p.is_complex() else options.state_dtype or p.dtype
        return value.detach().to(dtype, copy=True, memory_format=torch.preserve_format)
    if recipe.rule.kind != ELEMENT_WISE and not recipe.like_parameter:
        return torch.tensor(value, dtype=computed(p), device=p.device)
    return _full(p, value, options)


def computed(p: Tensor) -> torch.dtype:
    """Return the format in which a step of a parameter computes: float32 for those of 16 bits."""
    real = p.dtype.to_real()
    return torch.float32 if real.itemsize == 2 else real


def _full(p: Tensor, value: float, options: Options) -> Tensor:
    fill = complex(value, value) if p.is_complex() else value
    dtype = None if p.is_complex() else options.state_dtype
    return torch.full_like(p, fill, dtype=dtype, memory_format=torch.preserve_format).detach()


def _number_dtype(name: str, p: Tensor, recipe: Recipe) -> torch.dtype:
    """Return the format of a number of the state: torch's, or where it has none, of the step."""
    if name != "step" and not recipe.in_torch:
        return computed(p)
    return torch.promote_types(torch.float32, torch.get_default_dtype())
