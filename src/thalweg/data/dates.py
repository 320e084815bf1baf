"""Dates: texts that are dates or times, read by the one format that fits most of them."""

import functools
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from thalweg.data.numerals import most
from thalweg.data.wording import plain

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DURATIONS", "are_times", "are_whole", "durations", "may_be", "read"]

_FORMS = (
    "ISO8601",
    "%H:%M",
    "%H:%M:%S",
    "%H:%M:%S.%f",
    "%I:%M %p",
    "%I%p",
    "%I %p",
    "%I:%M:%S %p",
    "%Y-%m",
    "%m/%Y",
    "%b-%y",
    "%b %Y",
    "%B %Y",
    "%G-W%V-%u",
    "%Y%m%d",
)
_PARTS = (
    r"\d+[-/. ]+(\d+|\pL+)[-/. ,]+\d+|\pL{3,}[. ]+\d+,? +\d+"  # a day, a month and a year
    r"|^\d{1,2}:\d\d(:\d\d(\.\d+)?)?( ?[AaPp][Mm])?$|^\d\d? ?[AaPp][Mm]$"  # a time
    r"|^\d{4}[-/]\d\d?$|^\d\d?[-/]\d{4}$|^\pL{3,}[-. ]+(\d\d|\d{4})$"  # a month and a year
    r"|^(\d{4}|[令平昭]\pL(\d\d?|元)) ?[年년]|^\d{8}T\d{4}"
    r"|^\d+(er|st|nd|rd|th|º)? (de |of )?\pL{3,}|^\d\d?\pL{3}\d{4}"
    r"|^\d{4}[- ]?(W|CW|KW|Q|M)[- ]?\d\d?"  # a week, a quarter, a month
    r"|^(W|CW|KW|Q)[- ]?\d\d?[-/ ]\d{4}$"
)
DURATIONS = "durations"  # the style of a column that has them
_UNITS = r"(\d+(\.\d+)? ?(d|days?|h|hr|hours?|m|min|minutes?|s|sec|seconds?) ?)"
_DAYS = r"^(\d+)(?: ?d(?:ays?)?,? |-)"  # before a time, as Python, pandas and clusters write them
_LONG = (  # too long for a time of day, or sure to be none
    rf"{_DAYS}\d\d?:\d\d:\d\d|^(2[4-9]|[3-9]\d|\d{{3,}}):\d\d(:\d\d)?(\.\d+)?$"
    rf"|^P(\d+D)?T(\d\d?H)?(\d\d?M)?(\d\d?(\.\d+)?S)?$|^{_UNITS}{{2,}}$|^\d\d?:\d\d\.\d+$"
)
_SHORT = rf"|^(\d\d?:)?\d\d?:\d\d(\.\d+)?$|^{_UNITS}$"
_MINUTES = r"^(\d+):(\d\d(?:\.\d+)?)$"  # and seconds
_WHOLE = r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$"  # a date without delimiters
_SHORT_YEAR = r"^(\d\d?[-/. ](?:\d\d?|[^\W\d_]{3,})[-/. ])(\d\d)(?!\d)"  # 24 for 2024
_POINTED = r"\d\d?\.\d\d\.\d\d"
_HOUR = r"%H([^ ]*)"  # in a format
_AND = " and "  # between two formats of one column
_SEASON = r"^\d\d(\d\d)[-/](\d\d)$"  # from a summer to the next, or a month of a year
_SAMPLE = 300  # distinct texts by which a format is found


def are_whole(text: pa.ChunkedArray) -> bool:
    """Return whether all texts are a year, a month and a day in eight digits.

    Example:
        >>> [are_whole(pa.chunked_array([[text]])) for text in ("20240229", "20241332")]
        [True, False]
    """
    return bool(pc.all(pc.match_substring_regex(text, _WHOLE)).as_py())


def are_times(form: str) -> bool:
    """Return whether a format is one of times of day, without a date."""
    return "%M" in form and not re.search("%[yYmbBdGV]", form)


def may_be(text: pa.ChunkedArray) -> bool:
    """Return whether most texts have the parts of a date or a time, and are no seasons."""
    return most(text, _PARTS) and not (most(text, _SEASON) and _are_seasons(text))


def _are_seasons(text: pa.ChunkedArray) -> bool:
    """Return whether texts are each a year and the next one, as 2003/04, and not all of a year."""
    texts = pc.unique(text).drop_null().to_pylist()
    years = [(int(y), int(z)) for each in texts for y, z in re.findall(_SEASON, each)]
    return len(years) > 1 and all(z == (y + 1) % 100 for y, z in years)


def durations(text: pa.ChunkedArray, *, sure: bool = False) -> pa.ChunkedArray | None:
    """Return the seconds of durations, null for other texts; None if most are none.

    Some must be longer than a day or have units: 12:30:00 alone is a time of day, and so is 12:30
    unless others begin with 24 and more, as minutes do.

    Args:
        text: stripped texts, null for missing ones.
        sure: they are durations.

    Example:
        >>> text = pa.chunked_array([["26:00:30", "1:00:00", "PT1H30M", "1h 5m", "long"]])
        >>> durations(text).to_pylist()
        [93630.0, 3600.0, 5400.0, 3900.0, None]
        >>> durations(pa.chunked_array([["12:30:00"]])) is None
        True
    """
    long = pc.any(pc.match_substring_regex(text, _LONG)).as_py()
    if not sure and not (long and most(text, _LONG + _SHORT)):
        return None
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    texts = pc.unique(text).drop_null()
    spelled = [
        re.sub(rf"{_DAYS}(?=\d+:)", r"\1 days ", re.sub(_MINUTES, r"\1 min \2 s", each))
        for each in texts.to_pylist()
    ]
    spans = pd.to_timedelta(pd.Index(spelled, dtype=object), errors="coerce")
    seconds = pa.array(spans.total_seconds(), pa.float64(), from_pandas=True)
    return pc.take(seconds, pc.index_in(text, value_set=texts))


def read(text: pa.ChunkedArray, before: str | None = None) -> tuple[pa.ChunkedArray, str, str]:
    """Return timestamps, null for other texts, their format, and the same in words if in doubt.

    Args:
        text: dates or times.
        before: the format of a table before, which is taken where no other reads more texts.

    Example:
        >>> values, form, said = read(pa.chunked_array([["1/2/2024", "3/4/2024", "never"]]))
        >>> [value and str(value.date()) for value in values.to_pylist()], said
        (['2024-01-02', '2024-03-04', None], 'dates as %m/%d/%Y, month before day')
    """
    texts = pc.unique(text).drop_null()
    sample = texts.slice(0, _SAMPLE).to_pylist()
    form, twice, known = _form(sample, before)
    written = texts.to_pylist()
    if known < len(sample):
        worded = [plain(each) for each in sample]
        form_of_words, twice_of_words, more = _form(worded, before)
        if more > known:
            form, twice, known = form_of_words, twice_of_words, more
            written, sample = [plain(each) for each in written], worded
    if not known:  # of many texts that only look so, such as addresses, none need be tried
        return pa.chunked_array([pa.nulls(len(text), pa.timestamp("us"))]), form, ""
    if known < len(sample) and (second := _second(sample, form)):
        form, twice = form + _AND + second[0], twice or second[1]
    times = _times(written, form).to_numpy(dtype="datetime64[us]")
    found = pc.take(pa.array(times), pc.index_in(text, value_set=texts))
    said = ", month before day" if twice else ""
    doubt = twice or form == _FORMS[-1] or _AND in form
    return found, form, f"dates as {form}{said}" if doubt else ""


def _second(sample: Sequence[str], form: str) -> tuple[str, bool] | None:
    """Return the format of what a format does not read, if none of it reads the other's texts."""
    unread = _times(sample, form).isna()
    rest = [text for text, is_rest in zip(sample, unread, strict=True) if is_rest]
    others = [text for text, is_rest in zip(sample, unread, strict=True) if not is_rest]
    second, twice, known = _form(rest, None)
    return (second, twice) if known and not _times(others, second).notna().any() else None


def _form(sample: Sequence[str], before: str | None) -> tuple[str, bool, int]:
    """Return the format that reads most texts, whether days may be months in it, and how many."""
    forms = [*([before] if before else []), *_guessed(sample), *_FORMS]
    if all(re.fullmatch(_POINTED, text) for text in sample):  # else versions, such as 1.0.3
        forms.append("%H.%M.%S")
    known = [int(_times(sample, form).notna().sum()) for form in forms]
    form = forms[int(np.argmax(known))]  # the first of equal ones: the month before the day
    as_many = {f for f, count in zip(forms, known, strict=True) if count == max(known)}
    twice = form.startswith("%m") and any(other.startswith("%d") for other in as_many)
    return form, twice, max(known)


def _guessed(texts: Sequence[str]) -> list[str]:
    """Return the formats that pandas guesses, which knows no AM and PM and no years such as 24."""
    from pandas.tseries.api import guess_datetime_format  # noqa: PLC0415 - takes a second to load

    found: Counter[str] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # pandas doubts dates without separators
        for day in (False, True):
            for text in texts:
                half = re.fullmatch(r"(.*\d)( ?)[AaPp][Mm]( [+-]\d\d:\d\d)?", text)
                known = half[1] + (half[3] or "") if half else text
                full = re.sub(_SHORT_YEAR, r"\g<1>20\2", known)
                if form := guess_datetime_format(full, dayfirst=day):
                    form = form.replace("%Y", "%y") if full != known else form
                    found[re.sub(_HOUR, rf"%I\1{half[2]}%p", form) if half else form] += 1
    return sorted(found, key=lambda form: form.startswith("%m."))  # points follow the day


def _times(texts: Sequence[str], form: str) -> "pd.DatetimeIndex":
    import pandas as pd  # noqa: PLC0415 - takes a second to load

    index = pd.Index(texts)
    times = [
        pd.to_datetime(index, format=each, errors="coerce", utc=True).tz_localize(None)
        for each in form.split(_AND)
    ]
    return functools.reduce(lambda first, second: first.where(first.notna(), second), times)
