"""Addresses: where tensors are in memory, and how. One compiled call asks torch about many.

From Python each question takes 50 ns or more, and a step of small tensors hardly does anything
else.
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

# torch's C interface (torch/csrc/inductor/aoti_torch/c/shim.h), and five functions that it lacks.
# No function is used that only the newest torch has, or older versions would ask by Python.
_FUNCTIONS = (
    "aoti_torch_get_dtype",
    "aoti_torch_get_dim",
    "aoti_torch_get_sizes",
    "aoti_torch_get_strides",
    "aoti_torch_get_data_ptr",
    "_ZNK3c1010TensorImpl4gradEv",
    "_ZNK2at10TensorBase8_versionEv",
    "_ZN5torch8autograd4impl12bump_versionERKN2at6TensorE",
    "_ZN2at6native12is_inferenceERKNS_6TensorE",
    "_ZN3c104impl28tls_is_dispatch_key_includedENS_11DispatchKeyE",
)
_DTYPE, _DIMENSIONS, _SIZES, _STRIDES, _ADDRESS, _GRADIENT = range(6)
_CHANGES, _COUNT, _UNCOUNTED, _INCLUDED = range(6, 10)
# What compiled code asks with are their addresses, and these numbers: bytes from the beginning of a
# tensor in C++ to its keys, a bit each; which of them tell where it lies and whose functions read
# and write it; and, to the end, keys of a thread in which others follow what is done to tensors.
_KEYS, _TELLING, _FOLLOWERS = range(10, 13)
KINDS = 3  # answers that are numbers: keys, dtype, dimensions

_WORD, _NUMBER = ir.IntType(64), ir.IntType(32)


@functools.cache
def functions(library: Path) -> NDArray[np.intp] | None:
    """Return the addresses of torch's functions; None if one is missing, as on Windows.

    Args:
        library: a file that is linked with all of torch's libraries.
    """
    linked = ctypes.PyDLL(str(library))
    try:
        found = [getattr(linked, name) for name in _FUNCTIONS]
    except AttributeError:
        return None
    return np.array([ctypes.cast(f, ctypes.c_void_p).value for f in found], np.intp)


@intrinsic
def _word(typingctx: Any, address: Any) -> Any:
    """Return the word at an address."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load(builder.inttoptr(args[0], _WORD.as_pointer()))

    return types.intp(types.intp), codegen


@intrinsic
def _ask(typingctx: Any, function: Any, tensor: Any) -> Any:
    """Return the answer of a function of the C interface about an at::Tensor; -1 for an error."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        said = cgutils.alloca_once(builder, _WORD)
        builder.store(_WORD(0), said)  # some answers are shorter
        kind = ir.FunctionType(_NUMBER, [_WORD, _WORD.as_pointer()]).as_pointer()
        error = builder.call(builder.inttoptr(args[0], kind), [args[1], said])
        fine = builder.icmp_signed("==", error, _NUMBER(0))
        return builder.select(fine, builder.load(said), _WORD(-1))

    return types.intp(types.intp, types.intp), codegen


def _calling(numba_type: Any, low_level: Any, argument: Any = _WORD) -> Any:
    """Return a function that calls a C++ function of one pointer, or of one shorter number."""

    @intrinsic
    def call(typingctx: Any, function: Any, given: Any) -> Any:
        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            kind = ir.FunctionType(low_level, [argument]).as_pointer()
            given = args[1] if argument is _WORD else builder.trunc(args[1], argument)
            said = builder.call(builder.inttoptr(args[0], kind), [given])
            return context.get_dummy_value() if numba_type is types.void else said

        return numba_type(types.intp, types.intp), codegen

    return call


_of, _is = _calling(types.intp, _WORD), _calling(types.boolean, ir.IntType(1))
_do = _calling(types.void, ir.VoidType())
_includes = _calling(types.boolean, ir.IntType(1), ir.IntType(16))


@inlined
def _keys(ask, tensor):
    """Return the keys that tell where a tensor is, and whose functions read and write it."""
    return _word(_word(tensor) + ask[_KEYS]) & ask[_TELLING]


@inlined
def _alike(ask, tensor, kind, shape):
    """Return whether a tensor has that kind, shape and strides.

    What is not a tensor, such as a missing gradient, has no keys.
    """
    if _keys(ask, tensor) != kind[0] or _ask(ask[_DTYPE], tensor) != kind[1]:
        return False
    if _ask(ask[_DIMENSIONS], tensor) != kind[2]:
        return False
    sizes, strides = _ask(ask[_SIZES], tensor), _ask(ask[_STRIDES], tensor)
    if sizes == -1 or strides == -1:
        return False
    for i in range(kind[2]):
        size = _word(sizes + 8 * i)
        # The stride of a dimension of size 1 is never used.
        if size != shape[i, 0] or (size != 1 and _word(strides + 8 * i) != shape[i, 1]):
            return False
    return True


# All of these hold Python's lock, so that nobody frees what they look at.


@compiled_driver(nogil=False)
def describe(ask, tensors, kinds, addresses, changes):
    """Write the kinds of tensors, their addresses, and how often they have changed."""
    for i in range(tensors.size):
        kinds[i, 0] = _keys(ask, tensors[i])
        kinds[i, 1] = _ask(ask[_DTYPE], tensors[i])
        kinds[i, 2] = _ask(ask[_DIMENSIONS], tensors[i])
        addresses[i] = _ask(ask[_ADDRESS], tensors[i])
        changes[i] = _of(ask[_CHANGES], tensors[i])


@compiled_driver(nogil=False)
def unmoved(ask, tensors, kinds, shapes, addresses, changes, parameters):
    """Return whether all are still there and alike; False if others follow what is done to tensors.

    torch counts changes of a state's shape, but not all changes of a parameter's. So the shapes of
    the first tensors, the parameters, are looked at each time.
    """
    for i in range(_FOLLOWERS, ask.size):
        if _includes(ask[_INCLUDED], ask[i]):
            return False
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
    """Let torch count one more change of the parameters that step, and of their states.

    Gradients made in inference mode have no count, and are left out.
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
def _gradient_address(ask, gradient, kind, shape):
    """Return where a gradient lies, 0 if it is empty; -1 if it is not of that kind and shape."""
    if not _alike(ask, gradient, kind, shape):
        return -1
    address = _ask(ask[_ADDRESS], gradient)
    if address == 0:  # it has no memory, or is empty
        for i in range(kind[2]):
            if shape[i, 0] == 0:
                return 0
        return -1
    return address


@compiled_driver(nogil=False)
def find_gradients(ask, tensors, kinds, shapes, found):
    """Write the address of each tensor's gradient. Return whether all exist and are alike."""
    for i in range(found.size):
        gradient = _of(ask[_GRADIENT], _word(tensors[i]))
        found[i] = _gradient_address(ask, gradient, kinds[i], shapes[i])
        if found[i] == -1:
            return False
    return True


@compiled_driver(nogil=False)
def locate(ask, gradients, kinds, shapes, found):
    """Write the addresses of given gradients, 0 for a missing one. Return whether all are alike."""
    for i in range(found.size):
        found[i] = 0
        if gradients[i]:
            found[i] = _gradient_address(ask, gradients[i], kinds[i], shapes[i])
            if found[i] == -1:
                return False
    return True
