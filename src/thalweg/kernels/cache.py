"""Where generated kernels lie: a folder that only its user can write, or nowhere.

A cached kernel is code that will be executed, so a folder in which somebody else could put a file,
or that lies in one which somebody else could rename, is not used at all: kernels are then compiled
again in each process.
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

__all__ = ["folder", "load_module", "owned", "safe"]


def folder() -> Path | None:
    """Return the cache folder, made if need be; None where there is no safe one.

    It is ``kernels`` in the user's cache folder, or in the one named by THALWEG_CACHE. Links on the
    way there are followed first, and never again.
    """
    root = os.environ.get("THALWEG_CACHE") or platformdirs.user_cache_dir("thalweg")
    path = Path(os.path.realpath(root)) / "kernels"
    machine_code = path / "__pycache__"  # where Numba keeps it
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (safe(path) and _only_mine(path)):
            return None
        machine_code.mkdir(mode=0o700, exist_ok=True)
        return path if _only_mine(machine_code) else None
    except OSError:
        return None


def safe(path: Path) -> bool:
    """Return whether nobody but the user and root can put a file or folder of this path there.

    Others may write to a folder on the way if it has the sticky bit, as /tmp: what lies in it is
    its owner's alone.

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
    """Return whether a file, no link, is the user's own or root's."""
    if not hasattr(os, "getuid"):
        return True
    status = os.lstat(path)
    return stat.S_ISREG(status.st_mode) and _ours(status)


def _ours(status: os.stat_result) -> bool:
    return status.st_uid in {0, os.getuid()}


def _held(status: os.stat_result) -> bool:
    """Return whether what has this status is ours, and nobody else may write to it."""
    mode = status.st_mode
    shared = mode & stat.S_IWGRP and not _private(status.st_gid)
    return _ours(status) and not stat.S_ISLNK(mode) and not mode & stat.S_IWOTH and not shared


def _private(gid: int) -> bool:
    """Return whether a group is the one that many systems make for each user."""
    import grp  # noqa: PLC0415 - Windows has neither
    import pwd  # noqa: PLC0415

    try:
        group, name = grp.getgrgid(gid), pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # no such group or user
        return False
    return group.gr_name == name and {*group.gr_mem} <= {name}


def _only_mine(path: Path) -> bool:
    """Return whether a folder, made here, is still the user's alone."""
    if not hasattr(os, "getuid"):
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
