"""Machine code on disk: Numba's own cache, made safe for several processes at the same time."""

# mypy: allow-untyped-calls
# Numba's methods have no types.

import hashlib
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache, IndexDataCacheFile
from numba.core.ccallback import CFunc
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler import CompilerBase, DefaultPassBuilder
from numba.core.compiler_machinery import register_pass
from numba.core.sigutils import normalize_signature
from numba.core.typed_passes import NativeLowering

from thalweg.kernels import cache

__all__ = ["IntoCallers", "callback", "keep_on_disk"]


class _Files(IndexDataCacheFile):
    """Numba's files without their index: one for each signature and processor.

    Numba writes an index before the machine code. If two processes compile for two types at the
    same time, one may write the index last and the other the code. All later processes would then
    step float64 with code for float32.
    """

    def _name(self, key: object) -> str:
        told_apart = repr((self._version, self._source_stamp, key)).encode()
        return str(self._data_name(int(hashlib.sha256(told_apart).hexdigest()[:16], 16)))

    def load(self, key: object) -> Any:  # noqa: ANN401 - what Numba makes of machine code
        name = self._name(key)
        return self._load_data(name) if cache.owned(self._data_path(name)) else None

    def save(self, key: object, data: object) -> None:
        self._save_data(self._name(key), data)


class _MachineCode(FunctionCache):
    """Numba's cache of a function. Each process compiles what the cache cannot read or write."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        path = Path(os.path.realpath(self._cache_path))
        if path.parent != Path(os.path.realpath(function.__code__.co_filename)).parent:
            # Not beside the source, whose folder is checked elsewhere, but where NUMBA_CACHE_DIR
            # says.
            self._impl.locator.ensure_cache_path()
            if not cache.safe(path):
                raise RuntimeError(f"others can write to {path}")
        stamp = self._impl.locator.get_source_stamp()
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, stamp)

    def load_overload(self, sig: object, target_context: object) -> Any:  # noqa: ANN401
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # noqa: BLE001 - no file, or a damaged one, which may raise anything
            return None

    def save_overload(self, sig: object, data: object) -> None:
        with suppress(OSError):  # a full disk
            super().save_overload(sig, data)


def keep_on_disk(compiled: Any, function: Callable[..., Any]) -> None:  # noqa: ANN401 - Numba's
    """Let Numba look on disk for a function's machine code before it compiles, and keep it there.

    The code is kept beside the source, or else in the user's cache folder. It is not kept if
    neither can be written, or if somebody else can write there.

    Args:
        compiled: Numba's dispatcher or callback, not compiled yet.
        function: what it compiles.
    """
    with suppress(RuntimeError):  # no folder is safe
        compiled._cache = _MachineCode(function)  # noqa: SLF001 - Numba has no other way


class _Text(JITCodeLibrary):
    """LLVM's text of a function, of which no machine code is made."""

    def _optimize_final_module(self) -> None:
        """Leave it: it is optimized within its callers."""

    def _finalize_final_module(self) -> None:
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True


@register_pass(mutates_CFG=True, analysis_only=False)
class _TextLowering(NativeLowering):
    """Writes a function that callers alone take in, so that nothing has its address."""

    _name = "lowering_into_callers"

    def run_pass(self, state: Any) -> bool:  # noqa: ANN401 - Numba's
        """Lower a function."""
        state.library = _Text(state.targetctx.codegen(), state.func_id.func_qualname)
        state.flags.no_compile = True
        super().run_pass(state)
        # Nothing calls it: Numba tells functions apart by it, and it must be a builtin one.
        address = list[Any]().append
        state.targetctx.insert_user_function(address, state.cr.fndesc, [state.library])
        state.cr = state.cr._replace(cfunc=address)
        return True


class IntoCallers(CompilerBase):
    """Compiles a function that is always written into its callers, without machine code of its own.

    Numba makes it for each function by itself; with helpers within helpers that took a sixth of
    the time of a driver.
    """

    def define_pipelines(self) -> list[Any]:
        """Return Numba's passes, the last one changed."""
        passes = DefaultPassBuilder.define_nopython_pipeline(self.state)
        passes.passes = [
            (_TextLowering if each is NativeLowering else each, what)
            for each, what in passes.passes
        ]
        passes.finalize()
        return [passes]


def callback(function: Callable[..., Any], signature: str, *, cached: bool) -> CFunc:
    """Return the compiled function, which has an address.

    Args:
        function: a function of generated source.
        signature: its types.
        cached: whether its machine code may be kept on disk.
    """
    made = CFunc(function, normalize_signature(signature), {}, {"error_model": "numpy"})
    if cached:
        keep_on_disk(made, function)
    made.compile()
    return made
