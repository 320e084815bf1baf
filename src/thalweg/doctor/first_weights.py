"""First weights: treatments of those that are too large, too small or alike, and activations."""

import math
from collections.abc import Iterator, Sequence
from functools import partial

import torch
from torch import Tensor, nn

from thalweg.doctor.allowance import Allowance
from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.checks.gradients import rectified
from thalweg.doctor.checks.start import loss_starts_high
from thalweg.doctor.finding import Finding
from thalweg.doctor.layers import (
    activations,
    constant_weights,
    gains,
    leaky,
    replaced,
    reset,
    sensitivity,
)
from thalweg.doctor.scale import Scale, numbers
from thalweg.doctor.subject import Copy, Subject
from thalweg.doctor.treatment import Treatment
from thalweg.doctor.trials import Trials
from thalweg.words import digits, listed, percent

__all__ = ["activating", "drawing", "drawn_too_large"]

_GAIN = 2.5  # by which a layer enlarges its input: He's draw has 1.41
_DRAWN, _SMALLER = 0.5, 0.1  # size of embeddings, where torch's own draw has 1; a factor
_SENSITIVE = 0.3  # of outputs' deviation, for 1 % of that of inputs
_SWOLLEN = 100.0  # times the size of inputs: outputs for which a loss starts high
_LOSS = 0.1  # by which a layer shrinks it: torch's own draw has 0.58
_SHUT = 3.0  # of a bias: the sigmoid of more is within 5 % of its end
_CARRIES = 0.5  # of what is left on validation data
_SATURATED = 3  # activations with a bounded range, one behind the other


def drawing(subject: Subject) -> Iterator[Treatment]:
    """Yield other first weights where they are too large, too small, or alike."""
    sizes, large = gains(subject.start_model), _enlarging(subject)
    if large:
        most = max(large, key=lambda name: large[name])
        yield Treatment(
            "init_too_large",
            0,
            "weights drawn anew as torch does",
            f"{len(large)} of {len(sizes)} layers start with weights that enlarge their input "
            f"more than {_GAIN}-fold: {most or 'the model'} {digits(large[most])}-fold.",
            reset,
        )
    else:
        yield from _sensitive(subject)
        yield from _swollen(subject)
    yield from _embeddings(subject)
    alike = constant_weights(subject.start_model)
    if alike:  # in parts, as the means and the deviations of a mixture are, units may stay so
        yield Treatment(
            "constant_init",
            1,
            "those weights drawn at random",
            f"All units of {listed(alike, 4)} start with the same weights.",
            partial(_drawn, names=alike),
        )
    shut = [name for name, p in subject.start_model.named_parameters() if _outweighs(name, p)]
    if shut:
        yield Treatment(
            "plateau",
            0,
            "those biases at 0",
            f"Biases start at {_SHUT} or more below or above 0, where gates and bounded units are "
            f"shut or open whatever the inputs are: {listed(shut, 4)}.",
            partial(_unbiased, names=shut),
        )
    small = [name for name, g in sizes.items() if 0 < g < _LOSS]
    if small and 2 * len(small) >= len(sizes):
        sign = (
            f"{len(small)} of {len(sizes)} layers start with weights that shrink their input more "
            f"than {round(1 / _LOSS)}-fold: neither signals nor gradients come through."
        )
        yield Treatment("plateau", 0, "weights drawn anew as torch does", sign, reset)
        # Through many layers torch's own draw fades too.
        yield Treatment("plateau", 0, "weights drawn anew as He does", sign, _rectified)


def _enlarging(subject: Subject) -> dict[str, float]:
    """Return the layers that enlarge their input, by how much; none where most do not."""
    sizes = gains(subject.start_model)
    large = {name: g for name, g in sizes.items() if g > _GAIN}
    return large if 2 * len(large) >= len(sizes) else {}


def activating(subject: Subject) -> Iterator[Treatment]:
    """Yield other activations where they are bounded one after the other, or dead."""
    found = activations(subject)
    bounded = [a for a in found if a.kind != "relu"]
    if len(bounded) >= _SATURATED:
        yield Treatment(
            "vanishing_gradient_sigmoid",
            # With rectifiers weights are drawn anew: where they are too large, that helps, too.
            1 if _enlarging(subject) else 0,
            f"ReLU instead of {bounded[0].kind}",
            f"{len(bounded)} activations with a bounded range follow one another.",
            _rectified,
            around=partial(replaced, {"sigmoid", "tanh"}, torch.relu),
        )
    dead = max((a.dead for a in found), default=0.0)
    if subject.pairs and subject.output is not None:
        last = subject.copy().outputs(subject.batch)
        if rectified(last):
            yield Treatment(
                "dead_relu",
                -1,
                "leaky rectifiers",
                "The outputs come from a rectifier: one that is 0 for every example, such as the "
                "score of a class, gets no gradient. Leave it out behind the last layer.",
                around=partial(replaced, {"relu", "relu_"}, leaky),
            )
            return
    if dead > 0.5:
        yield Treatment(
            "dead_relu",
            1,
            "leaky rectifiers",
            f"{dead:.0%} of the units of a layer are 0 for every example at the start.",
            around=partial(replaced, {"relu", "relu_"}, leaky),
        )


def drawn_too_large(trials: Trials, last: float) -> Finding | None:
    """Look for first weights that are too large to learn what carries over.

    Args:
        trials: of a training that has learned its own data alone.
        last: its validation loss at the end.
    """
    subject = trials.subject
    large = next((one for one in drawing(subject) if one.cause == "init_too_large"), None)
    best = constant_loss(subject, subject.validation)
    if large is None or not best:
        return None
    torch.manual_seed(0)
    twin = subject.copy()
    large.prepare(twin)
    twin.train(subject.batches, len(trials.plain.losses), Allowance(trials.seconds))
    twin.model.eval()
    with torch.no_grad():
        losses = [float(twin.loss(batch)) for batch in subject.validation]
    left, held = sum(losses) / len(losses) / best, last / best
    if not left < _CARRIES * held:
        return None
    return Finding(
        "init_too_large",
        "problem",
        f"{large.sign} With {large.words}, {digits(left)} of the loss of a constant output is left "
        f"on validation data; as it is, {digits(held)}.",
        {"left on validation data": held, "left with the cure": left},
        f"a copy with other first weights leaves less than {percent(_CARRIES)} of that",
        "an experiment: a copy trained from other first weights",
        onset=0,
        sure=0.8,
    )


def _outweighs(name: str, parameter: Tensor) -> bool:
    bias = parameter.ndim == 1 and "bias" in name and parameter.numel() > 1
    return bias and float(parameter.detach().abs().max()) >= _SHUT


def _unbiased(twin: Copy, names: Sequence[str]) -> None:
    for name in names:
        twin.model.get_parameter(name).detach().zero_()


def _drawn(twin: Copy, names: Sequence[str]) -> None:
    """Draw weights as torch does."""
    torch.manual_seed(0)
    for name in names:
        nn.init.kaiming_uniform_(twin.model.get_parameter(name).detach(), a=math.sqrt(5))


def _sensitive(subject: Subject) -> Iterator[Treatment]:
    """Yield smaller first weights where outputs hang on the last digits of inputs.

    What enlarges signals may stand beside the weights, as the frequency does in layers of sines.
    """
    moved = sensitivity(subject)
    if moved > _SENSITIVE and not any(s.far for s in map(Scale.of, numbers(subject.batches))):
        sign = (
            f"Outputs of the first weights move by {moved:.0%} of their deviation where inputs "
            "move by 1 % of theirs."
        )
        for factor in (10, 30):
            change = partial(_weakened, factor=factor)
            words = f"first weights divided by {factor}"
            yield Treatment("init_too_large", 0, words, sign, change)


def _swollen(subject: Subject) -> Iterator[Treatment]:
    """Yield other first weights where layers that are each of a usual size swell signals together.

    Residual blocks do so: what each adds is as large as what it is given.
    """
    out = subject.output
    if out is None:
        return
    given = [Scale.of(x).size for x in numbers(subject.batches)]
    size = _size(out) / max([1.0, *given])
    if size > _SWOLLEN and loss_starts_high(subject) is not None:
        yield Treatment(
            "init_too_large",
            0,
            "weights drawn anew as torch does",
            f"Outputs of the first weights are {digits(size)} times as large as inputs: layer by "
            "layer they grow.",
            reset,
        )


def _weakened(twin: Copy, factor: float) -> None:
    for weight in twin.parameters:
        if weight.ndim > 1:
            weight.detach().div_(factor)


def _embeddings(subject: Subject) -> Iterator[Treatment]:
    """Yield smaller embeddings where the loss starts high, as sums of their products make it."""
    high = loss_starts_high(subject)
    drawn = dict(_large_embeddings(subject.start_model)) if high is not None else {}
    if high is not None and drawn:
        yield Treatment(
            "init_too_large",
            0,
            f"embeddings divided by {round(1 / _SMALLER)}",
            f"{high.sentence} Embeddings are drawn with deviation 1, and products of them are "
            f"summed: {listed(list(drawn), 4)}.",
            _divided,
        )


def _large_embeddings(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding | nn.EmbeddingBag) and _size(module.weight) > _DRAWN:
            yield name, module.weight


def _size(weight: Tensor) -> float:
    return float(weight.detach().pow(2).mean().sqrt())


def _divided(twin: Copy) -> None:
    for _, weight in list(_large_embeddings(twin.model)):
        weight.detach().mul_(_SMALLER)


def _rectified(twin: Copy) -> None:
    """Draw weights as He does, which suits rectifiers."""
    torch.manual_seed(0)
    for module in twin.model.modules():
        if isinstance(module, nn.Linear | nn.modules.conv._ConvNd):  # noqa: SLF001
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
