"""Matrix step: that of a rule of matrices in all lanes, one call for all matrices of a shape."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from thalweg.kind import MATRICES
from thalweg.rule import Rule
from thalweg.rules import adamw
from thalweg.schedules import Hyper
from thalweg.stack.step import Asks, LaneStep, judged, value_at

__all__ = ["ADAMW", "MatrixStep", "mapped", "rest"]

ADAMW = adamw  # steps what is no hidden matrix
_MATRICES = 3  # dimensions of a matrix of each lane
_STACKED = (torch.float32, torch.float64)


def rest(hyper: Sequence[Mapping[str, Hyper]]) -> list[dict[str, Hyper]]:
    """Return each lane's hyperparameters for AdamW: the rate and the decay of its own rule."""
    shared = ("lr", "weight_decay")
    return [{**ADAMW.defaults, **{n: own[n] for n in shared if n in own}} for own in hyper]


def mapped(rule: Rule, hyper: Sequence[Mapping[str, Hyper]], parameters: Sequence[Tensor]) -> bool:
    """Return whether a rule of matrices can step such lanes together.

    It cannot where it asks an ``if`` for what differs between lanes, or where torch cannot map it:
    the first two steps of random matrices tell.
    """
    if rule.kind != MATRICES or rule.uniform_state or rule.inputs:
        return False
    if len(hyper) == 1 or any(p.dtype not in _STACKED for p in parameters):
        return False
    drawn = torch.Generator().manual_seed(0)
    matrices = torch.randn(len(hyper), 3, 4, dtype=torch.float64, generator=drawn)
    state = _first(rule, hyper, matrices)
    try:
        for taken in range(2):
            _, state = _advance(
                rule, matrices, matrices, state, hyper=_values(hyper, taken), t=taken + 1
            )
    except Exception:  # noqa: BLE001 - whatever a user's function raises
        return False
    return True


class MatrixStep:
    """The state of a rule of matrices in all lanes, and their step.

    torch maps the rule over lanes and matrices of one shape, so that each of its products is one
    call.

    Args:
        rule: the rule, which ``mapped`` takes.
        hyper: each lane's hyperparameters, all of them.
        parameters: (lanes, *shape) each, contiguous; changed in place.
        blocks: of each parameter, how many matrices it is; 0 where ``others`` steps it.
        others: steps all other parameters.
    """

    def __init__(
        self,
        rule: Rule,
        hyper: Sequence[Mapping[str, Hyper]],
        parameters: Sequence[Tensor],
        blocks: Sequence[int],
        others: LaneStep | None,
    ) -> None:
        self.taken = 0
        self.rule, self._hyper, self._others = rule, list(hyper), others
        self._rest = [i for i, count in enumerate(blocks) if not count]
        kinds: dict[Any, list[int]] = defaultdict(list)
        for i, (p, count) in enumerate(zip(parameters, blocks, strict=True)):
            if count:
                kinds[p.dtype, _as_matrices(p, count).shape[1:]].append(i)
        self._members = list(kinds.values())
        self._blocks = blocks
        self._parameters = list(parameters)
        self._state = [
            _first(rule, self._hyper * len(own), self._whole(parameters, own))
            for own in self._members
        ]

    def select(self, lanes: Sequence[int], parameters: Sequence[Tensor]) -> None:
        """Go on with some lanes, whose parameters now lie elsewhere."""
        count = len(self._hyper)
        self._hyper = [self._hyper[lane] for lane in lanes]
        for own, state in zip(self._members, self._state, strict=True):
            index = torch.tensor([count * i + lane for i in range(len(own)) for lane in lanes])
            state.update({name: value[index] for name, value in state.items()})
        self._parameters = list(parameters)
        if self._others is not None:
            self._others.select(lanes, [parameters[i] for i in self._rest])

    @torch.no_grad()
    def __call__(
        self,
        gradients: Sequence[Tensor],
        scale: Tensor | None,
        asks: Asks | None = None,
    ) -> None:
        """Take one step; see ``LaneStep``."""
        for number, own in enumerate(self._members):
            g, x = self._whole(gradients, own), self._whole(self._parameters, own)
            if scale is not None:
                factors = scale.to(g.dtype).repeat(len(own))
                g = g * factors.reshape(-1, *[1] * (g.ndim - 1))
            values = _values(self._hyper, self.taken) * len(own)
            moved, self._state[number] = _advance(
                self.rule, g, x, self._state[number], hyper=values, t=self.taken + 1
            )
            for i, part in zip(own, moved.chunk(len(own)), strict=True):
                self._parameters[i].detach().copy_(part.reshape(self._parameters[i].shape))
        if self._others is not None:
            self._others([gradients[i] for i in self._rest], scale, asks)
        self.taken += 1

    def states(self, lane: int) -> list[dict[str, Tensor]]:
        """Return the state of each of a lane's parameters, by name, "step" among them."""
        found: list[dict[str, Tensor]] = [{} for _ in self._parameters]
        if self._others is not None:
            for i, state in zip(self._rest, self._others.states(lane), strict=True):
                found[i] = state
        for members, held in zip(self._members, self._state, strict=True):
            for place, i in enumerate(members):
                row = place * len(self._hyper) + lane
                x = self._parameters[i]
                matrices = _as_matrices(x, self._blocks[i]).shape[1:]
                for name, value in held.items():
                    own = value[row].clone()
                    found[i][name] = own.reshape(x.shape[1:]) if own.shape == matrices else own
                found[i]["step"] = torch.tensor(float(self.taken))
        return found

    def answers(self, parameters: Sequence[Tensor]) -> list[Tensor]:
        """Return where the lanes that are at these parameters are judged."""
        last = max(0, self.taken - 1)
        return judged(self.rule, _values(self._hyper, last), parameters, self)

    def _whole(self, tensors: Sequence[Tensor], members: Sequence[int]) -> Tensor:
        """Return tensors of one shape as matrices, (tensors x lanes, ...)."""
        shown = [_as_matrices(tensors[i].detach(), self._blocks[i]) for i in members]
        return shown[0] if len(shown) == 1 else torch.cat(shown)


def _as_matrices(p: Tensor, count: int) -> Tensor:
    """Return what a lane's optimizer shows its rule: outputs x rest, or several blocks of that."""
    lanes, outputs = p.shape[:2]
    if count == 1:
        return p if p.ndim == 3 else p.reshape(lanes, outputs, -1)
    return p.reshape(lanes, count, outputs // count, -1)


def _first(rule: Rule, hyper: Sequence[Mapping[str, Hyper]], x: Tensor) -> dict[str, Tensor]:
    """Return the state before the first step: a number for each matrix, or x."""
    return {
        name: torch.stack(
            [
                torch.as_tensor(rule.start_of(name, own, part), dtype=x.dtype, device=x.device)
                for own, part in zip(_values(hyper, 0), x, strict=True)
            ]
        )
        for name in rule.state
    }


def _advance(
    rule: Rule,
    g: Tensor,
    x: Tensor,
    state: dict[str, Tensor],
    *,
    hyper: Sequence[Mapping[str, float]],
    t: int,
) -> tuple[Tensor, dict[str, Tensor]]:  # fmt: skip
    """Return all x and states after step t. What all lanes share is a number, for ``if`` to ask."""
    if g.ndim > _MATRICES:  # several in one tensor: each is stepped by itself
        count = g.shape[1]
        flat = {
            name: value.flatten(0, 1) if value.ndim > 1 else value.repeat_interleave(count)
            for name, value in state.items()
        }
        own = [values for values in hyper for _ in range(count)]
        moved, after = _advance(rule, g.flatten(0, 1), x.flatten(0, 1), flat, hyper=own, t=t)
        parts = {name: value.reshape(-1, count, *value.shape[1:]) for name, value in after.items()}
        return moved.reshape(x.shape), parts
    columns = {n: [own[n] for own in hyper] for n in rule.hyperparameters}
    shared = {n: column[0] for n, column in columns.items() if len(set(column)) == 1}
    varied = {
        n: torch.tensor(column, dtype=torch.float64, device=x.device)
        for n, column in columns.items()
        if n not in shared
    }

    def step(g: Tensor, x: Tensor, state: dict[str, Tensor], own: dict[str, Any]) -> Any:  # noqa: ANN401
        return rule.advance(g, x, state, t=t, hyper={**shared, **own})

    moved, after = torch.func.vmap(step)(g, x, state, varied)
    return moved, after


def _values(hyper: Sequence[Mapping[str, Hyper]], taken: int) -> list[dict[str, float]]:
    return [{n: value_at(value, taken) for n, value in own.items()} for own in hyper]
