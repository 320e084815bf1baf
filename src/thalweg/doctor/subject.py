"""Subject: what is examined, and copies of it for experiments."""

import copy
import inspect
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property, partial
from types import CellType, FunctionType, MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.loaders import Batch, inputs, target
from thalweg.errors import TaskError, blamed, given_to_loss, no_loss
from thalweg.optim.optimizer import CompiledOptimizer

__all__ = [
    "Backward",
    "Copy",
    "Subject",
    "bare",
    "check_kinds",
    "cloned",
    "copied",
    "first_tensor",
    "leaves",
    "let_step",
    "nodes",
    "operation_of",
]

_OFTEN = 4  # uses of one parameter in one pass

LossFn = Callable[[Any, Any], Tensor]
Step = Callable[[nn.Module, Batch], Tensor]


def bare(model: nn.Module) -> nn.Module:
    """Return the user's own module from within torch.compile's or DDP's."""
    inner = getattr(model, "_orig_mod", None) or (
        model.module if isinstance(model, nn.parallel.DistributedDataParallel) else None
    )
    return bare(inner) if isinstance(inner, nn.Module) else model


def check_kinds(model: object, optimizer: object) -> None:
    """Raise TypeError unless these are a module and an optimizer, as where two are exchanged."""
    if not isinstance(model, nn.Module) or not hasattr(optimizer, "param_groups"):
        raise TypeError(
            "give a torch module as model, then a torch optimizer, then loss_fn; got "
            f"{type(model).__name__} as model and {type(optimizer).__name__} as optimizer"
        )


def first_tensor(tree: Any) -> Tensor | None:  # noqa: ANN401 - what a model returns
    """Return the first tensor of a tree of tuples, lists and dicts; None if it has none."""
    if isinstance(tree, Tensor):
        return tree
    members = tree.values() if isinstance(tree, dict) else tree
    if isinstance(members, Iterable) and not isinstance(members, str):
        return next((t for t in map(first_tensor, members) if t is not None), None)
    return None


def let_step(optimizer: Optimizer, again: Callable[[], Tensor]) -> None:
    """Let an optimizer take its step by the gradients at hand.

    Args:
        optimizer: of torch.optim, thalweg.optim, or any subclass.
        again: computes loss and gradients once more, for rules that ask for them, as LBFGS and SAM.
    """
    own = vars(optimizer).get("step")
    needed = _asks(own) if own is not None else _asks_of_class(type(optimizer).step)
    if needed or (isinstance(optimizer, CompiledOptimizer) and optimizer.asking):
        optimizer.step(lambda: again().detach())  # type: ignore[arg-type,return-value]
    else:
        optimizer.step()


def _asks(step: Callable[..., Any]) -> bool:
    """Return whether a step needs a closure."""
    closure = inspect.signature(step).parameters.get("closure")
    return closure is not None and closure.default is closure.empty


_asks_of_class = cache(_asks)  # else it would take as long as a small step does


def cloned(model: nn.Module, memo: dict[int, Any] | None = None) -> nn.Module:
    """Return a deep copy of a module; tensors of a compressed sparse layout have only a clone."""
    memo = {} if memo is None else memo
    for module in model.modules():
        for value in (*vars(module).values(), *module.buffers(recurse=False)):
            if isinstance(value, Tensor) and value.layout not in {torch.strided, torch.sparse_coo}:
                memo[id(value)] = value.clone()
    return copy.deepcopy(model, memo)


def copied(
    model: nn.Module, optimizer: Optimizer, loss_fn: LossFn | None, own: nn.Module | None = None
) -> tuple[nn.Module, Optimizer, LossFn | None]:
    """Return copies of model, optimizer and loss that belong together as the originals do.

    Args:
        model: the module.
        optimizer: of its parameters.
        loss_fn: may hold the module, as one with a penalty of its weights does.
        own: the module that the loss holds, where ``model`` is an earlier copy of it.

    Raises:
        TaskError: the model holds what cannot be copied.
    """
    memo: dict[int, Any] = {}
    try:
        twin = cloned(bare(model), memo)
        for ours, its in _pairs(own, twin) if own is not None else ():
            memo.setdefault(id(ours), its)
        twins = (twin, *copy.deepcopy((optimizer, loss_fn), memo))
        if isinstance(loss_fn, FunctionType):
            twins = *twins[:2], _rebound(loss_fn, memo)
    except Exception as error:
        raise TaskError(
            f"model cannot be copied, so nothing can be tried on a copy: {error}; keep no "
            "tensors with a graph as attributes (detach them)"
        ) from error
    # torch's optimizers copy their groups and state alone; LBFGS, or a subclass, needs more.
    compiled = isinstance(optimizer, CompiledOptimizer)
    for name, value in vars(optimizer).items():
        held = name in vars(twins[1]) or (compiled and name.startswith("_"))
        if not held and name != "step":
            setattr(twins[1], name, copy.deepcopy(value, memo))
    return twins


def _pairs(one: nn.Module, other: nn.Module) -> Iterator[tuple[object, object]]:
    """Yield the modules, parameters and buffers of a module beside those of its copy."""
    for each in (nn.Module.modules, nn.Module.parameters, nn.Module.buffers):
        yield from zip(each(one), each(other), strict=False)


def _rebound(function: FunctionType, memo: dict[int, Any]) -> FunctionType:
    """Return a function whose closure, globals and defaults have the copies of what was copied.

    A loss may hold the model, as one with a penalty of its weights does.
    """
    cells = function.__closure__ or ()
    if any(_empty(cell) for cell in cells):
        return function
    closure = tuple(CellType(memo.get(id(c.cell_contents), c.cell_contents)) for c in cells)
    used = {
        name: function.__globals__[name]
        for name in function.__code__.co_names
        if name in function.__globals__
    }
    changed = {name: memo[id(value)] for name, value in used.items() if id(value) in memo}
    defaults = tuple(memo.get(id(value), value) for value in function.__defaults__ or ())
    held = [*(c.cell_contents for c in cells), *(function.__defaults__ or ())]
    if not changed and not any(id(value) in memo for value in held):
        return function
    twin = FunctionType(
        function.__code__,
        {**function.__globals__, **changed},
        function.__name__,
        defaults,
        closure,
    )
    twin.__kwdefaults__ = function.__kwdefaults__
    return twin


def _modules(given: object, seen: frozenset[int] = frozenset()) -> Iterator[nn.Module]:
    """Yield the modules that a loss or a step is or uses, as a generator's the discriminator."""
    if id(given) in seen:
        return
    if isinstance(given, nn.Module):
        yield given
        return
    if isinstance(given, partial):
        used: list[object] = [given.func, *given.args, *given.keywords.values()]
    elif isinstance(given, MethodType):
        used = [given.__func__, *_members(given.__self__)]
    elif isinstance(given, FunctionType):
        cells = [c.cell_contents for c in given.__closure__ or () if not _empty(c)]
        named = [given.__globals__.get(name) for name in given.__code__.co_names]
        used = [*cells, *named, *(given.__defaults__ or ())]
    else:
        used = [*_members(given)]
    yield from _among(used)
    for one in used:
        if isinstance(one, partial | MethodType | FunctionType):
            yield from _modules(one, seen | {id(given)})


def _among(values: Iterable[object]) -> Iterator[nn.Module]:
    """Yield modules among values, and in lists, tuples and dicts that are among them."""
    for value in values:
        members: Iterable[object] = [value]
        if isinstance(value, dict):
            members = value.values()
        elif isinstance(value, list | tuple):
            members = value
        yield from (member for member in members if isinstance(member, nn.Module))


def _members(thing: object) -> Iterator[object]:
    yield thing
    yield from getattr(thing, "__dict__", {}).values()


def _empty(cell: CellType) -> bool:
    try:
        return cell.cell_contents is None
    except ValueError:
        return True


@dataclass
class Copy:
    """A copy of a training, to be changed, trained and broken.

    Args:
        model: its module.
        optimizer: of that module.
        loss_fn: of outputs and targets; None where the user's own step has it.
        step: the user's own (model, batch) -> loss, or None.
        change: what is done to the outputs before the loss, or None.
        clip: norm to which gradients are clipped, or None.
    """

    model: nn.Module
    optimizer: Optimizer
    loss_fn: LossFn | None
    step: Step | None = None
    change: Callable[[Any], Any] | None = None
    clip: float | None = None

    def outputs(self, batch: Batch) -> Any:  # noqa: ANN401 - what the model returns
        """Return the model's outputs on a batch."""
        out = self.model(*inputs(batch))
        return self.change(out) if self.change else out

    def loss(self, batch: Batch) -> Tensor:
        """Return the loss on a batch, a scalar with its graph."""
        if self.step is not None:
            return self.step(self.model, batch)
        assert self.loss_fn is not None
        return self.loss_fn(self.outputs(batch), target(batch))

    @property
    def parameters(self) -> list[nn.Parameter]:
        """Those in the optimizer."""
        return [p for group in self.optimizer.param_groups for p in group["params"]]

    def train(
        self,
        batches: Sequence[Batch],
        steps: int,
        allowance: Allowance,
        hopeless: Callable[[Sequence[float]], bool] = lambda _: False,
    ) -> list[float]:
        """Take plain steps, the batches in turn; return the losses before each.

        The course ends early at a loss that is not finite (it is the last one returned), when the
        allowance is used, or when the losses so far are hopeless.
        """
        losses: list[float] = []
        for number in range(steps):
            with allowance:
                losses.append(self.take_step(batches[number % len(batches)]))
            if not abs(losses[-1]) < float("inf") or allowance.over or hopeless(losses):
                break
        return losses

    def take_step(self, batch: Batch) -> float:
        """Take one plain step on a batch, and return the loss before it."""
        value = float(self.gradients(batch).detach())
        let_step(self.optimizer, partial(self.gradients, batch))
        return value

    def gradients(self, batch: Batch) -> Tensor:
        """Compute the gradients of the loss on a batch, clipped; return the loss."""
        self.optimizer.zero_grad()
        loss = self.loss(batch)
        loss.backward()
        if self.clip is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.clip)
        return loss


def _dense(gradient: Tensor | None) -> Tensor | None:
    """Return a gradient as a dense tensor, that of an embedding with ``sparse=True`` too."""
    return gradient.to_dense() if gradient is not None and gradient.is_sparse else gradient


def _plain(values: Iterable[object]) -> Iterator[Tensor]:
    """Yield tensors among values, and in lists, tuples and dicts of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, list | tuple):
            yield from _plain(value)
        elif isinstance(value, dict):
            yield from _plain(value.values())


@dataclass(frozen=True)
class Backward:
    """What a backward pass on the first batch brought.

    Args:
        loss: its value.
        connected: whether the loss has a graph.
        gradients: by the name of a parameter; None for one that the graph does not reach.
        strays: shapes of leaves that the graph reaches and that are no parameters of the model.
    """

    loss: float
    connected: bool
    gradients: dict[str, Tensor | None] = field(default_factory=dict)
    strays: tuple[tuple[int, ...], ...] = ()


class Subject:
    """What is examined: a training, its data, and copies of it.

    Args:
        model: the user's module.
        optimizer: the user's; of what may be another module.
        loss_fn: of outputs and targets; None where step has it.
        batches: of training data, in the order of training; at least one.
        validation: batches of validation data.
        step: the user's own (model, batch) -> loss.
        start: what copies are made of: model and optimizer as they were at the start; None: as
            they are.
        clip: the norm to which the user's loop clips gradients, or None.
        complete: whether ``batches`` are all training data there are.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        loss_fn: LossFn | None,
        batches: Sequence[Batch],
        validation: Sequence[Batch] = (),
        *,
        step: Step | None = None,
        start: tuple[nn.Module, Optimizer] | None = None,
        clip: float | None = None,
        complete: bool = False,
    ) -> None:
        self.model = bare(model)
        self.optimizer = optimizer
        self.loss_fn = loss_fn
        self.batches = list(batches)
        self.validation = list(validation)
        self.step = step
        self.clip = clip
        self.complete = complete
        self.start = start or (self.model, optimizer)

    def copy(self) -> Copy:
        """Return a copy of the training at its start, in training mode.

        Of a model in training mode, parts that are not stay so. A warm-up from 0 leaves nothing to
        see; the copy has the rate that it goes up to.
        """
        model, optimizer, loss_fn = copied(*self.start, self.loss_fn, self.model)
        if self.step is None and self._derives:
            model.forward = torch.enable_grad()(model.forward)
        if not model.training:
            model.train()
        for group in optimizer.param_groups:
            if group.get("lr") == 0:
                group["lr"] = group.get("initial_lr", 0.0)
        step = _graphed(self.step) if self.step is not None and self._derives else self.step
        return Copy(model, optimizer, loss_fn, step, clip=self.clip)

    def now(self) -> "Subject":
        """Return the training as it is now, with the same batches."""
        own = (self.model, self.optimizer, self.loss_fn, self.batches, self.validation)
        return Subject(*own, step=self.step, clip=self.clip, complete=self.complete)

    @property
    def start_model(self) -> nn.Module:
        """The module that copies are made of; it is not to be changed."""
        return self.start[0]

    @property
    def batch(self) -> Batch:
        """The first batch."""
        return self.batches[0]

    @property
    def pairs(self) -> bool:
        """Whether batches are (x, y) and the loss is a function of outputs and targets."""
        ordered = all(isinstance(b, list | tuple) and len(b) > 1 for b in self.batches)
        return self.step is None and self.loss_fn is not None and ordered

    @property
    def refusal(self) -> str:
        """Why no loss can be computed of these batches; empty where it can."""
        if self.step is None and not self.pairs:
            kind = type(self.batch).__name__
            return (
                f"a batch must be a tuple or list of inputs and targets, got {kind}; for another "
                "form give step, a function of model and batch that returns the loss"
            )
        first = first_tensor(self.batch)
        return "a batch has no examples" if first is not None and first.numel() == 0 else ""

    @cached_property
    def game(self) -> bool:
        """Whether the loss uses a module that is trained beside the model: it need not fall."""
        own = {id(p) for m in (self.model, self.start_model) for p in m.parameters()}
        own |= {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        others = (m for m in _modules(self.loss_fn) if m is not self.loss_fn)
        return any(p.requires_grad and id(p) not in own for m in others for p in m.parameters())

    @cached_property
    def examples(self) -> int:
        """How many examples the first batch has."""
        tensor = first_tensor(target(self.batch) if self.pairs else self.batch)
        return 0 if tensor is None or tensor.ndim == 0 else len(tensor)

    @cached_property
    def _derives(self) -> bool:
        """Whether a model or a step takes derivatives, and so needs a graph in evaluation, too."""
        model = cloned(self.model).eval()
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=[]):
                _ = self.step(model, self.batch) if self.step else model(*inputs(self.batch))
        except RuntimeError as error:
            return "does not require grad" in str(error)
        except Exception:  # noqa: BLE001 - it is told where an output is asked for
            return False
        return False

    @cached_property
    def output(self) -> Tensor | None:
        """The output on the first batch in evaluation mode; None where there is not just one."""
        if not self.pairs:
            return None
        out = self.returned()
        return out.detach() if isinstance(out, Tensor) and out.is_floating_point() else None

    def returned(self) -> Any:  # noqa: ANN401 - whatever the user's model returns
        """Return what the model returns for the first batch in evaluation mode."""
        model = self.copy().model.eval()
        with torch.no_grad(), blamed("model"):
            return model(*inputs(self.batch))

    def _given_to_loss(self) -> str:
        if not self.pairs:
            return ""
        out = self.returned() if self.output is None else self.output
        return given_to_loss(out, target(self.batch))

    @cached_property
    def backward(self) -> Backward:
        """What a backward pass on the first batch brings, on a copy in training mode."""
        twin = self.copy()
        twin.optimizer.zero_grad()
        with blamed("loss", self._given_to_loss):
            loss = twin.loss(self.batch)
        if not isinstance(loss, Tensor):
            raise TaskError(f"the loss must be a tensor of one number, got {no_loss(loss)}")
        if loss.numel() != 1:
            raise TaskError(
                f"the loss must be one number, got the shape {tuple(loss.shape)}; take its mean"
            )
        value = float(loss.detach())
        if not loss.requires_grad:
            return Backward(value, connected=False)
        with blamed("backward of the loss"):
            loss.backward()
        named = dict(twin.model.named_parameters())
        known = {id(p) for p in [*named.values(), *self.model.parameters(), *twin.parameters]}
        for module in (*_modules(twin.loss_fn), *_modules(twin.step)):
            known |= {id(p) for p in module.parameters()}
        strays = [leaf for leaf in leaves(loss) if id(leaf) not in known]
        plain = {id(t) for module in twin.model.modules() for t in _plain(vars(module).values())}
        strays = [leaf for leaf in strays if isinstance(leaf, nn.Parameter) or id(leaf) in plain]
        return Backward(
            value,
            connected=True,
            gradients={name: _dense(p.grad) for name, p in named.items()},
            strays=tuple(tuple(leaf.shape) for leaf in strays),
        )

    @cached_property
    def reused(self) -> bool:
        """Whether a parameter is used again and again in a pass, as in a recurrent network."""
        loss = self.copy().loss(self.batch)
        uses: dict[object, int] = {}
        seen, waiting = set(), [loss.grad_fn]
        while waiting:
            node = waiting.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            for following, _ in node.next_functions:
                waiting.append(following)
                if hasattr(following, "variable"):
                    uses[following] = uses.get(following, 0) + 1
        return max(uses.values(), default=0) >= _OFTEN


def _graphed(step: Step) -> Step:
    """Return a step that has a graph to take derivatives of where its own is not wanted."""

    def with_graph(model: nn.Module, batch: Batch) -> Tensor:
        with torch.enable_grad():
            loss = step(model, batch)
        return loss if torch.is_grad_enabled() else loss.detach()

    return with_graph


def nodes(loss: Tensor, without: Collection[str] = ()) -> Iterator[Any]:
    """Yield the nodes of a loss's graph.

    Args:
        loss: at which the graph ends.
        without: operations, such as ``"Round"``, that are not passed through.
    """
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in seen or operation_of(node) in without:
            continue
        seen.add(node)
        yield node
        waiting += [following for following, _ in node.next_functions]


def operation_of(node: Any) -> str:  # noqa: ANN401 - torch has no public class of it
    """Return what a node is the derivative of, such as ``"Round"``."""
    return str(node.name()).split("Backward", maxsplit=1)[0]


def leaves(loss: Tensor, without: Collection[str] = ()) -> list[Tensor]:
    """Return the leaves that a loss's graph reaches, not by way of some operations."""
    return [node.variable for node in nodes(loss, without) if hasattr(node, "variable")]
