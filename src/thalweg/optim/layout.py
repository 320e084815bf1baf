"""Layout: which tensors are stepped together by a kernel, and which by the rule itself."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from operator import is_
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from thalweg.kind import ELEMENT_WISE, MATRICES
from thalweg.optim.bucket import Bucket, Member, PreparedStep
from thalweg.optim.cuda import DeviceBucket, bucket_for, ready
from thalweg.optim.cuda_passes import DevicePassBucket
from thalweg.optim.memory import local
from thalweg.optim.options import Options
from thalweg.optim.pass_bucket import PassBucket, form_of
from thalweg.optim.recipe import Recipe
from thalweg.optim.state import LOST, kept_keys, prepare

__all__ = ["Group", "Layout", "Member", "parameters_of", "repeated", "with_state"]

Group = dict[str, Any]  # a group of an optimizer: its parameters and their options


class _Placed(NamedTuple):
    member: Member
    kind: type[Bucket] | None  # of the bucket that takes it; None: no kernel does
    form: tuple[Any, ...]  # equal for those that one bucket takes: the dtypes of state, for one


def parameters_of(groups: Sequence[Group]) -> Iterator[Tensor]:
    """Yield the parameters of all groups."""
    return chain.from_iterable(group["params"] for group in groups)


def repeated(groups: Sequence[Group]) -> set[Tensor]:
    """Return the parameters that a group has several times: torch warns, and steps each time."""
    return {p for p, times in Counter(parameters_of(groups)).items() if times > 1}


def with_state(
    p: Tensor, group: int, states: Mapping[Tensor, dict[str, Any]], recipe: Recipe, options: Options
) -> _Placed:
    """Give a parameter its state, and find the kind of bucket that takes it.

    Args:
        p: the parameter.
        group: its number.
        states: of the optimizer.
        recipe: of the group.
        options: of the optimizer.
    """
    keys = kept_keys(recipe, p, options)
    state: dict[str, Any] = states[p] if recipe.keys or keys else {}
    prepare(state, p, recipe, options)
    kind: type[Bucket] | None = None
    form = None
    if recipe.rule.kind == ELEMENT_WISE:
        kept = [state[key] for key in keys if key != LOST]
        kind = bucket_for(p, kept)
    elif form := form_of(p, state, recipe, options):
        kind = DevicePassBucket if ready(p) else PassBucket
    dtypes = (state[key].dtype for key in keys)
    own = id(p) if recipe.rule.kind == MATRICES else 0  # each matrix is stepped by itself
    return _Placed(Member(p, state, group), kind, (form, own, *dtypes))


class Layout:
    """Who steps which tensor of an optimizer, until parameters, states or groups change.

    Args:
        groups: of the optimizer.
        states: of the optimizer. Those that are needed and missing are made.
        recipes: of each group.
        options: of the optimizer.
        numbers: gives the numbers of new buckets.
        kernels: whether kernels may step. Otherwise the rules themselves step all, and the layout
            is for one step.

    Attributes:
        buckets: one call steps each of them.
        alone: parameters that their rules step, each with the number of its group.
        on_device: whether all are stepped on a GPU.
    """

    @torch.no_grad()
    def __init__(
        self,
        groups: Sequence[Group],
        states: Mapping[Tensor, dict[str, Any]],
        recipes: Sequence[Recipe],
        options: Options,
        numbers: Iterator[int],
        *,
        kernels: bool,
    ) -> None:
        twice = repeated(groups)
        self.alone: list[tuple[Tensor, int]] = []
        self._waiting: list[Tensor] = []
        kinds: dict[Any, list[Member]] = defaultdict(list)
        first: dict[Any, Recipe] = {}
        for index, (group, recipe) in enumerate(zip(groups, recipes, strict=True)):
            for p in group["params"]:
                kept = recipe.keys or kept_keys(recipe, p, options) or is_lazy(p)
                if p.grad is None and kept and p not in states:
                    self._waiting.append(p)
                    continue
                own = recipe.of(p)
                member, kind, form = with_state(p, index, states, own, options)
                # One call would step a repeated parameter once instead of twice.
                if kind is None or not kernels or p in twice:
                    self.alone.append((p, index))
                    continue
                key = kind, local(p).device, *own.form, p.dtype, *form
                kinds[key].append(member)
                first[key] = own
        several = Counter(first[key].rule for key in kinds)
        self.buckets: list[Bucket] = []
        for key, members in kinds.items():
            bucket = key[0](members, first[key], options, next(numbers))
            rule = first[key].rule
            shared = several[rule] > 1 or any(recipes[i].rule is rule for _, i in self.alone)
            if rule.joint and (shared or not bucket.agrees(recipes)):
                self.alone += [(member.parameter, member.group) for member in members]
            else:
                self.buckets.append(bucket)
        self.on_device = not self.alone and all(issubclass(key[0], DeviceBucket) for key in kinds)
        self._lasting = kernels
        self._listed = [list(group["params"]) for group in groups]
        self._known, self._states = states, list(states.values())
        self._recipes, self._forms = recipes, [recipe.form for recipe in recipes]

    def holds(
        self,
        groups: Sequence[Group],
        states: Mapping[Tensor, dict[str, Any]],
        recipes: Sequence[Recipe],
    ) -> bool:
        """Return whether parameters, states and groups are still the same."""
        return (
            self._lasting
            and (recipes is self._recipes or [recipe.form for recipe in recipes] == self._forms)
            and all(map(_same, self._listed, groups))
            and self._known is states
            and len(states) == len(self._states)
            and all(map(is_, states.values(), self._states))
            and not (self._waiting and any(p.grad is not None for p in self._waiting))
            and all(bucket.valid() and bucket.agrees(recipes) for bucket in self.buckets)
        )

    def prepare(self) -> list[PreparedStep]:
        """Prepare the step of every bucket.

        Raises:
            SparseError: a gradient is sparse.
            ForeignError: one is foreign.
        """
        return [bucket.prepare() for bucket in self.buckets]


def _same(listed: list[Tensor], group: Group) -> bool:
    params: list[Tensor] = group["params"]
    return len(listed) == len(params) and all(map(is_, listed, params))
