"""The catalog of rules against the rules themselves, torch's classes and ours."""

import inspect

import pytest
import torch

from thalweg import catalog, optim, rules
from thalweg.catalog import Entry, TorchClass
from thalweg.rule import Rule, rule

every_rule = pytest.mark.parametrize("name", rules.names())
every_rule_with_a_class = pytest.mark.parametrize(
    "name", [name for name in rules.names() if catalog.of(rules.get(name)).torch]
)


def class_of(name: str) -> TorchClass:
    known = catalog.of(rules.get(name)).torch
    assert known is not None
    return known


@every_rule_with_a_class
def test_the_class_of_a_rule_is_there_and_has_its_arguments(name: str) -> None:
    known = class_of(name)
    assert hasattr(torch.optim, known.name) is known.in_torch
    accepted = inspect.signature(getattr(optim, known.name)).parameters
    assert {*known.arguments, *known.chosen} <= accepted.keys()


@every_rule_with_a_class
def test_a_step_leaves_the_states_that_the_catalog_names(name: str) -> None:
    found, known = rules.get(name), class_of(name)
    p = torch.ones(2, requires_grad=True)
    p.grad = torch.ones(2)
    optimizer = getattr(optim, known.name)([p], **known.keywords(found.defaults))
    optimizer.step()
    if known.state:  # else the class keeps others
        assert set(optimizer.state[p]) == set(known.state.values())
        assert set(known.state) - {"step"} == {*found.state, *found.uniform_state}


@every_rule_with_a_class
def test_options_hold_the_hyperparameters_that_made_them(name: str) -> None:
    found, known = rules.get(name), class_of(name)
    hyper = {h: 0.1 * number for number, h in enumerate(found.hyperparameters, 1)}
    if not any(map(callable, known.arguments.values())):
        assert known.hyper(known.keywords(hyper)) == hyper


def test_an_option_that_holds_several_must_have_as_many() -> None:
    for betas in (0.9, (0.9,), (0.9, 0.99, 0.999)):
        with pytest.raises(ValueError, match=r"^betas must be two numbers, got "):
            class_of("adam").hyper({"lr": 0.1, "betas": betas, "eps": 0.0})


def idle(found: Rule) -> dict[str, str]:
    """Return by state the hyperparameter in [0, 1) at whose 0 no step reads the state before."""
    memories = [n for n, h in found.hyperparameters.items() if str(h.range) == "in [0, 1)"]
    state = dict.fromkeys((*found.state, *found.uniform_state), 0.25)
    decays = {}
    for name in found.state:
        for memory in memories:
            hyper = found.defaults | {memory: 0.0}
            ends = [
                found.advance(0.5, 1.0, state | {name: before}, t=3, hyper=hyper)
                for before in (0.25, 0.5)
            ]
            if ends[0] == ends[1]:
                decays[name] = memory
    return decays


@pytest.mark.parametrize("name", rules.names("element-wise", "sums"))
def test_a_state_that_no_step_reads_is_known(name: str) -> None:
    """Of those that are averages of gradients: torch keeps the others all the same."""
    found = idle(rules.get(name))
    assert catalog.of(rules.get(name)).decays == {m: b for m, b in found.items() if b == "beta1"}


def test_nothing_is_known_of_a_rule_of_the_users() -> None:
    @rule("mine")
    def mine(g, x, *, t, lr=0.1):  # noqa: ANN001, ANN202
        return x - lr * g

    assert catalog.of(mine) == Entry()
