"""Parcel: a task and the rules that its user declared, as bytes for other processes."""

import functools
import io
import linecache
import pickle
import sys
from types import FunctionType
from typing import Any

import cloudpickle

from thalweg import rules as registry
from thalweg.errors import TaskError
from thalweg.racing.raced import Raced
from thalweg.rule import Rule, adopt

__all__ = ["packed", "unpacked"]


class _RulePickler(cloudpickle.Pickler):  # type: ignore[misc] # cloudpickle has no types
    """Pickles a user's rules with their equations.

    Attributes:
        sources: the source files of all functions in the parcel, as ``linecache`` keeps them. A
            kernel is generated from a rule's source, and another machine does not have that file.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.sources: dict[str, tuple[int, None, list[str], str]] = {}

    def reducer_override(self, value: Any) -> Any:  # noqa: ANN401 - whatever is pickled
        if isinstance(value, Rule) and not value.built_in:
            return object.__new__, (type(value),), vars(value)
        reduced = super().reducer_override(value)
        if isinstance(value, FunctionType) and reduced is not NotImplemented:  # else by its name
            file = value.__code__.co_filename
            if lines := linecache.getlines(file):
                self.sources[file] = len("".join(lines)), None, lines, file
        return reduced


def packed(raced: Raced) -> bytes:
    """Return a task and its user's rules as bytes, with lambdas and classes of the user's file.

    Raises:
        TaskError: something in them cannot be sent.
    """
    file = io.BytesIO()
    pickler = _RulePickler(file)
    own = [rule for name in registry.names() if not (rule := registry.get(name)).built_in]
    try:
        pickler.dump((own, raced.rules))
        # The path finds modules beside the user's file that were imported there.
        parts = sys.path, pickler.sources, file.getvalue(), cloudpickle.dumps(raced.task)
        return bytes(cloudpickle.dumps(parts))
    except Exception as error:
        raise TaskError(
            f"{raced.task.name} cannot be sent to other processes ({error}); make what cannot be "
            "sent inside the task's functions, or race with on='threads'"
        ) from error


@functools.lru_cache(maxsize=1)
def unpacked(parcel: bytes) -> Raced:
    """Return the task and the rules, and declare the user's. What was unpacked once is kept."""
    path, sources, rules, task = pickle.loads(parcel)  # noqa: S301 - sent by this race
    sys.path += [folder for folder in path if folder not in sys.path]
    linecache.cache.update(sources)
    own, raced = pickle.loads(rules)  # noqa: S301 - the same
    adopt(own)
    return Raced(pickle.loads(task), raced)  # noqa: S301 - the same
