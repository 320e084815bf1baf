"""Cache: the folder of generated kernels. Only its user can write to it, or it is not used.

A cached kernel is code that will be executed. If somebody else could put a file into the folder, or
rename a folder above it, it is not used at all: then each process compiles its kernels again.
"""

import hashlib
import linecache
import os
import re
import stat
import sys
from pathlib import Path
from types import ModuleType

import platformdirs

from thalweg.files import write

__all__ = ["folder", "load_module", "owned", "safe"]


def folder() -> Path | None:
    """Return the cache folder, which is made if it is missing; None if there is no safe one.

    It is ``kernels`` in the user's cache folder, or in the one named by THALWEG_CACHE. Links in the
    path are resolved once, at the beginning.
    """
    root = os.environ.get("THALWEG_CACHE") or platformdirs.user_cache_dir("thalweg")
    path = Path(os.path.realpath(root)) / "kernels"
    machine_code = path / "__pycache__"  # Numba keeps its own cache there
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (safe(path) and _only_mine(path)):
            return None
        machine_code.mkdir(mode=0o700, exist_ok=True)
        return path if _only_mine(machine_code) else None
    except OSError:
        return None


def safe(path: Path) -> bool:
    """Return whether only the user and root can put a file or folder at this path.

    Others may write to a folder above it if that has the sticky bit, like /tmp: then only the owner
    of a file in it can replace the file.

    Args:
        path: absolute, without links.
    """
    if not hasattr(os, "getuid"):  # Windows: the user's profile is private by default
        return True
    return _held(path.lstat()) and all(
        _held(status) or (_ours(status) and status.st_mode & stat.S_ISVTX)
        for status in map(os.lstat, path.parents)
    )


def owned(path: str | os.PathLike[str]) -> bool:
    """Return whether the user or root owns a file that is not a link."""
    if not hasattr(os, "getuid"):
        return True
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and _ours(status)


def _ours(status: os.stat_result) -> bool:
    return status.st_uid in {0, os.getuid()}


def _held(status: os.stat_result) -> bool:
    """Return whether the file or folder of this status is ours, and nobody else may write to it."""
    mode = status.st_mode
    shared = mode & stat.S_IWGRP and not _private(status.st_gid)
    return _ours(status) and not stat.S_ISLNK(mode) and not mode & stat.S_IWOTH and not shared


def _private(gid: int) -> bool:
    """Return whether a group is the user's own, as many systems make one for each user."""
    import grp  # noqa: PLC0415 - Windows has neither
    import pwd  # noqa: PLC0415

    try:
        group, name = grp.getgrgid(gid), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # there is no such group or user
        return False
    return group.gr_name == name and {*group.gr_mem} <= {name}


def _only_mine(path: Path) -> bool:
    """Return whether a folder that was made here still belongs to the user alone."""
    if not hasattr(os, "getuid"):
        return True
    status = path.lstat()
    others_may_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not others_may_write


def load_module(name: str, text: str, depends: str) -> tuple[ModuleType, bool]:
    """Return the module of a source, and whether Numba may cache its functions on disk.

    The name of the file has a hash of everything on which its machine code depends.

    Args:
        name: the first part of the module's name.
        text: its Python source.
        depends: what else the machine code depends on.
    """
    key = hashlib.sha256(f"{text}\0{depends}".encode()).hexdigest()[:16]
    name = re.sub(r"\W", "_", name)  # that of a rule may have parentheses
    module_name = f"thalweg_kernel_{name}_{key}"
    if module_name not in sys.modules:
        sys.modules[module_name] = _made(module_name, text)
    module = sys.modules[module_name]
    return module, hasattr(module, "__file__")


def _made(module_name: str, text: str) -> ModuleType:
    """Return the module of our own text, even if the file has changed by now."""
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
    directory = folder()
    if directory is None:
        return None
    path = directory / name
    try:
        if not path.is_file() or path.read_bytes() != content:
            write(path, content)
    except OSError:  # a full disk
        return None
    return path
