"""Numerals: texts that are meant as numbers, as people and programs write them."""

import functools
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["EITHER", "INTEGER", "MISSING", "NO_NUMBER", "PLAIN", "Numerals", "most", "numerals_of"]

MISSING = (
    "", "NA", "N/A", "n/a", "n.a.", "N.A.", "<NA>", "#N/A", "#N/A N/A", "#NA", "NaN", "nan", "-NaN",
    "-nan", "NULL", "Null", "null", "None", "none", "?", "...", "1.#IND", "-1.#IND", "1.#QNAN",
    "-1.#QNAN", "\\N", "(null)", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#NULL!",
    "#N/A Field Not Applicable", "#N/A Invalid Security", "N/M", "n/m",
    "n.a", "N.A", "not available", "Not Available", "NOT AVAILABLE", "no data", "No data",
    "No Data", "keine Angabe", "keine Angaben", "k.A.", "k. A.", "n/d", "N/D", "s/d", "S/D", "н/д",
    "NAN", "Nan", "NaT", "(NULL)", "[NULL]", "<NULL>", "<null>", "(blank)",
    "#NV", "#WERT!", "#BEZUG!", "#ZAHL!", "#VALEUR!", "#NOMBRE!", "#N/D", "#VALORE!", "#VALOR!",
    "#¡VALOR!", "#¡DIV/0!", "#Н/Д", "#ЗНАЧ!", "#ДЕЛ/0!",
)  # fmt: skip
"""What stands for a missing value in any column: words of pandas, skrub, SQL, and people's and
Excel's in several languages."""

PLAIN = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
"""Numbers as Python reads them."""

INTEGER = r"^-?(\d{1,18}|[1-8]\d{18})$"
"""Integers that always fit into 64 bits."""

_HUNDREDS = re.compile(r"\D*\d{3}\D*")  # beside 1.200 of money: three decimals all would have
EITHER = r"^[+-]?[1-9]\d{0,2}[.]\d{3}$"
"""Numbers such as 1.234, which may be a thousand and more."""

NO_NUMBER = r"^[^\pL\pN]*$|^[\[(](\pL|NA|na)[\])]$"
"""What stands for a missing one among numbers and dates, such as - and (X)."""

_INFINITE = r"^[+-]?(?i:inf|infinity)$"

_CODES = (
    "USD|EUR|GBP|JPY|CHF|SEK|NOK|DKK|ISK|PLN|CZK|HUF|RON|BGN|TRY|RUB|UAH|INR|CNY|RMB|KRW|THB|IDR|"
    "MYR|SGD|HKD|TWD|PHP|VND|AUD|NZD|CAD|MXN|BRL|ARS|CLP|COP|PEN|ZAR|NGN|KES|EGP|AED|SAR|ILS"
)
_NAMES = r"S?Fr\.?|[Kk]r\.?|zł|Kč|Ft|Rs\.?|Rp\.?|RM|KSh|TL|S/\.?|B/\."
_MONEY = rf"(?:(?:[A-Z]{{0,3}}[$€£¥₹₽₩₺₫₴฿₦₱₪₡¢₸₼₾元円圆원])|{_CODES}|{_NAMES})"
_RATE = r"(?:/ ?|(?:per|pro|par) )[^\W\d_]{1,8}"  # as in € / month
_UNIT = (
    rf"(?:(?:{_MONEY}|[%‰+]|[^\W\d_]|[°µ℃℉㎀-㏟])[^\s\d,;()]{{0,7}}"
    r"(?:(?<=[^\W\d_])[23](?:/[^\W\d_]{1,3})?)?"  # m2 and m3/h as well
    rf"(?: {_RATE})?|{_RATE})"
)
_TIMES = {
    **dict.fromkeys(("k", "K", "Tsd", "tys", "тыс", "thousand"), 1e3),
    **dict.fromkeys(("万", "萬", "만"), 1e4),
    **dict.fromkeys(("Lac", "Lakh"), 1e5),
    **dict.fromkeys(("M", "mn", "Mn", "mln", "млн", "Mio", "million"), 1e6),
    "Cr": 1e7,
    **dict.fromkeys(("亿", "億", "억"), 1e8),
    **dict.fromkeys(("B", "bn", "Bn", "mld", "mrd", "Mrd", "млрд", "billion"), 1e9),
}
_KINDS: Mapping[str, Mapping[str, float]] = {  # what is measured, and how much of it a unit is
    "mass": {"mg": 1e-3, "g": 1.0, "gr": 1.0, "kg": 1e3, "t": 1e6},
    "length": {"mm": 1e-3, "cm": 1e-2, "m": 1.0, "km": 1e3},
    "volume": {"ml": 1e-3, "cl": 1e-2, "dl": 0.1, "l": 1.0},
    "weight": {"oz": 1.0, "lb": 16.0},
    "height": {"in": 1.0, "inch": 1.0, "ft": 12.0},
    "data": {"kb": 1.0, "mb": 1e3, "gb": 1e6, "tb": 1e9},
    "frequency": {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9},
    "time": {
        "s": 1.0, "sec": 1.0, "second": 1.0, "min": 60.0, "minute": 60.0, "h": 3600.0, "hr": 3600.0,
        "hour": 3600.0, "d": 86400.0, "day": 86400.0, "wk": 604800.0, "week": 604800.0,
        "mo": 2629800.0, "month": 2629800.0, "y": 31557600.0, "yr": 31557600.0, "year": 31557600.0,
    },
}  # fmt: skip
_MEASURES = {unit: (kind, size) for kind, of in _KINDS.items() for unit, size in of.items()}
_SAMPLE = 3_000  # distinct texts by which a column is judged
_SPACE = "[ \u00a0\u2009\u202f]"
_EXPONENT = r"(?:[eE][+-]?\d+|[dD][+-]\d+)?"  # the latter of Fortran


@functools.cache
def _pattern(decimal: str) -> re.Pattern[str]:
    """Return the numbers with this decimal mark: a sign, digits in groups, a currency or a unit."""
    marks = rf"(?P<mark>{',' if decimal == '.' else '[.]'}|['’]|{_SPACE})"
    indian = r"|[1-9]\d?(?:,\d\d)+,\d{3}" if decimal == "." else ""
    whole = rf"[1-9]\d{{0,2}}{marks}\d{{3}}(?:(?P=mark)\d{{3}})*{indian}|\d+"
    point = re.escape(decimal)
    digits = rf"(?:(?:{whole})(?:{point}(?![-–—])\d*)?|{point}\d+){_EXPONENT}"
    sign = "[-+−–]"
    letters = rf"(?:(?(before)[mb]|(?!))|[mb](?={_SPACE}*{_MONEY}))"  # else metres and bytes
    times = rf"(?:{letters}|{'|'.join(_TIMES)})(?=\.?{_SPACE}*(?:{_MONEY})?[-+)]?$)"
    return re.compile(
        rf"(?:(?P<lead>{_MONEY}){_SPACE}*(?=\())?(?P<open>\({_SPACE}*)?(?P<sign>{sign})?{_SPACE}*"
        rf"(?:(?P<before>{_MONEY}){_SPACE}*)?(?P<inner>{sign})?(?P<digits>{digits})(?:[.,:][-–—]{{1,2}})?"
        rf"(?:\+(?={_SPACE}*[^\W\d_]))?"  # as in 10+ years
        rf"(?:{_SPACE}*(?P<times>{times})\.?)?(?:{_SPACE}*(?P<after>{_UNIT}))?(?:{_SPACE}?(?P<trailing>-))?"
        rf"(?(open){_SPACE}*\)(?:{_SPACE}*(?P<tail>{_UNIT}))?)"
    )


@dataclass(frozen=True)
class Numerals:
    """How the numbers of a column are written.

    Args:
        decimal: the decimal mark, ``"."`` or ``","``.
        unit: what stands beside the numbers, such as ``"$"``, ``"%"`` or ``"kg"``; "" for nothing.
        shown: some number shows that this is the decimal mark.
        open: the mark in numbers such as 1,234 or 1.234, if they leave open what it parts.
        scaled: a K, an M and their like are multiplied, for not all numbers have the same.
        others: units of the same kind that are there too, such as g beside kg.
    """

    decimal: str = "."
    unit: str = ""
    shown: bool = False
    open: str = ""
    scaled: bool = False
    others: tuple[str, ...] = ()

    def number(self, text: str) -> float | None:
        """Return a number, None where the text is none in this style.

        Example:
            >>> german = Numerals(",", "€")
            >>> [german.number(text) for text in ("€ 1.234,50", "(12)", "12 kg")]
            [1234.5, -12.0, None]
        """
        found = _pattern(self.decimal).fullmatch(text)
        if found is None:  # a dash beside a currency is how accounts write 0
            nothing = re.fullmatch(rf"({_MONEY}){_SPACE}*[-–—]+", text)
            return 0.0 if nothing and nothing[1] == self.unit else None
        unit, times = _unit(found), found["times"] or ""
        signs = [sign for name in _SIGNS if (sign := found[name])]
        ratio = self.ratio(unit if self.scaled else unit + times)
        if len(signs) > 1 or ratio is None:
            return None
        groups = rf"{',' if self.decimal == '.' else '[.]'}|['’]|{_SPACE}"
        digits = re.sub(groups, "", found["digits"])
        value = float(digits.translate(_PYTHON)) * (
            _TIMES[times.upper() if times in "mb" else times] if times and self.scaled else ratio
        )
        return -value if signs and signs[0] != "+" else value

    def ratio(self, unit: str) -> float | None:
        """Return how many of the column's unit another one is, None if that is another kind.

        Example:
            >>> [Numerals(unit="kg").ratio(unit) for unit in ("g", "Kg", "cm")]
            [0.001, 1.0, None]
        """
        if unit == self.unit or (not unit and _may_lack(self.unit)):
            return 1.0
        (kind, size), (own, one) = _measure(unit), _measure(self.unit)
        return size / one if unit and self.unit and kind == own else None

    def has_other_unit(self, text: str) -> bool:
        """Return whether a text is a number with another unit than those of this style.

        Example:
            >>> kilograms = Numerals(unit="kg")
            >>> [kilograms.has_other_unit(text) for text in ("800 m", "1 kg", "heavy")]
            [True, False, False]
        """
        found = _pattern(self.decimal).fullmatch(text)
        other = found and (_unit(found) or found["times"])
        return bool(other and self.unit and self.number(text) is None)

    def settled(self) -> "Numerals":
        """Return the same with nothing open: that is how the column was read."""
        return replace(self, shown=True, open="") if self.open else self

    def agrees(self, other: "Numerals") -> bool:
        """Return whether one number means the same in both, but for the decimal mark."""
        units = {self.unit, other.unit}
        same = len(units) == 1 or units <= {"", "+"} or ("" in units and _is_money("".join(units)))
        return same and self.scaled == other.scaled

    def parse(self, text: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return int64 or float64, null where a text is missing or no number in this style."""
        bare = self.decimal == "." and (not self.unit or _may_lack(self.unit))
        plain = pc.if_else(pc.match_substring_regex(text, PLAIN if bare else "^$"), text, None)
        digits = plain
        if plain.null_count > text.null_count:
            digits = pc.coalesce(plain, self._common(text))
        others = text.filter(pc.and_(pc.is_null(digits), pc.is_valid(text))).unique()
        numbers = [self.number(other) for other in others.to_pylist()]
        if digits.null_count == plain.null_count and numbers.count(None) == len(numbers):
            integers = pc.all(pc.match_substring_regex(plain, INTEGER)).as_py()
            some = plain.null_count < len(plain)
            return _finite(plain.cast(pa.int64() if integers and some else pa.float64()))
        values = digits.cast(pa.float64())
        if numbers:
            found = pc.take(pa.array(numbers, pa.float64()), pc.index_in(text, value_set=others))
            values = pc.coalesce(values, found)
        return _finite(values)

    def _common(self, text: pa.ChunkedArray) -> pa.ChunkedArray:
        """Return the digits of texts such as -$1,234.5, null for others; Arrow reads all at once.

        What it reads, ``number`` reads alike.
        """
        if self.scaled:
            return pa.nulls(len(text), text.type)
        group, point = (",", "[.]") if self.decimal == "." else ("[.]", ",")
        digits = rf"((?:[1-9]\d{{0,2}}(?:{group}\d{{3}})+|\d+)(?:{point}\d*)?)"
        unit = re.escape(self.unit)
        ways = [rf"(-?){digits}" + (f"(?: ?{unit})" + "?" * _may_lack(self.unit)) * bool(unit)]
        if _is_money(self.unit):
            ways += [rf"(-?){unit} ?{digits}", rf"{unit} ?(-){digits}"]
        common = "|".join(f"^{way}$" for way in ways)
        places = "".join(rf"\{i}" for i in range(1, 2 * len(ways) + 1))  # of a sign and digits each
        found = pc.if_else(pc.match_substring_regex(text, common), text, None)
        found = pc.replace_substring_regex(found, common, places)
        found = pc.replace_substring_regex(found, group, "")
        return found if self.decimal == "." else pc.replace_substring(found, ",", ".")

    def __str__(self) -> str:
        unit = f" and {self.unit} left out" if self.unit else ""
        scaled = " and K, M and the like multiplied" if self.scaled else ""
        made = f", {', '.join(self.others)} turned into {self.unit}" if self.others else ""
        return f"decimal {'comma' if self.decimal == ',' else 'point'}{unit}{scaled}{made}"


_PYTHON = str.maketrans(",dD", ".ee")  # how Python writes a number
_SIGNS = ("open", "sign", "inner", "trailing")


def _finite(values: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values, null where a text was beyond float64."""
    return pc.if_else(pc.is_finite(values), values, None)


def _unit(found: re.Match[str]) -> str:
    """Return what stands beside the digits: a currency, a percent sign or a unit."""
    return "".join(found[name] or "" for name in ("lead", "before", "after", "tail"))


def _measure(unit: str) -> tuple[str, float]:
    """Return what a unit measures and how much of it; star and Stars are of one kind, too."""
    bare = unit.rstrip(".")
    one = bare.removesuffix("s") if len(bare) > 2 else bare
    alike = one.casefold() if len(one) > 2 else one  # mW is no MW
    return _MEASURES.get(one.casefold(), (alike, 1.0))


def _may_lack(unit: str) -> bool:
    """Return whether some numbers of a column may do without its unit: a currency, or 10+."""
    return _is_money(unit) or unit == "+"


def _is_money(unit: str) -> bool:
    return re.fullmatch(_MONEY, unit) is not None


def most(text: pa.ChunkedArray, pattern: str) -> bool:
    """Return whether a regular expression is found in more than half of the texts."""
    found = pc.sum(pc.match_substring_regex(text, pattern)).as_py() or 0
    return bool(2 * found > len(text) - text.null_count)


def numerals_of(
    text: pa.ChunkedArray, decimal: str | None = None, before: object = None
) -> Numerals | None:
    """Return how the numbers of a column are written; None if it is not one of numbers.

    It is one if more than half of its values are numbers in the style that explains most of them.
    Texts without a letter or a digit do not count.

    Args:
        text: stripped texts, null for missing ones.
        decimal: the decimal mark, if it is known.
        before: the style of the same column in a table before. A number keeps its meaning: another
            decimal mark is found, another unit is not.

    Example:
        >>> numerals_of(pa.chunked_array([["$5,120.50", "$80", "unknown"]]))
        Numerals(decimal='.', unit='$', shown=True, open='', scaled=False, others=())
        >>> numerals_of(pa.chunked_array([["red", "5", "blue"]])) is None
        True
    """
    text = text.filter(pc.is_valid(text))
    text = text.filter(pc.invert(pc.match_substring_regex(text, NO_NUMBER)))
    if not isinstance(before, Numerals):
        return _found(text, decimal)
    clear = before.shown or before.unit or before.scaled
    if clear and not before.parse(text).null_count:
        return before
    found = _found(text, decimal)
    return found if found and found.agrees(before) else before


def _found(text: pa.ChunkedArray, decimal: str | None) -> Numerals | None:
    """Return the style of texts of which none is missing."""
    plain = pc.match_substring_regex(text, f"{PLAIN}|{_INFINITE}")
    if len(text) and pc.all(plain).as_py() and decimal != ",":
        marked = text.filter(pc.match_substring(text, "."))
        if not len(marked):
            return Numerals()
        shown = not pc.all(pc.match_substring_regex(marked, EITHER)).as_py()
        return Numerals(shown=shown, open="" if shown else ".")
    sample = pc.value_counts(text).slice(0, _SAMPLE)
    counts = Counter({row["values"]: row["counts"] for row in sample.to_pylist()})
    styles = [_style(counts, mark) for mark in ((decimal,) if decimal else (".", ","))]
    style, explained = max(styles, key=lambda found: found[1].total())
    if 2 * explained.total() <= counts.total() or style.unit.lower() in ("am", "pm"):
        return None
    if len(explained) == 1 and any(map(style.has_other_unit, counts)):  # labels such as 1. male
        return None
    others = [found.keys() for other, found in styles if other.decimal != style.decimal]
    shown = decimal is not None or any(explained.keys() - found for found in others)
    written = "".join(explained)
    ambiguous = "" if shown else "," if "," in written else "." if "." in written else ""
    if ambiguous == "." and _is_money(style.unit) and any(map(_HUNDREDS.fullmatch, explained)):
        return replace(styles[1][0], shown=True)
    return replace(style, shown=shown, open=ambiguous)


def _style(counts: Counter[str], decimal: str) -> tuple[Numerals, Counter[str]]:
    """Return the style with this mark that explains most texts, and those texts."""
    units: Counter[str] = Counter()
    times: dict[str, Counter[str]] = {}
    for text, count in counts.items():
        if found := _pattern(decimal).fullmatch(text):
            units[_unit(found)] += count
            times.setdefault(_unit(found), Counter())[found["times"] or ""] += count
    if not units:
        return Numerals(decimal), Counter()
    kinds_of: Counter[str] = Counter()
    for each, count in units.items():
        kinds_of[_measure(each)[0]] += count
    unit = max(
        [unit for unit in units if _may_lack(unit)] or units,
        key=lambda each: (kinds_of[_measure(each)[0]], units[each]),
    )
    kinds = times[unit] + (times.get("", Counter()) if _may_lack(unit) else Counter())
    scaled = len(kinds) > 1
    style = Numerals(decimal, unit if scaled else unit + next(iter(kinds)), scaled=scaled)
    others = [each for each in units if each != unit and style.ratio(each) not in (None, 1.0)]
    style = replace(style, others=tuple(sorted(others)))
    return style, Counter({v: n for v, n in counts.items() if style.number(v) is not None})
