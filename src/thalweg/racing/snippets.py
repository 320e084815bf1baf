"""Snippets: the lines of code that a verdict gives to paste."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from thalweg.rule import Rule

__all__ = ["Recipe", "thalweg", "torch"]

Hyper = Mapping[str, float]


@dataclass(frozen=True)
class Recipe:
    """A linear model and how it is trained.

    Args:
        loss: ``"squared"``, ``"logistic"`` or ``"softmax"``.
        features: number of inputs.
        outputs: number of outputs.
        l2: strength of the penalty.
        batch_size: examples per step.
        epochs: of the training.
        load: code that binds ``split``.
    """

    loss: str
    features: int
    outputs: int
    l2: float
    batch_size: int
    epochs: int
    load: str


def _adam(h: Hyper) -> str:
    return f"lr={h['lr']!r}, betas=({h['beta1']!r}, {h['beta2']!r}), eps={h['eps']!r}"


def _rmsprop(h: Hyper) -> str:
    return f"lr={h['lr']!r}, alpha={h['gamma']!r}, eps={h['eps']!r}"


# torch's class and keywords for each rule that it has, under torch's own names.
_TORCH: dict[str, tuple[str, Callable[[Hyper], str]]] = {
    "sgd": ("SGD", lambda h: f"lr={h['lr']!r}"),
    "momentum": ("SGD", lambda h: f"lr={h['lr']!r}, momentum={h['beta']!r}"),
    # torch's dampening spares the first step; the heavy ball at lr (1 - beta) is the same path
    "averaged_momentum": (
        "SGD",
        lambda h: f"lr={h['lr']!r} * (1 - {h['beta']!r}), momentum={h['beta']!r}",
    ),
    "nesterov": ("SGD", lambda h: f"lr={h['lr']!r}, momentum={h['beta']!r}, nesterov=True"),
    "adagrad": ("Adagrad", lambda h: f"lr={h['lr']!r}, eps={h['eps']!r}"),
    "rmsprop": ("RMSprop", _rmsprop),
    "centered_rmsprop": ("RMSprop", lambda h: f"{_rmsprop(h)}, centered=True"),
    "rmsprop_momentum": ("RMSprop", lambda h: f"{_rmsprop(h)}, momentum={h['beta']!r}"),
    "adadelta": ("Adadelta", lambda h: f"lr={h['lr']!r}, rho={h['rho']!r}, eps={h['eps']!r}"),
    "adam": ("Adam", _adam),
    "amsgrad": ("Adam", lambda h: f"{_adam(h)}, amsgrad=True"),
    "adamw": ("AdamW", lambda h: f"{_adam(h)}, weight_decay={h['weight_decay']!r}"),
    "adamax": ("Adamax", _adam),
    "nadam": ("NAdam", lambda h: f"{_adam(h)}, momentum_decay={h['momentum_decay']!r}"),
    "radam": ("RAdam", _adam),
    "rprop": (
        "Rprop",
        lambda h: (
            f"lr={h['lr']!r}, etas=({h['eta_minus']!r}, {h['eta_plus']!r}), "
            f"step_sizes=({h['step_min']!r}, {h['step_max']!r})"
        ),
    ),
    "asgd": (
        "ASGD",
        lambda h: f"lr={h['lr']!r}, lambd={h['lambd']!r}, alpha={h['alpha']!r}, t0={h['t0']!r}",
    ),
}

_OBJECTIVES = {
    "squared": "0.5 * torch.nn.functional.mse_loss(model(X).squeeze(1), y)",
    "logistic": (
        "torch.nn.functional.binary_cross_entropy_with_logits(model(X).squeeze(1), y.float())"
    ),
    "softmax": "torch.nn.functional.cross_entropy(model(X), y)",
}


def torch(recipe: Recipe, rule: Rule, hyper: Hyper) -> str:
    """Return lines that build the model, its optimizer and the objective in torch.

    The penalty is written into the objective: torch's weight_decay would decay the intercept too,
    and means something else in each of its classes.
    """
    if rule.name not in _TORCH:
        return f"# torch.optim has no {rule.name}; see the lines for thalweg"
    name, keywords = _TORCH[rule.name]
    objective = _OBJECTIVES[recipe.loss]
    if recipe.l2:
        objective += f" + {recipe.l2!r} / 2 * model.weight.square().sum()"
    return f"""\
import torch

model = torch.nn.Linear({recipe.features}, {recipe.outputs})
optimizer = torch.optim.{name}(model.parameters(), {keywords(hyper)})


def objective(X, y):  # of a minibatch of {recipe.batch_size}; the columns of X standardized
    return {objective}
"""


def thalweg(recipe: Recipe, rule: Rule, hyper: Hyper) -> str:
    """Return lines that repeat the training in thalweg."""
    keywords = ", ".join(f"{name}={value!r}" for name, value in hyper.items())
    return f"""\
from thalweg import data, linear

{recipe.load}
training = linear.train(
    split.train.X, split.train.y, loss={recipe.loss!r}, rule={rule.name!r},
    epochs={recipe.epochs}, batch_size={recipe.batch_size}, l2={recipe.l2!r}, initial="uniform",
    validation=(split.validation.X, split.validation.y), {keywords},
)
"""
