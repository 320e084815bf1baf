"""Options: how a table is read and which of it is used."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

__all__ = ["MISSING", "TYPES", "Options"]

TYPES = ("number", "category", "date", "text")
MISSING = ("impute", "drop", "error")


@dataclass(frozen=True)
class Options:
    """How a table is read and which of it is used; the defaults find out what they can.

    Args:
        drop: columns to leave out.
        keep: the only columns to use beside the target; empty for all.
        types: what columns are, by name: ``"number"``, ``"category"`` (a 0/1 feature for each
            value), ``"date"`` or ``"text"`` (30 features of its parts of words).
        missing: what becomes of a missing value: ``"impute"`` (the training part's median and an
            indicator; of words the category "missing"), ``"drop"`` its row, or ``"error"``.
        skip_bad_rows: drop rows with a bad value, and lines of the wrong length.
        na: texts that stand for a missing value, beside the usual ones.
        decimal: the decimal mark of all columns, ``"."`` or ``","``.
        delimiter: of a delimited text: one character, ``"tab"`` or ``"space"``.
        encoding: of a delimited text, by its name in Python.
        comment: what a line begins with that is none of the table's.
        header_row: the line of the column names, counted from 1; 0 if there is none.
    """

    drop: Sequence[str] = ()
    keep: Sequence[str] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    missing: str = "impute"
    skip_bad_rows: bool = False
    na: Sequence[str] = ()
    decimal: str | None = None
    delimiter: str | None = None
    encoding: str | None = None
    comment: str | None = None
    header_row: int | None = None

    def __post_init__(self) -> None:
        for name in ("drop", "keep", "na"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))
        if self.missing not in MISSING:
            raise ValueError(f"missing must be one of {', '.join(MISSING)}, got {self.missing!r}")
        if self.decimal not in (None, ".", ","):
            raise ValueError(f"decimal must be '.' or ',', got {self.decimal!r}")
        for name, kind in self.types.items():
            if kind not in TYPES:
                raise ValueError(
                    f"types must be {', '.join(TYPES)}, got {kind!r} for column {name!r}"
                )

    @property
    def given(self) -> dict[str, Any]:
        """Those that are not the default, as keywords.

        Example:
            >>> Options(drop="id").given
            {'drop': ('id',)}
        """
        default = Options()
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return {name: value for name, value in values.items() if value != getattr(default, name)}
