"""Optimizers for rules that torch does not have, also those of a user."""

import functools
from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.optim.optimizer import ParamsT

from thalweg import catalog, rules
from thalweg.catalog import TorchClass
from thalweg.checks import Hyperparameter, count
from thalweg.kernels.functions import check_names
from thalweg.kind import ELEMENT_WISE, MATRICES
from thalweg.optim import roles as _roles
from thalweg.optim.lr_schedule import Schedule
from thalweg.optim.optimizer import OPTION_NAMES, CompiledOptimizer
from thalweg.optim.recipe import Recipe, recipe
from thalweg.rule import RANGES, Rule
from thalweg.rules import get
from thalweg.words import closest

__all__ = ["AdaBelief", "Descent", "Lion", "Yogi"]

Rate = float | Tensor | Schedule

_DECAY = Hyperparameter("weight_decay", 0.0, RANGES["weight_decay"])


class _Checked(CompiledOptimizer):
    """A class whose options are checked here, as torch checks the options of its classes."""

    def _check(self, options: Mapping[str, Any]) -> None:
        """Raise ValueError if an option is outside its range. The rate of a schedule may be 0."""
        rule = self._rule(dict(options))
        given = self._class_of(rule).hyper(options)
        for name, hyperparameter in rule.hyperparameters.items():
            scheduled = name == "lr" and "schedule" in options
            (hyperparameter.check_scheduled if scheduled else hyperparameter.check)(given[name])
        _DECAY.check(options["weight_decay"])


class Descent(_Checked):
    """Any rule as an optimizer; its hyperparameters are the options of the parameter groups.

    A rule of matrices, such as Muon, steps the hidden matrices of a model, and another rule the
    rest: ``Descent(model, "muon", otherwise="adamw")`` is one optimizer, for one schedule and one
    checkpoint. It prints what went where.

    Args:
        params: parameters, or groups of them with options of their own, "rule" among them; or a
            model.
        rule: a rule or its name.
        otherwise: of a model, the rule of all parameters that are no hidden matrices, or a dict of
            that "rule" with options of its own, such as another "lr". Without them it has the lr
            and the weight_decay of ``rule``. See ``thalweg.optim.roles.roles_of``.
        roles: of a model's parameters by name or pattern, in place of those found: "hidden",
            "embedding", "head" or "vector".
        split: how many matrices of equal height a parameter holds, by name or pattern, such as 3
            where queries, keys and values are one; known of torch's own layers.
        report: called with lines that say what went where; ``print`` by default, None for nothing.
        maximize: whether to climb; False by default.
        **hyper: the rule's hyperparameters, with its defaults for the rest; lr may be a schedule.
            If the rule has no ``weight_decay``, one of L2 regularization: it is added to the
            gradient, >= 0, 0 by default. And the keywords of ``Options``.

    Raises:
        ValueError: a hyperparameter outside its range; a vector for a rule of matrices; a name in
            the rule that nothing has.
        TypeError: the rule has no hyperparameter of that name, also in a group.

    Example:
        >>> import torch
        >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
        >>> optimizer = Descent([w], "momentum", lr=0.5, beta=0.5)
        >>> (w.square().sum() / 2).backward()
        >>> optimizer.step()
        >>> w.tolist()
        [1.5, 2.0]
    """

    def __init__(
        self,
        params: ParamsT | nn.Module,
        rule: str | Rule,
        *,
        otherwise: str | Rule | Mapping[str, Any] | None = None,
        roles: Mapping[str, str] | None = None,
        split: Mapping[str, int] | None = None,
        report: Callable[[str], None] | None = print,
        maximize: bool = False,
        **hyper: Any,  # noqa: ANN401 - numbers, a schedule as lr, and what Options takes
    ) -> None:
        if not isinstance(rule, str | Rule):
            raise TypeError(
                "rule must be the name of a rule or what @thalweg.rule.rule made of a function, "
                f"got {rule!r}"
            )
        self.rule = get(rule)
        self.rules = {self.rule.name: self.rule}
        options = {name: hyper.pop(name) for name in OPTION_NAMES & hyper.keys()}
        around = {} if "weight_decay" in self.rule.hyperparameters else {"weight_decay": 0.0}
        around = {name: hyper.pop(name, default) for name, default in around.items()}
        self._check_names(hyper, otherwise)
        defaults = around | {"maximize": maximize} | self.rule.defaults | hyper
        if otherwise is not None:
            if not isinstance(params, nn.Module):
                raise TypeError(
                    "otherwise needs the model itself, whose modules tell which parameters are "
                    f"hidden matrices, got {type(params).__name__} as params"
                )
            second = self._second(otherwise, defaults)
            counts = _roles.blocks(params, roles, split)
            self._check_roles(dict(params.named_parameters()), counts, second["rule"])
            if report is not None:
                report(_roles.table(params, roles, self.rule.name, second["rule"]))
            params, rest = _roles.groups(dict(params.named_parameters()), counts)
            params += [{"params": rest, **second}] if rest else []
        elif roles is not None or split is not None:
            raise TypeError("roles and split go with otherwise, and the model as params")
        elif isinstance(params, nn.Module):
            params = params.parameters()
        super().__init__(params, defaults, **options)

    def _check_names(
        self, hyper: Mapping[str, Any], otherwise: str | Rule | Mapping[str, Any] | None
    ) -> None:
        """Raise TypeError if the rule has no hyperparameter of a name, with the place for it."""
        if isinstance(otherwise, str | Rule):
            second = get(otherwise)
            for name in hyper:
                if name in second.hyperparameters and name not in self.rule.hyperparameters:
                    raise TypeError(
                        f"rule {self.rule.name!r} has no hyperparameter {name!r}; that of rule "
                        f"{second.name!r} is given as otherwise={{'rule': {second.name!r}, "
                        f"{name!r}: {hyper[name]!r}}}"
                    )
        for name in hyper.keys() - self.rule.hyperparameters.keys():
            if meant := closest(name, OPTION_NAMES, 0.7):
                raise TypeError(f"Descent has no option {name!r}; {meant}")
        self.rule.check_names(hyper)

    def _second(
        self, otherwise: str | Rule | Mapping[str, Any], defaults: Mapping[str, Any]
    ) -> dict[str, Any]:
        """Return the options of the group for all that is no hidden matrix."""
        given = dict(otherwise) if isinstance(otherwise, Mapping) else {"rule": otherwise}
        rule = get(given.pop("rule", "adamw"))
        self.rules[rule.name] = rule
        own = {"weight_decay": 0.0} | rule.defaults
        rule.check_names({name: value for name, value in given.items() if name not in own})
        shared = {n: defaults[n] for n in ("lr", "weight_decay") if n in rule.hyperparameters}
        return own | shared | given | {"rule": rule.name}

    def _check_roles(
        self, named: Mapping[str, Tensor], counts: Mapping[str, int], otherwise: str
    ) -> None:
        """Raise ValueError if a rule does not take the parameters of its role."""
        for name, p in named.items():
            if name in counts:
                remedy = f"roles={{{name!r}: 'vector'}} gives it to rule {otherwise!r}"
                _check_matrices(self.rule, p, counts[name], f"{name!r}", remedy)
            else:
                remedy = "otherwise must be a rule that steps vectors, such as 'adamw'"
                _check_matrices(self.rules[otherwise], p, 1, f"{name!r}", remedy)

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters with options of their own; see torch.optim.Optimizer."""
        if isinstance(param_group, dict):
            rule = get(param_group.get("rule", self.rule))
            self.rules[rule.name] = rule
            _check_keys(rule, param_group)
            if rule.kind != ELEMENT_WISE and not rule.built_in:
                check_names(rule)
            if "rule" in param_group:
                param_group = {**rule.defaults, **param_group, "rule": rule.name}
        super().add_param_group(param_group)
        group = self.param_groups[-1]
        remedy = f"Descent(model, {rule.name!r}, otherwise='adamw') gives those to another rule"
        try:
            for p in group["params"]:
                _check_matrices(rule, p, group.get("split", 1), "", remedy)
        except ValueError:
            self.param_groups.pop()
            raise

    @property
    def asking(self) -> bool:  # type: ignore[override] # of the class beside
        """Whether a rule asks for gradients at other points, and so for a closure."""
        return any(rule.inputs for rule in self.rules.values())

    def _rule(self, group: dict[str, Any]) -> Rule:
        return self.rules[group.get("rule", self.rule.name)]

    def _recipe(self, group: dict[str, Any]) -> Recipe:
        rule = self._rule(group)
        names = {*self.defaults, *rule.hyperparameters, "split"}
        own = {name: group[name] for name in names if name in group}
        return recipe(rule, self._class_of(rule), own)

    def __getstate__(self) -> dict[str, Any]:
        return super().__getstate__() | {"rule": self.rule, "rules": self.rules}

    def _class_of(self, rule: Rule) -> TorchClass:
        return _own_names(rule)


def _check_matrices(rule: Rule, p: Tensor, blocks: int, name: str, remedy: str) -> None:
    """Raise ValueError if a rule of matrices cannot step a parameter as so many of them."""
    if rule.kind != MATRICES or is_lazy(p):
        return
    called = f"parameter {name} of".replace("  ", " ")
    if p.ndim < 2:
        raise ValueError(
            f"rule {rule.name!r} takes matrices and no {called} shape {tuple(p.shape)}: {remedy}"
        )
    if p.shape[0] % count("split", blocks):
        raise ValueError(
            f"split: a {called} shape {tuple(p.shape)} is not {blocks} matrices of equal height; "
            "leave it, or give a number that divides its rows"
        )


def _check_keys(rule: Rule, group: Mapping[str, Any]) -> None:
    """Raise TypeError at a key that is nearly a hyperparameter, or torch's name of one.

    A group may have further keys, as in torch; but what is meant for the rule would be lost.
    """
    entry = catalog.of(rule).torch
    theirs = {*entry.arguments} if entry else set()
    known = {*rule.hyperparameters, "params", "lr", "weight_decay"}
    for name in group.keys() - known:
        if name in theirs or closest(name, rule.hyperparameters, alike=0.8):
            rule.check_names({name: ...})


@functools.cache
def _own_names(rule: Rule) -> TorchClass:
    """Return a class whose names are those of the rule."""
    state = {name: name for name in ("step", *rule.state, *rule.uniform_state)}
    return TorchClass("Descent", {n: n for n in rule.hyperparameters}, state, in_torch=False)


class _Adaptive(_Checked):
    """A rule that divides by the root of its second moment; lr and eps are the rule's if None."""

    def __init__(
        self,
        params: ParamsT,
        lr: Rate | None = None,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float | None = None,
        weight_decay: float = 0.0,
        *,
        decoupled_weight_decay: bool = False,
        maximize: bool = False,
        **given: Any,  # noqa: ANN401
    ) -> None:
        own: dict[str, Any] = {"lr": lr, "eps": eps}
        own = {n: self.rule.defaults[n] if value is None else value for n, value in own.items()}
        own |= {"betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        own["decoupled_weight_decay"] = decoupled_weight_decay
        super().__init__(params, own, **given)


class Yogi(_Adaptive):
    """Adam whose second moment moves by at most (1 - beta2) g² per step (Zaheer et al. 2018).

    Args:
        params, betas, weight_decay, decoupled_weight_decay, maximize: as those of ``AdaBelief``.
        lr: learning rate, > 0, or a schedule; 1e-2 by default.
        eps: added to the root, >= 0; 1e-3 by default.
        given: as ``thalweg.optim.options.Options``.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = Yogi([w], lr=0.5, eps=0.0)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.item()
        0.5
    """

    rule = rules.yogi


class AdaBelief(_Adaptive):
    """Adam scaled by the gradient's deviation from its prediction (Zhuang et al. 2020).

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0, or a schedule; 1e-3 by default.
        betas: decay of the two moments, each in [0, 1); (0.9, 0.999) by default.
        eps: added at each step to the second moment, and to its root, >= 0; 1e-16 by default.
        weight_decay: >= 0; 0 by default.
        decoupled_weight_decay: whether x shrinks by 1 - lr * weight_decay, as in AdamW, instead of
            an L2 term in the gradient.
        maximize: whether to climb.
        given: as ``thalweg.optim.options.Options``.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = AdaBelief([w], lr=0.5, betas=(0.0, 0.0))
        >>> optimizer.defaults["eps"]
        1e-16
    """

    rule = rules.adabelief


class Lion(_Checked):
    """The sign of an interpolated momentum: every element moves by lr (Chen et al. 2023).

    Args:
        params: parameters, or groups of them.
        lr: learning rate, > 0, or a schedule; 1e-4 by default.
        betas: of the interpolation and of the momentum, each in [0, 1); (0.9, 0.99) by default.
        weight_decay: decoupled, >= 0; 0 by default.
        maximize: whether to climb.
        given: as ``thalweg.optim.options.Options``.

    Example:
        >>> import torch
        >>> w = torch.tensor([1.0], requires_grad=True)
        >>> optimizer = Lion([w], lr=0.25)
        >>> w.square().sum().backward()
        >>> optimizer.step()
        >>> w.item()
        0.75
    """

    rule = rules.lion

    def __init__(
        self,
        params: ParamsT,
        lr: Rate = 1e-4,
        betas: tuple[float, float] = (0.9, 0.99),
        weight_decay: float = 0.0,
        *,
        maximize: bool = False,
        **given: Any,  # noqa: ANN401
    ) -> None:
        own = {"lr": lr, "betas": betas, "weight_decay": weight_decay, "maximize": maximize}
        super().__init__(params, own, **given)
