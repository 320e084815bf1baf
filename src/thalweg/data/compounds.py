"""Compounds: texts of several numbers that are one, such as 5'11" and 47°30'N."""

import re
import unicodedata

import pyarrow as pa
import pyarrow.compute as pc

from thalweg.data.numerals import Numerals, most

__all__ = ["COMPOUNDS", "compounds", "spelled_out"]

_NUMBER = r"\d+(?:\.\d+)?"
_FEET = r"(?:['’′]|ft\.?|feet|foot)"
_INCHES = r"""(?:["”″]|''|in\.?|inch(?:es)?)"""
_POUNDS, _OUNCES = r"(?:lbs?\.?|pounds?)", r"(?:oz\.?|ounces?)"
_DEGREES = (
    rf"^(?P<from>[-NSEW])? ?(?P<a>{_NUMBER}) ?[°º]?(?: ?(?P<b>{_NUMBER}) ?['’′]"
    rf"""(?: ?(?P<c>{_NUMBER}) ?(?:["”″]|''))?)? ?(?P<to>[NSEW])?$"""
)
_NO_MORE = "(?P<c>)(?P<from>)(?P<to>)$"
COMPOUNDS = {  # the style of a column: what its texts look like, and the size of each part
    "feet and inches, as inches": (
        rf"^(?P<a>\d+) ?{_FEET}(?:,? ?(?P<b>{_NUMBER}) ?{_INCHES}?)?{_NO_MORE}",
        (12.0, 1.0, 0.0),
    ),
    "pounds and ounces, as ounces": (
        rf"^(?P<a>\d+) ?{_POUNDS}(?:,? ?(?P<b>{_NUMBER}) ?{_OUNCES})?{_NO_MORE}",
        (16.0, 1.0, 0.0),
    ),
    "degrees, negative in the south and west": (_DEGREES, (1.0, 1 / 60, 1 / 3600)),
}


_SPELLED = (  # what most texts look like, what some must, how it is written, and what is said
    (r"^\((?:1[89]|20)\d\d\)$", "", ((r"^\((\d+)\)$", r"\1"),), "brackets of years left out"),
    (r"^\d+(?:st|nd|rd|th)$", "", ((r"^(\d+)\pL\pL$", r"\1"),), "st, nd, rd and th left out"),
    (r"^# ?\d+$", "", ((r"^# ?", ""),), "# left out"),
    (
        r"(?i)\d ?[cd]r\.?$",
        r"(?i)dr\.?$",
        ((r"(?i)^(.*\d) ?cr\.?$", r"\1"), (r"(?i)^(.*\d) ?dr\.?$", r"-\1")),
        "DR is negative",
    ),
    (
        r"^-?\d+(?:\.\d+)? ?[×x*·] ?10(?:\^?[-+−]?\d+|⁻?[⁰¹²³⁴-⁹]+)$",
        "",
        ((" ?[×x*·] ?10\\^?", "e"), ("e[−⁻]", "e-"), *zip("⁰¹²³⁴⁵⁶⁷⁸⁹", "0123456789", strict=True)),
        "powers of 10",
    ),
    (
        rf"^-?{_NUMBER} ?(?:±|\+/[-−]) ?{_NUMBER}",
        "",
        ((r" ?(?:±|\+/[-−]) ?[\d.]+", ""),),
        "± and the number behind it left out",
    ),
    (rf"""^{_NUMBER} ?["”″]$""", "", ((""" ?["”″]$""", ""),), "the mark of inches left out"),
    *(
        (
            rf"^{_NUMBER} (?:/|out of|von|sur|de) {most_of}$",
            "",
            ((rf" \D+ {most_of}$", ""),),
            f"of {most_of} left out",
        )
        for most_of in (5, 10, 20, 100)  # marks, which are numbers where all are of the same
    ),
)
_MIXED = re.compile(  # as carpenters and cooks write them; 120/80 is none
    r"""([-−]?)(?:(\d+) )?(\d+)[/⁄](2|3|4|5|6|8|10|12|16|32|64|100)(?:["”″]|( ?[^\W\d_]+\.?))?"""
)
_WHOLE = r"^\d+ \d+[/⁄]\d+|^\d+ ?[¼-¾⅐-⅞]"


def spelled_out(text: pa.ChunkedArray, before: object = None) -> tuple[pa.ChunkedArray, str] | None:
    """Return texts such as #5, 2nd, (1994) and 350.00 DR as numbers are written, and what was done.

    Args:
        text: stripped texts, null for missing ones.
        before: the style of a table before: where numbers had no unit, CR alone is none either.

    Example:
        >>> spelled_out(pa.chunked_array([["5.00 CR", "3.50 DR", "none"]]))[0].to_pylist()
        ['5.00', '-3.50', 'none']
    """
    if fractions := _fractions(text):
        return fractions
    known = isinstance(before, Numerals) and not before.unit and not before.scaled
    for pattern, some, changes, said in _SPELLED:
        if (
            most(text, pattern)
            and pc.any(pc.match_substring_regex(text, "" if known else some)).as_py()
        ):
            for old, new in changes:
                text = pc.replace_substring_regex(text, old, new)
            return text, said
    return None


def _fractions(text: pa.ChunkedArray) -> tuple[pa.ChunkedArray, str] | None:
    """Return 1 1/2 and 1½ as 1.5, if one of them shows that others such as 3/4 are no dates.

    All must be fractions or numbers.
    """
    if not pc.any(pc.match_substring_regex(text, _WHOLE)).as_py():
        return None
    texts = text.drop_null().unique()
    values = [_as_decimal(each) for each in texts.to_pylist()]
    if None in values:
        return None
    written = pc.take(pa.array(values, text.type), pc.index_in(text, value_set=texts))
    return written, "fractions"


def _as_decimal(text: str) -> str | None:
    """Return a fraction as a decimal number, a number as it is, None for anything else."""
    spaced = unicodedata.normalize("NFKC", re.sub(r"([¼-¾⅐-⅞])", r" \1", text)).strip()
    if found := _MIXED.fullmatch(spaced):
        sign, whole, above, below, unit = found.groups()
        if int(above) < int(below) or not whole:
            return f"{sign}{int(whole or 0) + int(above) / int(below)}{unit or ''}"
    plain = re.fullmatch(rf"""(-?{_NUMBER}( ?[^\W\d_]+\.?)?) ?["”″]?""", spaced)
    return plain[1] if plain else None


def compounds(text: pa.ChunkedArray, before: object = None) -> tuple[pa.ChunkedArray, str] | None:
    """Return the numbers of such texts, null for others, and their style; None if most are none.

    Some must have a second part, or lie on both sides of the equator or of Greenwich: 5 ft and 12 W
    alone have a unit.

    Args:
        text: stripped texts, null for missing ones.
        before: the style of a table before, which makes sure what they are.

    Example:
        >>> for texts in (["5 ft 11 in", "6 ft"], ["47°30'N", "8.5 S"]):
        ...     print(compounds(pa.chunked_array([texts]))[0].to_pylist())
        [71.0, 72.0]
        [47.5, -8.5]
    """
    for style, (pattern, sizes) in COMPOUNDS.items():
        if before != style and not most(text, pattern):
            continue
        parts = pc.extract_regex(text, pattern)
        a, b, c = (_number(pc.struct_field(parts, [name])) for name in "abc")
        side = pc.binary_join_element_wise(
            *(pc.struct_field(parts, [name]) for name in ("from", "to")), pa.scalar("", text.type)
        )
        sides = {*pc.unique(side).to_pylist()}
        if (
            before != style
            and not pc.any(pc.greater(b, 0)).as_py()
            and not ({"N", "S"} <= sides or {"E", "W"} <= sides)
        ):
            continue
        size = [pc.multiply(part, factor) for part, factor in zip((a, b, c), sizes, strict=True)]
        total = pc.add(pc.add(size[0], size[1]), size[2])
        below = pc.is_in(side, value_set=pa.array(["S", "W", "-"], side.type))
        return pc.if_else(below, pc.negate(total), total), style
    return None


def _number(part: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the number of a part, 0 where it is empty."""
    return pc.if_else(pc.equal(part, ""), "0", part).cast(pa.float64())
