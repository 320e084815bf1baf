"""Where tensors lie, and how: torch is asked about many of them in one compiled call.

From Python each question takes 50 ns and more, and a step of small tensors is little else.
"""

import ctypes
import functools
from pathlib import Path
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

from thalweg.kernels.cpu.simd import compiled_driver, inlined

__all__ = ["KINDS", "count_change", "describe", "find_gradients", "functions", "locate", "unmoved"]

# torch's C interface (torch/csrc/inductor/aoti_torch/c/shim.h), and six functions that it lacks.
# A question that only the newest torch answers would leave the others to Python.
_FUNCTIONS = (
    "aoti_torch_get_dtype",
    "aoti_torch_get_device_type",
    "aoti_torch_get_layout",
    "aoti_torch_get_dim",
    "aoti_torch_get_sizes",
    "aoti_torch_get_strides",
    "aoti_torch_get_data_ptr",
    "_ZN2at6native7is_conjERKNS_6TensorE",
    "_ZN2at6native6is_negERKNS_6TensorE",
    "_ZNK3c1010TensorImpl4gradEv",
    "_ZNK2at10TensorBase8_versionEv",
    "_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE",
    "_ZN2at6native12is_inferenceERKNS_6TensorE",
)
KINDS = 4  # of the questions whose answers are numbers: dtype, device, layout, dimensions
_SIZES, _STRIDES, _ADDRESS, _CONJUGATED, _NEGATED, _GRADIENT = range(KINDS, 10)
_CHANGES, _COUNT, _UNCOUNTED = range(10, 13)

_WORD, _NUMBER = ir.IntType(64), ir.IntType(32)


@functools.cache
def functions(library: Path) -> NDArray[np.intp] | None:
    """Return the addresses of torch's functions; None where one is missing, as on Windows.

    Args:
        library: a file that is linked with all of torch's.
    """
    linked = ctypes.PyDLL(str(library))
    try:
        found = [getattr(linked, name) for name in _FUNCTIONS]
    except AttributeError:
        return None
    return np.array([ctypes.cast(f, ctypes.c_void_p).value for f in found], np.intp)


@intrinsic
def _word(typingctx: Any, address: Any) -> Any:
    """Return what lies at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _WORD.as_pointer()))

    return types.intp(types.intp), codegen


@intrinsic
def _ask(typingctx: Any, function: Any, tensor: Any) -> Any:
    """Return what a function of the C interface says of an at::Tensor; -1: an error."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        said = cgutils.alloca_once(builder, _WORD)
        builder.store(_WORD(0), said)  # some answers are shorter
        kind = ir.FunctionType(_NUMBER, [_WORD, _WORD.as_pointer()]).as_pointer()
        error = builder.call(builder.inttoptr(args[0], kind), [args[1], said])
        fine = builder.icmp_signed("==", error, _NUMBER(0))
        return builder.select(fine, builder.load(said), _WORD(-1))

    return types.intp(types.intp, types.intp), codegen


def _returning(numba_type: Any, low_level: Any) -> Any:
    """Return what calls a C++ function of one pointer."""

    @intrinsic
    def call(typingctx: Any, function: Any, pointer: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = ir.FunctionType(low_level, [_WORD]).as_pointer()
            said = builder.call(builder.inttoptr(args[0], kind), [args[1]])
            return context.get_dummy_value() if numba_type is types.void else said

        return numba_type(types.intp, types.intp), codegen

    return call


_of, _is = _returning(types.intp, _WORD), _returning(types.boolean, ir.IntType(1))
_do = _returning(types.void, ir.VoidType())


@inlined
def _alike(ask, tensor, kind, shape):
    """Return whether a tensor is of that kind, shape and strides, and its bits are its values.

    What is no tensor, as a gradient that is not there, has a dtype of its own.
    """
    for i in range(KINDS):
        if _ask(ask[i], tensor) != kind[i]:
            return False
    if _is(ask[_CONJUGATED], tensor) or _is(ask[_NEGATED], tensor):
        return False
    sizes, strides = _ask(ask[_SIZES], tensor), _ask(ask[_STRIDES], tensor)
    if sizes == -1 or strides == -1:
        return False
    for i in range(kind[KINDS - 1]):
        size = _word(sizes + 8 * i)
        # The stride of a single element is never taken.
        if size != shape[i, 0] or (size != 1 and _word(strides + 8 * i) != shape[i, 1]):
            return False
    return True


# All of these hold Python's lock: nobody else frees what they look at.


@compiled_driver(nogil=False)
def describe(ask, tensors, kinds, addresses, changes):
    """Write what kinds of tensors they are, where they lie, and how often they have changed."""
    for i in range(tensors.size):
        for j in range(KINDS):
            kinds[i, j] = _ask(ask[j], tensors[i])
        addresses[i] = _ask(ask[_ADDRESS], tensors[i])
        changes[i] = _of(ask[_CHANGES], tensors[i])


@compiled_driver(nogil=False)
def unmoved(ask, tensors, kinds, shapes, addresses, changes, parameters):
    """Return whether all lie there, in that way.

    torch counts what changes the shape of a state, but not all that changes that of a parameter:
    so many of them, which come first, are looked at each time.
    """
    for i in range(tensors.size):
        if _ask(ask[_ADDRESS], tensors[i]) != addresses[i]:
            return False
        if i >= parameters:
            found = _of(ask[_CHANGES], tensors[i])
            if found == changes[i]:
                continue
            changes[i] = found
        if not _alike(ask, tensors[i], kinds[i], shapes[i]):
            return False
    return True


@compiled_driver(nogil=False)
def count_change(ask, tensors, changes, stepping, gradients):
    """Let torch count one change more of the parameters that step, and of their states.

    Gradients of inference mode, which has no count, are left out.
    """
    for i in range(tensors.size):
        if stepping[i % stepping.size]:
            _do(ask[_COUNT], tensors[i])
            changes[i] += 1
    if gradients:
        for i in range(stepping.size):
            if stepping[i]:
                gradient = _of(ask[_GRADIENT], _word(tensors[i]))
                if not _is(ask[_UNCOUNTED], gradient):
                    _do(ask[_COUNT], gradient)


@inlined
def _place(ask, gradient, kind, shape):
    """Return where a gradient lies, 0 if it is empty; -1 if it is not of that kind and shape."""
    if not _alike(ask, gradient, kind, shape):
        return -1
    address = _ask(ask[_ADDRESS], gradient)
    if address == 0:  # only Python knows where it lies, or it is empty
        for i in range(kind[KINDS - 1]):
            if shape[i, 0] == 0:
                return 0
        return -1
    return address


@compiled_driver(nogil=False)
def find_gradients(ask, tensors, kinds, shapes, found):
    """Write where the gradient of each tensor lies; return whether all are there, and alike."""
    for i in range(found.size):
        gradient = _of(ask[_GRADIENT], _word(tensors[i]))
        found[i] = _place(ask, gradient, kinds[i], shapes[i])
        if found[i] == -1:
            return False
    return True


@compiled_driver(nogil=False)
def locate(ask, gradients, kinds, shapes, found):
    """Write where these gradients lie, 0 for 0; return whether all are alike."""
    for i in range(found.size):
        found[i] = 0
        if gradients[i]:
            found[i] = _place(ask, gradients[i], kinds[i], shapes[i])
            if found[i] == -1:
                return False
    return True
