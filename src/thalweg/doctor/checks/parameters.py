"""Parameters, optimizer and graph: who is trained, who gets a gradient, what a step changes."""

import gc
import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.finding import Finding
from thalweg.doctor.subject import Subject, leaves, nodes, operation_of
from thalweg.words import listed

__all__ = ["CHECKS", "missing", "of_others", "untrained"]

_FLAT = {"Round", "Sign", "Sgn", "Floor", "Ceil", "Trunc"}
_NAMED = 4  # names in a sentence
_NEAR, _ROUNDING = 1e-3, 1e-6  # of a parameter's size, and of a loss
_IDENTITY = "identity of tensors"


def untrained(module: nn.Module) -> bool:
    """Return whether a layer's weights look like torch's first draw of them.

    Linear and convolutional layers are drawn uniformly within 1 / sqrt(inputs), recurrent ones
    within 1 / sqrt(width), embeddings from N(0, 1). Trained weights leave these bounds or fill them
    unevenly.
    """
    if isinstance(module, nn.Embedding):
        w = module.weight.detach().float()
        return w.numel() >= 16 and _standard(w)
    if isinstance(module, nn.RNNBase | nn.RNNCellBase):
        bound = module.hidden_size**-0.5
        return all(_uniform(p, bound) for p in module.parameters())
    weight = getattr(module, "weight", None)
    if not isinstance(module, nn.Linear | nn.modules.conv._ConvNd) or weight is None:  # noqa: SLF001
        return False
    return _uniform(weight, weight[0].numel() ** -0.5)


def _uniform(p: Tensor, bound: float) -> bool:
    """Return whether numbers lie within a bound with the deviation of a uniform draw."""
    if p.numel() < 2:
        return float(p.detach().abs().max()) <= bound
    w = p.detach().float()
    inside = float(w.abs().max()) <= bound * (1 + 1e-5)
    spread = float(w.pow(2).mean().sqrt()) * 3**0.5 / bound
    return inside and abs(spread - 1) < max(0.1, 2 / math.sqrt(w.numel()))


def _standard(w: Tensor) -> bool:
    """Return whether numbers have mean 0 and deviation 1, within chance."""
    mean, deviation, chance = float(w.mean()), float(w.std()), 1 / math.sqrt(w.numel())
    return abs(mean) < 4 * chance and abs(deviation - 1) < max(0.02, 3 * chance)


def _in_optimizer(subject: Subject) -> set[int]:
    return {id(p) for group in subject.optimizer.param_groups for p in group["params"]}


def _trained_by_others(subject: Subject) -> set[str]:
    """Return the names of parameters that moved, or, before a training, that others have."""
    mine, start = subject.model.named_parameters(), dict(subject.start_model.named_parameters())
    if subject.start_model is not subject.model:
        return {name for name, p in mine if not torch.equal(p, start[name])}
    others = [o for o in gc.get_objects() if issubclass(type(o), Optimizer)]
    held = {
        id(p)
        for other in others
        if other is not subject.optimizer
        for group in other.param_groups
        for p in group["params"]
    }
    return {name for name, p in mine if id(p) in held}


def of_others(subject: Subject) -> set[str]:
    """Return the names of parameters that the loss reaches, and that another optimizer has."""
    held, named = _in_optimizer(subject), dict(subject.model.named_parameters())
    reached = {name for name in _reached(subject) if id(named[name]) not in held}
    return reached & _trained_by_others(subject) if reached else set()


def _reached(subject: Subject) -> set[str]:
    """Return the names of parameters that get a gradient."""
    return {name for name, g in subject.backward.gradients.items() if g is not None}


def _owners(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Yield each parameter's name with the layer that holds it."""
    for prefix, module in model.named_modules():
        for name, _ in module.named_parameters(recurse=False):
            yield (f"{prefix}.{name}" if prefix else name), module


def optimizer_of_another_model(subject: Subject) -> Finding | None:
    """Look for an optimizer that has none of the model's parameters."""
    mine = dict(subject.model.named_parameters())
    held = _in_optimizer(subject)
    if not mine or any(id(p) in held for p in mine.values()):
        return None
    return Finding(
        "parameters_not_in_optimizer",
        "problem",
        f"None of the model's {len(mine)} parameters is in the optimizer, which has {len(held)} "
        "others: it was made from another model, or before the model was made anew.",
        {"parameters of the model": float(len(mine)), "of these in the optimizer": 0.0},
        "no parameter of the model is in the optimizer",
        _IDENTITY,
    )


def missing(subject: Subject) -> list[str]:
    """Return the names of parameters with a gradient that no optimizer has.

    Of what a second optimizer has, or has moved, none is missing. Where all are, the optimizer is
    another model's, and none is told here.
    """
    held, reached = _in_optimizer(subject), _reached(subject)
    mine = dict(subject.model.named_parameters())
    found = [n for n, p in mine.items() if p.requires_grad and id(p) not in held and n in reached]
    if not found or len(found) == len(mine):
        return []
    others = _trained_by_others(subject)
    return [name for name in found if name not in others]


def parameters_not_in_optimizer(subject: Subject) -> Finding | None:
    """Look for parameters with a gradient that are not in the optimizer."""
    names, owners = missing(subject), dict(_owners(subject.model))
    if not names:
        return None
    count = len(list(subject.model.parameters()))
    mine = dict(subject.model.named_parameters())
    even = [n for n in names if mine[n].ndim > 1 and bool((mine[n] == mine[n].flatten()[0]).all())]
    fresh = [n for n in names if n in even or (n in owners and untrained(owners[n]))]
    return Finding(
        "parameters_not_in_optimizer",
        "problem" if fresh else "warning",
        f"{len(names)} of {count} parameters get{'s' * (len(names) == 1)} a gradient and "
        f"{'is' if len(names) == 1 else 'are'} not in the optimizer: {listed(names, _NAMED)}"
        + ("; their values are those of a first random draw." if fresh else "."),
        {"missing": float(len(names)), "of these as drawn at random": float(len(fresh))},
        "a parameter with a gradient is not in the optimizer; a problem where it is untrained",
        _IDENTITY,
        sure=1.0 if fresh else 0.5,
    )


def parameters_not_registered(subject: Subject) -> Finding | None:
    """Look for parameters that the loss depends on and that model.parameters() does not find."""
    strays = subject.backward.strays
    if not strays:
        return None
    places = listed(list(_hidden(subject.model)), _NAMED)
    return Finding(
        "parameters_not_registered",
        "problem",
        f"The loss depends on {len(strays)} parameters that model.parameters() does not give"
        + (f": they are plain tensors, or in plain lists or dicts ({places})." if places else "."),
        {"unregistered parameters": float(len(strays)), "first shape": str(list(strays[0]))},
        "the graph of the loss ends in parameters that are not the model's",
        "a walk through the graph",
    )


def _hidden(model: nn.Module) -> Iterator[str]:
    """Yield the attributes that are tensors to be trained, or hold such in lists and dicts."""
    for prefix, module in model.named_modules():
        for name, value in vars(module).items():
            if name.startswith("_"):
                continue
            members = [value]
            if isinstance(value, list | tuple | dict):
                members = list(value.values() if isinstance(value, dict) else value)
            if any(isinstance(m, nn.Module) or _trains(m) for m in members):
                yield f"{prefix}.{name}" if prefix else name


def _trains(member: object) -> bool:
    return isinstance(member, Tensor) and member.requires_grad and member.is_leaf


def parameters_frozen(subject: Subject) -> Finding | None:
    """Look for layers that were drawn at random and then frozen."""
    frozen = {
        name: module
        for name, module in _owners(subject.model)
        if untrained(module) and not any(p.requires_grad for p in module.parameters(recurse=False))
    }
    if not frozen:
        return None
    # Random vectors tell words apart too: whether training them helps is asked after the training.
    vectors = all(isinstance(module, nn.Embedding) for module in frozen.values())
    # So does a layer of random features, which an optimizer is not given.
    held = _in_optimizer(subject)
    meant = not any(id(p) in held for module in frozen.values() for p in module.parameters())
    meant = meant or all(_adapted(subject.model, name) for name in frozen)  # what is beside learns
    return Finding(
        "parameters_frozen",
        "warning" if vectors or meant else "problem",
        f"{len(frozen)} parameters are frozen (requires_grad is False), and their values are those "
        f"of a first random draw: {listed(list(frozen), _NAMED)}.",
        {"frozen and untrained": float(len(frozen))},
        "frozen weights have the range and the deviation of torch's first draw",
        "torch.nn.init",
        sure=0.5 if vectors else 0.9,
    )


def _adapted(model: nn.Module, name: str) -> bool:
    """Return whether two trained matrices beside a layer make one of its shape, as adapters do."""
    path = name.split(".")[:-1]
    weight = getattr(model.get_submodule(".".join(path)), "weight", None)
    if not path or not isinstance(weight, Tensor) or weight.ndim != 2:
        return False
    beside = model.get_submodule(".".join(path[:-1])).parameters()
    shapes = [tuple(p.shape) for p in beside if p.requires_grad and p.ndim == 2]
    (out, into), ranks = weight.shape, {min(shape) for shape in shapes}
    return any(
        {(out, r), (r, out)} & {*shapes} and {(into, r), (r, into)} & {*shapes}
        for r in ranks
        if r < min(out, into)
    )


def parameters_shared(subject: Subject) -> Finding | None:
    """Look for one layer in several places of a list."""
    for prefix, module in subject.model.named_modules():
        if not isinstance(module, nn.Sequential | nn.ModuleList):
            continue
        members = [m for m in module if any(True for _ in m.parameters())]
        if len({id(m) for m in members}) < len(members):
            return Finding(
                "parameters_shared",
                "warning",
                f"The {len(members)} layers of {prefix or 'the model'} are "
                f"{len({id(m) for m in members})} in truth: one stands in several places.",
                {"places": float(len(members))},
                "the same module twice in a list",
                _IDENTITY,
                sure=0.6,
            )
    return None


def graph_cut_by_detach(subject: Subject) -> Finding | None:
    """Look for parameters that the loss depends on and that get no gradient."""
    back, held = subject.backward, _in_optimizer(subject)
    mine = dict(subject.model.named_parameters())
    known = any(id(p) in held for p in mine.values())
    asked = {n: back.gradients.get(n) for n, p in mine.items() if p.requires_grad}
    asked = {n: g for n, g in asked.items() if id(mine[n]) in held or not known}
    some = any(g is not None and bool(g.any()) for g in asked.values())
    cut = [name for name, g in asked.items() if g is None and _matters(subject, name)]
    # A detached term of several outputs leaves zeros, as units that are dead do.
    zeros = [n for n, g in asked.items() if g is not None and some and not bool(g.any())]
    cut += [name for name in zeros if _slopes(subject, name)]
    if not cut:
        return _flattened(subject)
    return Finding(
        "graph_cut_by_detach",
        "problem",
        f"The loss changes with {len(cut)} of {len(mine)} parameters and gives them no gradient: "
        f"{listed(cut, _NAMED)}. The graph is cut on the way.",
        {"cut off": float(len(cut)), "parameters": float(len(mine))},
        "a changed parameter changes the loss, and its gradient is None; or 0, though the loss "
        "rises to one side and falls to the other",
        "an experiment: the loss before and after a change of the parameter",
    )


def _flattened(subject: Subject) -> Finding | None:
    """Look for parameters that reach the loss by way of an operation without slope alone.

    They still move the outputs, by jumps.
    """
    twin = subject.copy()
    loss = twin.loss(subject.batch)
    flat = sorted({operation_of(node) for node in nodes(loss)} & _FLAT)
    if not flat:
        return None
    reached, sloped = ({id(p) for p in leaves(loss, without)} for without in ((), _FLAT))
    named = twin.model.named_parameters()
    behind = [name for name, p in named if id(p) in reached - sloped]
    if not behind:
        return None
    return Finding(
        "graph_cut_by_detach",
        "problem",
        f"The loss comes from {listed(behind, _NAMED)} through "
        f"{listed([one.lower() for one in flat], _NAMED)}, whose derivative is 0 everywhere: "
        "their gradients are 0.",
        {"operation": flat[0].lower(), "parameters": float(len(behind))},
        "every way from a parameter to the loss passes an operation whose derivative is 0",
        "the graph's operations",
    )


def _matters(subject: Subject, name: str) -> bool:
    """Return whether the loss changes with a parameter."""
    twin = subject.copy()
    twin.model.eval()
    torch.manual_seed(0)
    before = float(twin.loss(subject.batch).detach())
    generator = torch.Generator().manual_seed(0)
    p = dict(twin.model.named_parameters())[name]
    with torch.no_grad():
        noise = torch.randn(p.shape, generator=generator).to(p)
        p.add_(noise * (p.abs().mean() + 0.1))
    torch.manual_seed(0)
    return float(twin.loss(subject.batch).detach()) != before


def _slopes(subject: Subject, name: str) -> bool:
    """Return whether the loss of a training step has a slope along a parameter's direction."""
    twin = subject.copy()
    p = dict(twin.model.named_parameters())[name]
    start, generator = p.detach().clone(), torch.Generator().manual_seed(0)
    way = _NEAR * torch.randn(p.shape, generator=generator).to(p) * (p.detach().abs().mean() + 0.1)
    values = []
    for side in (-1, 0, 1):
        torch.manual_seed(0)
        with torch.no_grad():
            p.copy_(start + side * way)
        values.append(float(twin.loss(subject.batch).detach()))
    rises, falls = sorted((values[2] - values[1], values[0] - values[1]), reverse=True)
    return min(rises, -falls) > _ROUNDING * abs(values[1])


def step_changes_nothing(subject: Subject) -> Finding | None:
    """Look for a step that leaves every parameter as it is."""
    if not subject.backward.connected:
        return None
    twin = subject.copy()
    mine = {id(p) for p in twin.model.parameters()}
    trained = [p for p in twin.parameters if id(p) in mine]
    if not trained:
        return None
    before = [p.detach().clone() for p in trained]
    for batch in subject.batches[:2]:
        twin.take_step(batch)
    if any(not torch.equal(p, old) for p, old in zip(trained, before, strict=True)):
        return None
    rates = [float(group["lr"]) for group in twin.optimizer.param_groups if "lr" in group]
    zero = all(p.grad is None or not bool(p.grad.any()) for p in trained)
    if zero and of_others(subject):  # the loss of outputs and targets is the other optimizer's
        return None
    why = "the rate is 0" if rates and max(rates) == 0 else "gradients are 0" if zero else ""
    return Finding(
        "step_changes_nothing",
        "problem",
        "Two steps of the optimizer leave every parameter as it was, to the last bit"
        + (f": {why}." if why else "."),
        {"largest rate": max(rates, default=0.0)},
        "no parameter has changed after two steps on a copy",
        "an experiment: two steps on a copy",
        sure=0.9,  # what made the gradients 0 stands above
    )


CHECKS: tuple[Callable[[Subject], Finding | None], ...] = (
    optimizer_of_another_model,
    parameters_not_registered,
    parameters_not_in_optimizer,
    graph_cut_by_detach,
    parameters_frozen,
    parameters_shared,
    step_changes_nothing,
)
