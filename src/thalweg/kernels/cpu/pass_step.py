"""A kernel of passes that steps one array, and its agreement with a user's rule."""

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from thalweg.kernels import agreement
from thalweg.kernels.body import PLAIN, Place, Wrap
from thalweg.kernels.cpu.generate_passes import GeneratedPasses, generate_passes
from thalweg.kernels.cpu.kernel import PassKernel, compiled_passes
from thalweg.kernels.cpu.pass_table import PassTable
from thalweg.kernels.cpu.vector import LANES
from thalweg.kernels.translate import Form, places
from thalweg.matrices import orthogonalize
from thalweg.rule import Rule

__all__ = ["PassStep", "agreeing", "check"]


def agreeing(rule: Rule, dtype: np.dtype[Any], wrap: Wrap, form: Form) -> PassKernel:
    """Return a rule's kernel of passes, as ``compiled_passes``.

    Raises:
        ValueError: a construct that cannot be compiled, or a user's rule whose function does not
            agree with the kernel.
    """
    check(rule, form)
    return compiled_passes(rule, dtype, wrap, form)


def check(rule: Rule, form: Form) -> None:
    """Raise ValueError unless a user's rule agrees with the kernel made from its text."""
    if not rule.built_in:  # the tests check these
        _check(rule, form, generate_passes(rule, PLAIN, form))


@functools.cache
def _check(rule: Rule, form: Form, _: GeneratedPasses) -> None:
    """Compare a rule with its kernel, once for each text."""
    kernel = compiled_passes(rule, np.dtype(np.float64), PLAIN, form)
    where = places(rule, form=form)
    agreement.check(rule, PassStep(kernel, where), where, matrix=form == "matrix")


class PassStep:
    """Steps one array by a kernel of passes, called as its driver calls it.

    Args:
        kernel: in float64.
        where: where each state is there.
    """

    def __init__(self, kernel: PassKernel, where: dict[str, Place]) -> None:
        self.kernel, self.where = kernel, where

    def __call__(self, inputs: agreement.Inputs) -> dict[str, Any]:
        """Return x and the new state, by name."""
        rule, shape = self.kernel.rule, inputs.x.shape
        rows, columns = shape if self.kernel.form == "matrix" else (inputs.x.size, 1)
        small = {Place.ROW: (rows, 1), Place.COLUMN: (1, columns), Place.UNIFORM: ()}
        arrays = {"g": np.array(inputs.g), "x": np.array(inputs.x)}
        for name in (*rule.state, *rule.uniform_state):
            wanted = small.get(self.where.get(name, Place.UNIFORM), shape)
            arrays[name] = np.array(np.broadcast_to(inputs.state[name], wanted), np.float64)
        at = {name: array.ctypes.data for name, array in arrays.items()}
        named = {place: [name for name, of in self.where.items() if of is place] for place in Place}
        wholes = [0] * (self.kernel.generated.between is not None)
        large, others = named[Place.ELEMENT], [*named[Place.ROW], *named[Place.COLUMN]]
        table = PassTable(
            self.kernel,
            [(rows, columns)],
            [[at["x"], *(at[name] for name in large), *wholes]],
            [[at[name] for name in others]],
            [8] * (2 + len(large) + len(wholes)),
        )
        numbers = [0, *(at[n] for n in (*rule.uniform_state, *named[Place.UNIFORM]))]
        table.keep(np.array([numbers], np.intp), np.ones((1, len(numbers)), np.bool_))
        matrix = np.empty(shape)

        def between(keywords: Mapping[str, Any]) -> int:
            matrix[...] = orthogonalize(matrix, **keywords)
            return int(matrix.ctypes.data)

        if wholes:
            table.lay(matrix.ctypes.data)
        hyper = np.array([list(inputs.hyper.values())], np.float64)
        table.step(
            np.array([at["g"]], np.intp),
            np.zeros(1, np.intp),
            np.array([inputs.t - 1.0]),
            np.repeat(hyper[:, :, None], LANES, axis=2),
            between,
        )
        found: dict[str, Any] = {"x": arrays["x"]}
        for name in (*rule.state, *rule.uniform_state):
            uniform = name in rule.uniform_state
            found[name] = arrays[name] if uniform else np.broadcast_to(arrays[name], shape)
        return found
