"""Where generated kernels lie: a folder that only its user can write, or nowhere.

A cached kernel is code that will be executed, so a folder in which somebody else could put a file
is not used at all: kernels are then compiled again in each process.
"""

import hashlib
import linecache
import os
import stat
import sys
from pathlib import Path
from types import ModuleType

import platformdirs

from thalweg.files import write

__all__ = ["folder", "load_module"]


def folder() -> Path | None:
    """Return the cache folder, made if need be; None where there is no safe one.

    It is ``kernels`` in the user's cache folder, or in the one named by THALWEG_CACHE.
    """
    root = os.environ.get("THALWEG_CACHE") or platformdirs.user_cache_dir("thalweg")
    path = Path(root) / "kernels"
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path if _only_mine(path) else None
    except OSError:
        return None


def _only_mine(path: Path) -> bool:
    if not hasattr(os, "getuid"):  # Windows: the user's profile is private by default
        return True
    status = path.lstat()
    others_may_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not others_may_write


def load_module(name: str, text: str, depends: str) -> tuple[ModuleType, bool]:
    """Return the module of that source and whether Numba may cache its functions on disk.

    The file's name carries a hash of all that its machine code depends on.

    Args:
        name: the first part of the module's name.
        text: its Python source.
        depends: what else the machine code depends on.
    """
    key = hashlib.sha256(f"{text}\0{depends}".encode()).hexdigest()[:16]
    module_name = f"thalweg_kernel_{name}_{key}"
    if module_name not in sys.modules:
        sys.modules[module_name] = _made(module_name, text)
    module = sys.modules[module_name]
    return module, hasattr(module, "__file__")


def _made(module_name: str, text: str) -> ModuleType:
    """Return the module of our own text, whatever a file may hold by now."""
    module = ModuleType(module_name)
    path = _written(f"{module_name}.py", text.encode())
    file = str(path or f"<{module_name}>")
    if path:
        module.__file__ = file
    else:
        lines = text.splitlines(keepends=True)
        linecache.cache[file] = len(text), None, lines, file  # Triton reads it
    exec(compile(text, file, "exec"), vars(module))  # noqa: S102 - our own text
    return module


def _written(name: str, content: bytes) -> Path | None:
    place = folder()
    if place is None:
        return None
    path = place / name
    try:
        if not path.is_file() or path.read_bytes() != content:
            write(path, content)
    except OSError:  # a full disk
        return None
    return path
