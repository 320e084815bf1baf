"""Roles: which parameters of a model are hidden matrices, and which are for another rule.

A rule of matrices, such as Muon, is for the matrices between the first layer and the last. Module
types and shapes tell which those are.
"""

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from thalweg.checks import count
from thalweg.words import closest

__all__ = ["HIDDEN", "ROLES", "blocks", "groups", "roles_of", "table"]

HIDDEN = "hidden"
ROLES = (HIDDEN, "embedding", "head", "vector")

_EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
_CONVOLUTIONS = nn.modules.conv._ConvNd  # noqa: SLF001 - torch's classes of them have no other base
_GATES = {nn.LSTM: 4, nn.GRU: 3, nn.LSTMCell: 4, nn.GRUCell: 3}


def roles_of(model: nn.Module, given: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the role of each parameter by name: "hidden", "embedding", "head" or "vector".

    Hidden are tensors of two dimensions or more, also of convolutions. Not hidden are embeddings,
    the last linear layer, which is the head; tensors of one dimension, or of which all but one are
    1; kernels with one input channel; and what a module of one's own holds under a name with
    "embed", "token" or "position". A tensor that has two names has the first one's role.

    Args:
        model: the model.
        given: roles of parameters by name or pattern (``"layers.0.*"``), in place of these.

    Raises:
        ValueError: no parameter has that name, or there is no such role.
        TypeError: given is no dict.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Linear(8, 2))
        >>> [name for name, role in roles_of(net).items() if role == "hidden"]
        ['0.weight', '2.weight']
    """
    named = dict(model.named_parameters())
    owners = {
        f"{path}.{name}" if path else name: module
        for path, module in model.named_modules()
        for name in module._parameters  # noqa: SLF001 - those of the module itself
    }
    linear = [m for m in model.modules() if isinstance(m, nn.Linear)]
    last = linear[-1] if linear else None
    found = {name: _role(name, p, owners[name], last) for name, p in named.items()}
    for pattern, role in _items("roles", given, "{'head.*': 'hidden'}"):
        if role not in ROLES:
            raise ValueError(f"a role must be one of {', '.join(ROLES)}, got {role!r}")
        chosen = [name for name in named if fnmatchcase(name, pattern)]
        _check_chosen("roles", pattern, chosen, named)
        found |= dict.fromkeys(chosen, role)
    return found


def _items(what: str, given: Any, example: str) -> Iterable[tuple[str, Any]]:  # noqa: ANN401 - what a user gave
    if not isinstance(given, Mapping | None):
        raise TypeError(f"{what} must be a dict, such as {example}, got {given!r}")
    return given.items() if given else ()


def _check_chosen(what: str, pattern: str, chosen: list[str], named: Mapping[str, Any]) -> None:
    if not chosen:
        hint = closest(pattern, tuple(named)) or f"they are: {', '.join(named)}"
        raise ValueError(f"{what}: the model has no parameter {pattern!r}; {hint}")


def _role(name: str, p: nn.Parameter, owner: nn.Module, last: nn.Module | None) -> str:
    if isinstance(owner, _EMBEDDINGS):
        return "embedding"
    if is_lazy(p) or p.ndim < 2 or min(p.shape[0], p[0].numel()) < 2:
        return "vector"
    if isinstance(owner, _CONVOLUTIONS) and owner.in_channels == owner.groups > 1:
        return "vector"
    if owner is last:
        return "head"
    own = not type(owner).__module__.startswith("torch.nn")
    if own and any(word in name.lower() for word in ("embed", "token", "position")):
        return "embedding"
    return HIDDEN


def _split(name: str, owner: nn.Module) -> int:
    """Return how many matrices a module of torch keeps in one, one upon the other."""
    if isinstance(owner, nn.MultiheadAttention) and name.endswith("in_proj_weight"):
        return 3
    return _GATES.get(type(owner), 1)


def blocks(
    model: nn.Module,
    given: Mapping[str, str] | None = None,
    split: Mapping[str, int] | None = None,
) -> dict[str, int]:
    """Return how many matrices each hidden tensor is, by name.

    Args:
        model: the model.
        given: see ``roles_of``.
        split: how many matrices of equal height a parameter holds, by name or pattern, beside those
            of torch's attention and recurrent layers.

    Raises:
        ValueError: no parameter is hidden, one has no shape yet, a name is unknown, or a number is
            not >= 1.
        TypeError: given or split is no dict.
    """
    roles = roles_of(model, given)
    if lazy := [name for name, p in model.named_parameters() if is_lazy(p)]:
        raise ValueError(
            f"{', '.join(lazy)} have no shape yet, which tells what steps them: run a batch "
            "through the model before"
        )
    if HIDDEN not in roles.values():
        raise ValueError(
            "no parameter of the model is a hidden matrix, for the last linear layer is the head: "
            "leave rules of matrices, or Descent(..., roles={name: 'hidden'}) makes one of it"
        )
    counts = {
        f"{path}.{name}" if path else name: _split(name, module)
        for path, module in model.named_modules()
        for name in module._parameters  # noqa: SLF001
    }
    for pattern, number in _items("split", split, "{'*.qkv.weight': 3}"):
        chosen = [name for name in roles if fnmatchcase(name, pattern)]
        _check_chosen("split", pattern, chosen, roles)
        counts |= dict.fromkeys(chosen, count(f"split[{pattern!r}]", number))
    return {name: counts[name] for name, role in roles.items() if role == HIDDEN}


def groups(
    named: Mapping[str, Tensor], counts: Mapping[str, int]
) -> tuple[list[dict[str, Any]], list[Tensor]]:
    """Return a group for each number of ``blocks`` among hidden tensors, and the other tensors."""
    hidden: dict[int, list[Tensor]] = {}
    for name, p in named.items():
        if name in counts:
            hidden.setdefault(counts[name], []).append(p)
    rest = [p for name, p in named.items() if name not in counts]
    return [{"params": params, "split": count} for count, params in sorted(hidden.items())], rest


def table(model: nn.Module, given: Mapping[str, str] | None, rule: str, otherwise: str) -> str:
    """Return lines that say what went where: a rule and a role each, with its parameters.

    Example:
        >>> print(table(nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2)), None, "muon", "adamw"))
        muon steps hidden: 0.weight
        adamw steps head: 1.weight
        adamw steps vector: 0.bias, 1.bias
    """
    roles = roles_of(model, given)
    of = {role: [name for name, own in roles.items() if own == role] for role in ROLES}
    return "\n".join(
        f"{rule if role == HIDDEN else otherwise} steps {role}: {', '.join(names)}"
        for role, names in of.items()
        if names
    )
