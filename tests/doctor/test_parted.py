"""A step of the user's own is parted by experiment into inputs, outputs and a loss."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from tests.doctor.examined import classes, net
from torch import Tensor, nn
from torch.nn import functional

import thalweg
from thalweg.doctor.baseline import constant_loss
from thalweg.doctor.parted import parted
from thalweg.doctor.subject import Subject

X, Y = classes()
TOKENS = torch.randint(3, (160, 12), generator=torch.Generator().manual_seed(0))


def pair(x: Tensor, y: Tensor) -> Any:
    return x, y


def named(x: Tensor, y: Tensor) -> Any:
    return {"labels": y, "x": x}


def described(x: Tensor, y: Tensor) -> Any:
    return {"epoch": 3, "labels": y, "x": 255 * x, "kind": "digits"}


class Encoder(nn.Module):
    """Two modules that a step calls one after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)


class Language(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.out = nn.Embedding(3, 8), nn.Linear(8, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.out(self.embed(tokens))


class Lit(nn.Module):
    """As a module of Lightning, whose step calls a part of it."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.criterion = net(), nn.CrossEntropyLoss(label_smoothing=0.1)


class Scorer(nn.Module):
    """As a model of transformers, which returns its loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor, mask: Any = None, labels: Any = None) -> dict[str, Tensor]:
        assert mask is None
        scores = self.net(x)
        if labels is None:
            return {"logits": scores}
        return {"loss": functional.cross_entropy(scores.view(-1, 3), labels), "logits": scores}


class Blind(nn.Module):
    """Reads nothing of its input but the shape."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Any:
        return self.net(torch.zeros_like(x))


class TimeFirst(nn.Module):
    """As a model that is trained by a CTC loss: scores for each of three times and each example."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(2, 4)

    def forward(self, x: Tensor) -> Any:
        return self.out(x.view(-1, 3, 2)).log_softmax(2).transpose(0, 1)


def aligned(model: Any, batch: Any) -> Tensor:
    scores, y = model(batch[0]), batch[1][:, None] + 1
    lengths = (torch.full((len(y),), n) for n in (3, 1))
    return functional.ctc_loss(scores, y, *lengths)


def smooth(model: Any, batch: Any) -> Tensor:
    return functional.cross_entropy(model(batch[0]), batch[1], label_smoothing=0.1)


def of_a_part(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model.criterion(model.net(batch["x"].flatten(1)), batch["labels"])
    return loss


def of_numbers(model: Any, batch: Any) -> Tensor:
    out, y = model(input=batch[0]).squeeze(1), batch[1].float()
    functional.l1_loss(out, y)  # as a measure beside the loss
    return functional.mse_loss(out, y)


class Both(Language):
    """As models of texts that return scores and a loss of all of their places."""

    def forward(self, tokens: Tensor, labels: Tensor) -> Any:
        scores = super().forward(tokens)
        return scores, functional.cross_entropy(scores.view(-1, 3), labels.reshape(-1))


class Shifting(Language):
    """As models of transformers that compare a text with itself, and shift it themselves."""

    def forward(self, tokens: Tensor, labels: Tensor) -> Any:
        scores = super().forward(tokens)[:, :-1].reshape(-1, 3)
        return {
            "loss": functional.cross_entropy(scores, labels[:, 1:].reshape(-1)),
            "logits": scores,
        }


def causal(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model(*batch)["loss"]
    return loss


def doubled(x: Tensor, _: Tensor) -> Any:
    return (TOKENS[: len(x)], TOKENS[: len(x)].clone())


def second(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model(*batch)[1]
    return loss


def shifted(x: Tensor, _: Tensor) -> Any:
    return TOKENS[: len(x), :-1].contiguous(), TOKENS[: len(x), 1:].contiguous()


def own(model: Any, batch: Any) -> Tensor:
    loss: Tensor = model(**batch)["loss"]
    return loss


def penalized(model: Any, batch: Any) -> Tensor:
    scores = model(batch["x"] / 255).log_softmax(1)
    loss: Tensor = -scores.gather(1, batch["labels"][:, None]).mean()
    return loss + 0.1 * model[0].weight.square().sum()


def without_a_layer(model: Any, batch: Any) -> Tensor:
    return functional.cross_entropy(model[2](batch[0] @ model[0].weight.T), batch[1])


def changing(model: Any, batch: Any) -> Tensor:
    """Weights classes anew each time."""
    return functional.cross_entropy(model(batch[0]), batch[1], weight=torch.rand(3))


def variational(model: Any, batch: Any) -> Tensor:
    mean, spread = model.encode(batch[0]).chunk(2, 1)
    out = model.decode(mean + spread.exp() * torch.randn_like(mean))
    penalty = (spread.exp() ** 2 + mean**2 - 2 * spread).sum(1).mean()
    return functional.mse_loss(out, batch[0]) + 1e-3 * penalty


def next_token(model: Any, batch: Any) -> Tensor:
    tokens = batch[0]
    scores = model(tokens[:, :-1])
    return functional.cross_entropy(scores.reshape(-1, 3), tokens[:, 1:].reshape(-1))


def next_scores(model: Any, batch: Any) -> Tensor:
    """Cuts scores, not tokens."""
    scores = model(batch[0])[:, :-1]
    return functional.cross_entropy(scores.reshape(-1, 3), batch[0][:, 1:].reshape(-1))


def unshifted(model: Any, batch: Any) -> Tensor:
    scores = model(batch[0][:, 1:])
    return functional.cross_entropy(scores.reshape(-1, 3), batch[0][:, 1:].reshape(-1))


def denoising(model: Any, batch: Any) -> Tensor:
    noise = torch.randn_like(batch[0])
    out = model.decode(model.encode(batch[0] + noise)[:, :2])
    return functional.mse_loss(out, noise)


def itself(x: Tensor, _: Tensor) -> Any:
    return (x,)


def tokens(x: Tensor, _: Tensor) -> Any:
    return (TOKENS[: len(x)] if len(x) else x,)


def subject(model: nn.Module, step: Any, form: Callable[[Tensor, Tensor], Any]) -> Subject:
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    batches = [form(X[i::10], Y[i::10]) for i in range(10)]
    return Subject(model, optimizer, None, batches[:8], batches[8:], step=step)


FORMS: dict[str, tuple[Callable[[], nn.Module], Any, Any, tuple[int, ...], Any]] = {
    "a loss with an option": (net, smooth, pair, (3,), (X[::10], Y[::10])),
    "a part of the model, and a loss that is a module": (
        Lit,
        of_a_part,
        named,
        (3,),
        (X[::10], Y[::10]),
    ),
    "an output that is squeezed": (lambda: net(1), of_numbers, pair, (1,), (X[::10], Y[::10])),
    "a model that returns its loss": (Scorer, own, named, (3,), (X[::10], Y[::10])),
    "an input that is not read": (Blind, smooth, pair, (3,), (X[::10], Y[::10])),
    "time first": (TimeFirst, aligned, pair, (3, 4), (X[::10], Y[::10])),
    "a text twice": (Shifting, causal, doubled, (11, 3), (TOKENS[:16], TOKENS[:16, 1:])),
    "scores and loss": (Both, second, shifted, (11, 3), (TOKENS[:16, :-1], TOKENS[:16, 1:])),
    "a loss by hand, with a penalty": (net, penalized, described, (3,), (X[::10] * 255, Y[::10])),
    "a layer that is not called": (net, without_a_layer, pair, (3,), (X[::10], Y[::10])),
    "other weights each time": (net, changing, pair, (3,), (X[::10], Y[::10])),
    "two calls": (Encoder, variational, itself, (6,), (X[::10], X[::10])),
    "no target but drawn numbers": (Encoder, denoising, itself, (6,), (X[::10], torch.arange(16))),
    "scores but the last": (Language, next_scores, tokens, (11, 3), (TOKENS[:16], TOKENS[:16, 1:])),
    "a given target": (Language, unshifted, tokens, (11, 3), (TOKENS[:16, 1:], TOKENS[:16, 1:])),
    "next tokens": (Language, next_token, tokens, (11, 3), (TOKENS[:16, :-1], TOKENS[:16, 1:])),
}


@pytest.mark.parametrize("form", FORMS)
def test_a_step_has_the_losses_and_gradients_of_its_parts(form: str) -> None:
    make, step, batch, shape, expected = FORMS[form]
    given = subject(make(), step, batch)
    found = parted(given)
    assert found.pairs
    torch.testing.assert_close(found.batch, expected, rtol=0, atol=0)
    assert found.output is not None
    assert found.output.shape == (16, *shape)
    assert (
        dict(found.model.named_parameters()).keys() == dict(given.model.named_parameters()).keys()
    )
    every = (each.batches + each.validation for each in (given, found))
    for parts in zip(*every, strict=True):
        twins, losses = (given.copy(), found.copy()), []
        for twin, part in zip(twins, parts, strict=True):
            torch.manual_seed(0)
            losses.append(twin.loss(part))
            losses[-1].backward()
        torch.testing.assert_close(*losses)
        grads = ([p.grad for p in twin.parameters] for twin in twins)
        torch.testing.assert_close(*grads)


def test_a_loss_that_draws_is_another_each_time() -> None:
    found = parted(subject(Encoder(), denoising, itself))
    assert found.loss_fn is not None
    first, second = (found.loss_fn(found.output, found.batch[-1]) for _ in range(2))
    assert not torch.equal(first, second)


def test_what_a_step_reads_shows_where_no_output_is_a_number() -> None:
    model = net()
    nn.init.constant_(model[0].weight, torch.nan)
    found = parted(subject(model, penalized, described))
    assert found.pairs
    torch.testing.assert_close(found.batch, (X[::10] * 255, Y[::10]), rtol=0, atol=0)


@pytest.mark.parametrize("by_step", [True, False])
def test_a_penalty_of_weights_that_have_grown_is_not_the_constants(*, by_step: bool) -> None:
    model = net()
    step = subject(model, penalized, described)
    kept = copy.deepcopy((model, step.optimizer))

    def loss_fn(out: Tensor, y: Tensor) -> Tensor:
        return functional.cross_entropy(out, y) + 0.1 * model[0].weight.square().sum()

    pairs = [(X[i::10], Y[i::10]) for i in range(10)]
    given = (None, step.batches, (), penalized) if by_step else (loss_fn, pairs, (), None)
    begun = Subject(model, step.optimizer, *given[:3], step=given[3], start=kept)
    least = constant_loss(parted(begun))
    with torch.no_grad():
        model[0].weight.mul_(1e6)
    again = Subject(model, step.optimizer, *given[:3], step=given[3], start=kept)
    assert constant_loss(parted(again)) == pytest.approx(least)
    assert not parted(again).game


def test_what_a_loss_is_asked_changes_no_model() -> None:
    class Normed(Encoder):
        def __init__(self) -> None:
            super().__init__()
            self.encode = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4))  # type: ignore[assignment]

    def decayed(model: Any, batch: Any) -> Tensor:
        return variational(model, batch) + model.decode.weight.square().sum()

    given = subject(Normed(), decayed, itself)
    found = parted(given)
    before = copy.deepcopy(given.start_model.state_dict())
    assert found.loss_fn is not None
    out = torch.zeros(16, 6, requires_grad=True)
    found.loss_fn(out, found.batch[-1]).backward()
    torch.testing.assert_close(given.start_model.state_dict(), before, rtol=0, atol=0)
    assert out.grad is not None
    assert all(p.grad is None for p in given.start_model.parameters())


def twice(model: Any, batch: Any) -> Tensor:
    loss = smooth(model, batch)
    model(batch[0].flip(0))
    return loss


def of_places(model: Any, batch: Any) -> Tensor:
    """Has a target for each of two places of an example."""
    return functional.cross_entropy(model(batch[0].view(8, 2, 6)).view(16, 3), batch[1])


def of_sums(model: Any, batch: Any) -> Tensor:
    """Has one output for two examples."""
    scores = model(batch[0].view(8, 2, 6).sum(1)).log_softmax(1)
    return -scores.gather(1, batch[1][::2, None]).mean()


def copying(model: Any, batch: Any) -> Tensor:
    """Of tokens that are input and target it is not known which place is which."""
    return functional.cross_entropy(model(batch[0]).reshape(-1, 3), batch[0].reshape(-1))


def warming(model: Any, batch: Any) -> Tensor:
    """Counts its calls, and a loss is asked by a second one."""
    model.calls = getattr(model, "calls", 0) + 1
    return model.calls * functional.cross_entropy(model(batch[0]), batch[1])


def mixup(model: Any, batch: Any) -> Tensor:
    """Mixes examples itself: the model does not."""
    order = torch.randperm(len(batch[0]))
    scores = model(0.7 * batch[0] + 0.3 * batch[0][order])
    losses = [functional.cross_entropy(scores, y) for y in (batch[1], batch[1][order])]
    return 0.7 * losses[0] + 0.3 * losses[1]


def against(model: Any, batch: Any) -> Tensor:
    """As a discriminator: the loss is made of two calls, of which each has a part."""
    own, other = model(batch[0]), model(batch[1])
    return functional.softplus(-own).mean() + functional.softplus(other).mean()


def beside_others(x: Tensor, _: Tensor) -> Any:
    return x, 2 * x


def without_a_call(model: Any, batch: Any) -> Tensor:
    return functional.cross_entropy(batch[0] @ model[0].weight.T, batch[1])


@pytest.mark.parametrize(
    ("make", "step", "form"),
    [
        (net, of_sums, pair),
        (net, of_places, pair),
        (net, twice, pair),
        (net, mixup, pair),
        (net, against, beside_others),
        (net, warming, pair),
        (Language, copying, tokens),
        (net, without_a_call, pair),
    ],
)
def test_what_has_no_such_parts_stays_a_step(make: Any, step: Any, form: Any) -> None:
    given = subject(make(), step, form)
    assert parted(given) is given


def test_a_step_that_raises_stays_one() -> None:
    given = subject(net(), smooth, named)
    assert parted(given) is given


def test_batches_with_other_settings_stay_a_step() -> None:
    def scaled(model: Any, batch: Any) -> Tensor:
        return batch[2] * functional.cross_entropy(model(batch[0]), batch[1])

    given = subject(net(), scaled, lambda x, y: (x, y, 0.5))
    assert parted(given) is not given
    given.batches[3] = (*given.batches[3][:2], 1.0)
    assert parted(given) is given


@pytest.mark.parametrize("form", ["a loss with an option", "a model that returns its loss"])
def test_check_and_doctor_look_at_inputs_of_a_step(form: str) -> None:
    make, step, batch, *_ = FORMS[form]
    model = make()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    data = [batch(X[i::10], torch.full_like(Y[i::10], 2)) for i in range(10)]
    found = thalweg.check(model, optimizer, None, data, step=step)
    assert [f.cause for f in found if f.severity == "problem"] == ["labels_all_equal"]
    doctor = thalweg.Doctor(model, optimizer, None, step=step, seconds=0.5)
    for one in data:
        loss = step(model, one)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        doctor.step(loss, batch=one)
    assert doctor.findings[0].cause == "labels_all_equal"


def test_check_sees_the_outputs_of_a_step_with_a_loss_by_hand() -> None:
    model = nn.Sequential(net(), nn.Softmax(1))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)

    def step(model: Any, batch: Any) -> Tensor:
        scores = model(batch[0]).log_softmax(1)
        return -scores[torch.arange(len(scores)), batch[1]].mean()

    data = [(X[i::10], Y[i::10]) for i in range(10)]
    before = [p.clone() for p in model.parameters()]
    found = thalweg.check(model, optimizer, None, data, step=step)
    assert [f.cause for f in found if f.severity == "problem"] == ["softmax_before_cross_entropy"]
    torch.testing.assert_close(list(model.parameters()), before, rtol=0, atol=0)


def test_a_module_that_a_step_uses_beside_the_model_is_another_ones() -> None:
    model, critic = net(6), nn.Linear(6, 1)

    def fooled(out: Tensor) -> Tensor:
        return functional.softplus(-critic(out)).mean()

    def step(model: Any, batch: Any) -> Tensor:
        return 2 * fooled(model(batch[0]))

    given = subject(model, step, itself)
    for each in (given, parted(given)):
        assert not each.backward.strays
    assert parted(given).game
