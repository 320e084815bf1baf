"""Snippets: the lines of code that a verdict gives to paste."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from thalweg import catalog
from thalweg.kind import MATRICES
from thalweg.rule import Rule
from thalweg.tasks.schedule import CONSTANT, rise

__all__ = ["LinearFit", "module", "scikit_learn", "thalweg", "torch", "torch_class"]

Setting = Mapping[str, float]


@dataclass(frozen=True)
class LinearFit:
    """A linear model and how it is trained.

    Args:
        loss: ``"squared"``, ``"logistic"`` or ``"softmax"``.
        features: number of inputs.
        outputs: number of outputs.
        l2: strength of the penalty.
        batch_size: examples per step.
        epochs: of the training.
        load: code of the data set.
        seed: of its split.
        frame: whether its columns are a data frame's.
    """

    loss: str
    features: int
    outputs: int
    l2: float
    batch_size: int
    epochs: int
    load: str
    seed: int = 0
    frame: bool = False


Keywords = dict[str, Any]


def torch_class(rule: Rule, hyper: Setting) -> tuple[str, Keywords] | None:
    """Return the name of torch's class for a rule, and its keywords; None if torch has none.

    Example:
        >>> from thalweg import rules
        >>> torch_class(rules.get("momentum"), {"lr": 0.1, "beta": 0.9})
        ('SGD', {'lr': 0.1, 'momentum': 0.9})
    """
    known = catalog.of(rule).torch
    return (known.name, known.keywords(hyper)) if known and known.in_torch else None


def _arguments(keywords: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in keywords.items())


def _lacking(rule: Rule) -> str:
    return f"# torch.optim has no {rule.name} that takes these steps; see the lines for thalweg"


def module(rule: Rule, hyper: Setting, *, schedule: str, steps: int) -> dict[str, str]:
    """Return lines that make the optimizer and the scheduler for a given ``model``.

    Args:
        rule: the rule.
        hyper: all its hyperparameters.
        schedule: of the rate. Call the scheduler's ``step()`` after each of the optimizer's.
        steps: of the whole training.

    Returns:
        The lines for each library: "torch" and "thalweg".
    """
    known, hyper = torch_class(rule, hyper), rule.lasting(hyper, steps)
    if known is None:
        of_matrices = rule.kind == MATRICES
        given = "model" if of_matrices else "model.parameters()"
        rest = "otherwise='adamw', " * of_matrices
        made = f"Descent({given}, {rule.name!r}, {rest}{_arguments(hyper)})"
    else:
        made = f"{known[0]}(model.parameters(), {_arguments(known[1])})"
    own, torch = f"optimizer = optim.{made}\n", f"optimizer = torch.optim.{made}\n"
    if schedule == CONSTANT:
        own = f"from thalweg import optim\n\n{own}"
    else:
        own = _OWN_SCHEDULED.format(own, schedule, steps)
        torch += _torch_scheduler(steps)
    if rule.inputs:
        own += "# step with optimizer.step(closure), which computes loss and gradients again\n"
    if rule.judged is not None:
        own += "# judge the model inside `with optimizer.answer():`\n"
    return {"torch": f"import torch\n\n{torch}" if known else _lacking(rule), "thalweg": own}


_OWN_SCHEDULED = """\
import torch

from thalweg import optim
from thalweg.tasks import schedule

{}# scheduler.step() follows each optimizer.step()
scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.factor({!r}, {}))
"""


def _torch_scheduler(steps: int) -> str:
    """Return lines that make ``schedule.factor`` out of torch's schedulers."""
    warm = rise(steps)
    fall = f"torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, {steps - warm})"
    comment = "# scheduler.step() follows each optimizer.step()"
    if not warm:
        return f"{comment}\nscheduler = {fall}\n"
    return f"""\
{comment}
warmup = torch.optim.lr_scheduler.LinearLR(optimizer, 1 / {warm + 1}, total_iters={warm})
cosine = {fall}
scheduler = torch.optim.lr_scheduler.SequentialLR(optimizer, [warmup, cosine], [{warm}])
"""


_OBJECTIVES = {
    "squared": "0.5 * torch.nn.functional.mse_loss(model(X).squeeze(1), y)",
    "logistic": (
        "torch.nn.functional.binary_cross_entropy_with_logits(model(X).squeeze(1), y.float())"
    ),
    "softmax": "torch.nn.functional.cross_entropy(model(X), y)",
}


def torch(fit: LinearFit, rule: Rule, hyper: Setting) -> str:
    """Return lines that load the data as the race did, and train the model on them in torch.

    The penalty is written into the objective: torch's weight_decay would decay the intercept too,
    and means something else in each of torch's classes.
    """
    known = torch_class(rule, hyper)
    if known is None:
        return _lacking(rule)
    name, keywords = known
    objective = _OBJECTIVES[fit.loss]
    if fit.l2:
        objective += f" + {fit.l2!r} / 2 * model.weight.square().sum()"
    dtype = ", dtype=torch.float32" if fit.loss == "squared" else ""
    return f"""\
import torch

from thalweg import data

{_data(fit)}
inputs = torch.tensor(split.train.X, dtype=torch.float32)
targets = torch.tensor(split.train.y{dtype})
model = torch.nn.Linear({fit.features}, {fit.outputs})
optimizer = torch.optim.{name}(model.parameters(), {_arguments(keywords)})


def objective(X, y):
    return {objective}


for _ in range({fit.epochs}):
    for rows in torch.randperm(len(inputs)).split({fit.batch_size}):
        optimizer.zero_grad()
        objective(inputs[rows], targets[rows]).backward()
        optimizer.step()
"""


def _data(fit: LinearFit) -> str:
    """Return the line that binds ``split``, and what it does to the numbers."""
    if fit.loss == "squared":
        says = """\
# Standardizes X and y by the training part. A prediction in the unit of y is the model's times
# split.y_scale plus split.y_mean."""
    else:
        says = "# Standardizes X by the training part."
    return f"{says}\nsplit = data.split({fit.load}, seed={fit.seed})"


def thalweg(fit: LinearFit, rule: Rule, hyper: Setting) -> str:
    """Return lines that repeat the training in thalweg."""
    return f"""\
from thalweg import data, linear

{_data(fit)}
training = linear.train(
    split.train.X, split.train.y, loss={fit.loss!r}, rule={rule.name!r},
    epochs={fit.epochs}, batch_size={fit.batch_size}, l2={fit.l2!r}, initial="uniform",
    validation=(split.validation.X, split.validation.y), {_arguments(hyper)},
)
"""


_TABLE = (  # imports before and after the others, the first steps, and how rows are taken
    "from sklearn.impute import SimpleImputer\n",
    "from skrub import TableVectorizer\n",
    "    TableVectorizer(),\n    SimpleImputer(strategy='median', add_indicator=True),\n",
    ".iloc",
)


def scikit_learn(fit: LinearFit, rule: Rule, hyper: Setting) -> str:
    """Return lines that train a pipeline of scikit-learn, with an estimator that has the rule.

    scikit-learn's own estimators have SGD alone, one row at a time, and Adam of small networks. The
    estimator starts at zero, and may answer with the average of its parameters.
    """
    if rule.judged is not None:
        return f"# no estimator has {rule.name}, which is judged elsewhere than it trains"
    name = "LinearRegressor" if fit.loss == "squared" else "LinearClassifier"
    own = {key: value for key, value in hyper.items() if key != "lr"}
    keywords = {"lr": hyper["lr"], **({"hyper": own} if own else {})}
    first, last, steps, at = _TABLE if fit.frame else ("", "", "", "")
    coded = "" if fit.loss == "squared" else "  # dataset.classes are the names of the numbers in y"
    return f"""\
{first}from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
{last}
from thalweg import data
from thalweg.linear import {name}

dataset = {fit.load}
split = data.split(dataset, seed={fit.seed})
train, test = split.train.rows, split.test.rows
X, y = dataset.X, dataset.y{coded}
# finish=False ends where the rule does. Without it, fit may go on to the optimum.
model = make_pipeline(
{steps}    StandardScaler(),
    {name}(
        rule={rule.name!r}, {_arguments(keywords)},
        max_iter={fit.epochs}, batch_size={fit.batch_size}, alpha={fit.l2!r},
        finish=False, tol=None,
    ),
)
model.fit(X{at}[train], y[train])
print(model.score(X{at}[test], y[test]))
"""
