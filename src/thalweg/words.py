"""Words: how names and numbers are written in messages, tables, pages and pictures."""

import difflib
import math
import shlex
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

__all__ = [
    "MOST",
    "argument",
    "closest",
    "digits",
    "duration",
    "listed",
    "memory",
    "on_the_command_line",
    "option",
    "percent",
    "printable",
    "worse",
]

MOST = 10  # an upper end so many times above what it is compared with says nothing more
OPTIONS = {"types": "--as", "x0": "--start"}  # of arguments whose options have another name

_typed: ContextVar[bool] = ContextVar("typed", default=False)


@contextmanager
def on_the_command_line() -> Iterator[None]:
    """Let messages call arguments as the command line does, not as Python."""
    token = _typed.set(True)
    try:
        yield
    finally:
        _typed.reset(token)


def option(name: str) -> str:
    """Return the option of an argument.

    Example:
        >>> option("skip_bad_rows"), option("types")
        ('--skip-bad-rows', '--as')
    """
    return OPTIONS.get(name, f"--{name.replace('_', '-')}")


def argument(name: str, value: object = None) -> str:
    """Return how an argument is called, with its value if given: for Python or the command line.

    Args:
        name: of the argument.
        value: True, a text, texts, or texts by name; None for the name alone.

    Example:
        >>> argument("drop", ["a b", "c"]), argument("skip_bad_rows", value=True)
        ("drop=['a b', 'c']", 'skip_bad_rows=True')
        >>> with on_the_command_line():
        ...     argument("drop", ["a b", "c"]), argument("skip_bad_rows", value=True)
        ("--drop 'a b,c'", '--skip-bad-rows')
    """
    if not _typed.get():
        return name if value is None else f"{name}={value!r}"
    match value:
        case None | True:
            words = []
        case Mapping():
            words = [",".join(f"{key}:{each}" for key, each in value.items())]
        case list():
            words = [",".join(value)]
        case _:
            words = [str(value)]
    return shlex.join([option(name), *words])


def printable(text: str) -> str:
    r"""Return text that can be shown: a character that commands a terminal becomes its code.

    Those are control characters other than the ends of lines and tabs, and characters that turn
    the direction of writing or have no shape. Text that comes from a file passes here before it is
    printed.

    Example:
        >>> printable("adam \x1b[2J\u202e")
        'adam \\x1b[2J\\u202e'
    """
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    kind = unicodedata.category(character)
    if character in "\n\t" or (kind[0] != "C" and kind not in {"Zl", "Zp"}):
        return character
    return character.encode("unicode_escape").decode()


def closest(name: str, known: Iterable[str], alike: float = 0.6) -> str:
    """Return the question whether one of the known names was meant; "" where none is close.

    Args:
        name: what was written.
        known: the names that exist. Capitals are not told from small letters.
        alike: the least share of letters that agree, in [0, 1]; 0.6 by default.

    Example:
        >>> closest("adma", ["sgd", "adam"]), closest("adma", ["sgd"])
        ('did you mean adam?', '')
        >>> closest("AdamW", ["adam", "adamw", "lion"])
        'did you mean adamw, adam?'
    """
    plain: dict[str, str] = {}
    for one in known:
        plain.setdefault(one.casefold(), one)
    close = [plain[one] for one in difflib.get_close_matches(name.casefold(), plain, cutoff=alike)]
    return f"did you mean {', '.join(close)}?" if close else ""


def listed(names: Sequence[str], most: int) -> str:
    """Return names with commas between; after so many of them, how many more there are.

    Example:
        >>> listed(["adam", "lion", "sgd", "yogi"], 2), listed(["adam", "lion", "sgd"], 2)
        ('adam, lion and 2 more', 'adam, lion, sgd')
    """
    if len(names) <= most + 1:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most} more"


def digits(value: float | None, significant: int = 3, flags: str = "") -> str:
    """Return a number in a few significant digits; a dash for None or a number that is not finite.

    Args:
        value: the number.
        significant: how many digits, 3 by default.
        flags: "+" to write the sign of positive numbers too, "#" to keep trailing zeros.

    Example:
        >>> digits(0.0123456), digits(None), digits(0.5, flags="+"), digits(0.12, flags="#")
        ('0.0123', '–', '+0.5', '0.120')
    """
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:{flags}.{significant}g}".removesuffix(".")


def duration(seconds: float | None) -> str:
    """Return a time in two digits, in microseconds, milliseconds or seconds.

    Example:
        >>> duration(0.00051), duration(0.0213), duration(75.4), duration(None)
        ('510 µs', '21 ms', '75 s', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return "–"
    unit, size = ("s", 1.0) if seconds >= 1 else ("ms", 1e-3) if seconds >= 1e-3 else ("µs", 1e-6)
    value = seconds / size
    return f"{value:.0f} {unit}" if value >= 9.5 else f"{value:.1f} {unit}"


def percent(share: float | None, flags: str = "") -> str:
    """Return a share of 1 as a whole percentage; a dash for None.

    Args:
        share: the share.
        flags: "+" to write the sign of positive ones too.

    Example:
        >>> percent(0.255), percent(0.255, "+"), percent(123.4)
        ('26 %', '+26 %', '> 999 %')
    """
    if share is None:
        return "–"
    return "> 999 %" if share > 9.99 else f"{share:{flags}.0%}".replace("%", " %")


def worse(low: float | None, high: float | None) -> str:
    """Return an interval of how much worse something is. Each end is a share of the best.

    An upper end above 1000 % is left out, because it says nothing more. Ends are
    rounded to 0.01 %.

    Example:
        >>> worse(0.04, 0.21), worse(0.0, 0.021), worse(0.0, 0.0)
        ('4 to 21 %', '0 to 2.1 %', '0 %')
        >>> worse(0.5, 10.5), worse(0.0, 10.5), worse(0.0, 6e-9)
        ('50 % or more', 'not known', '0 %')
    """
    if low is None:
        return "–"
    if high is None or high > MOST:
        return f"{_share(low)} % or more" if low > 0 else "not known"
    ends = _share(low), _share(high)
    return f"{ends[0]} %" if ends[0] == ends[1] else f"{ends[0]} to {ends[1]} %"


def _share(share: float) -> str:
    """Return a share in percent, in two digits or as a whole number."""
    return f"{round(100 * share, 2):.2g}" if share < 0.1 else f"{100 * share:.0f}"


def memory(count: float | None) -> str:
    """Return a number of bytes in two digits, in KiB, MiB or GiB; a dash for none.

    Example:
        >>> memory(900), memory(20 * 1024), memory(3.5 * 2**30), memory(None)
        ('0.9 KiB', '20 KiB', '3.5 GiB', '–')
    """
    if count is None:
        return "–"
    unit, size = ("GiB", 2**30) if count >= 2**30 else ("MiB", 2**20)
    if count < 2**20:
        unit, size = "KiB", 2**10
    value = count / size
    return f"{value:.0f} {unit}" if value >= 9.5 else f"{value:.1f} {unit}"
