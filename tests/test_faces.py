"""A rule's faces are what it can be used for; names that mean something else are refused."""

# ruff: noqa: ANN001 - of rules
# mypy: disable-error-code="no-untyped-def"

import inspect

import pytest

from thalweg import descend, rules, theory
from thalweg.faces import faces
from thalweg.kernels import source
from thalweg.linear import train
from thalweg.rule import RESERVED_HYPERPARAMETERS, RESERVED_STATE, rule


@pytest.mark.parametrize("name", rules.names())
def test_faces_are_those_that_work(name: str) -> None:
    told = faces(name)
    kind = rules.get(name).kind
    if kind == "element-wise":
        assert told.kernel == "compiled"
        assert "def element" in source(name)
    elif kind == "sums":
        assert told.kernel == "in passes"
        assert "def elements_0" in source(name)
    elif told.kernel == "in passes":  # around its products
        assert "def elements_0" in source(name)
    else:
        with pytest.raises(ValueError, match=r"_rules\.py, line \d+: `.+` cannot be compiled: "):
            source(name)
        assert name not in {"muon", "normuon"}
    if told.theory in {"linear", "preconditioned"}:
        theory.iteration_matrix(name, 1.0)
    else:
        with pytest.raises(ValueError, match="iteration matrix"):
            theory.iteration_matrix(name, 1.0)


def test_a_face_that_is_missing_says_why() -> None:
    @rule("test")
    def looping(g, x, *, t, lr=0.1):  # noqa: ANN202
        for _ in range(2):
            x = x - lr * abs(g)
        return x

    told = faces(looping)
    assert "test_faces.py, line" in told.kernel
    assert "cannot be compiled" in told.kernel
    assert "is not linear" in told.theory


def declared(signature: str) -> None:
    names: dict[str, object] = {}
    exec(f"def own({signature}): return x", names)  # noqa: S102 - written here
    rule("test")(names["own"])  # type: ignore[arg-type] # it is a function


@pytest.mark.parametrize(
    ("signature", "message"),
    [
        ("g, x, step, *, t, lr=0.1", "rule 'own' has a state 'step', which is a name of "),
        ("g, x, *, t, step, lr=0.1", "rule 'own' has a state 'step', which is a name of "),
        ("g, x, lost, *, t, lr=0.1", "rule 'own' has a state 'lost', which is a name of "),
        ("g, x, *, t, lr=0.1, maximize=1", "a hyperparameter 'maximize', .* of thalweg.optim"),
        ("g, x, *, t, lr=0.1, noise=1", "a hyperparameter 'noise', .* of thalweg.descend"),
        ("g, x, *, t, lr=0.1, epochs=1", "a hyperparameter 'epochs', .* of thalweg.linear.train"),
    ],
)
def test_a_name_that_means_something_else_is_refused(signature: str, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        declared(signature)
    assert "own" not in rules.names()


def test_reserved_names_are_all_that_are_taken() -> None:
    reserved = set().union(*RESERVED_HYPERPARAMETERS.values())
    for function in (descend, train):
        assert inspect.signature(function).parameters.keys() - {"hyper"} <= reserved


def test_reserved_names_are_all_that_optimizers_take() -> None:
    pytest.importorskip("torch")
    from thalweg.optim.answer import TRAINING_POINT  # noqa: PLC0415 - needs torch
    from thalweg.optim.optimizer import OPTION_NAMES  # noqa: PLC0415 - needs torch
    from thalweg.optim.state import LOST  # noqa: PLC0415 - needs torch

    assert set().union(*RESERVED_HYPERPARAMETERS.values()) >= OPTION_NAMES
    assert set().union(*RESERVED_STATE.values()) == {"step", LOST, TRAINING_POINT}
