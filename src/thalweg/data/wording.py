"""Wording of dates: months of many languages, weeks, quarters and zones, as pandas reads them."""

import functools
import re
import unicodedata

__all__ = ["plain"]

_MONTHS = (  # in ten languages from English to Turkish, without accents
    "january januar janner janvier enero gennaio janeiro januari stycznia января ocak",
    "february februar fevrier febrero febbraio fevereiro februari feber lutego февраля subat",
    "march marz mars marzo marco maart marts marca марта",
    "april avril abril aprile kwietnia апреля nisan",
    "may mai mayo maggio maio mei maj maja мая mayıs",
    "june juni juin junio giugno junho czerwca июня haziran",
    "july juli juillet julio luglio julho lipca июля temmuz",
    "august aout agosto augustus sierpnia августа agustos",
    "september septembre septiembre settembre setembro wrzesnia сентября eylul",
    "october oktober octobre octubre ottobre outubro pazdziernika октября ekim",
    "november novembre noviembre novembro listopada ноября kasım",
    "december dezember decembre diciembre dicembre dezembro desember grudnia декабря aralık",
)
_ENGLISH = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_SIGNS = str.maketrans({
    **dict.fromkeys("年月년월", "-"), **dict.fromkeys("日일", " "),
    **dict.fromkeys("時时시分분", ":"), **dict.fromkeys("秒초", ""),
})  # fmt: skip
_ERAS = {"令和": 2018, "平成": 1988, "昭和": 1925}  # the year before the first of each
_ERA = rf"({'|'.join(_ERAS)})(\d\d?|元)(?=年)"
_WEEK = r"(?i)(?P<y>(?:19|20)\d\d)[- ]?(?:W|KW|CW)[- ]?(?P<w>\d\d?)(?:-(?P<d>[1-7]))?"
_WEEK_FIRST = r"(?i)(?:W|KW|CW)[- ]?(?P<w>\d\d?)[-/ ](?P<y>(?:19|20)\d\d)(?P<d>)"
_QUARTER = r"(?i)(?P<y>(?:19|20)\d\d)[- ]?Q(?P<q>[1-4])"
_QUARTER_FIRST = r"(?i)Q(?P<q>[1-4])[-/ ]?(?P<y>(?:19|20)\d\d)"
_CHANGES = (
    (r"^((?:19|20)\d\d)M(\d\d)$", r"\1-\2"),  # as statistical offices write months
    (r"^\[?(\d\d?/[^\W\d_]{3}/\d{4}):(.*?)\]?$", r"\1 \2"),  # as servers log requests
    (r" (\d\d?)\.(\d\d)\.(\d\d)(?:\.\d+)?(?= [AaPp][Mm])", r" \1:\2:\3"),  # as Oracle writes them
    (r"\s*[\[(][A-Za-z/_ ]+[\])]$", ""),  # the name of a zone
    (r" ?(?:GMT|UTC)([+-])(\d)(:\d\d)?$", r" \g<1>0\2\3"),  # GMT+1
    (r" (?:GMT|UTC)([+-]\d\d)", r" \1"),
    (r"(\d) ([+-]\d\d):?(\d\d)$", r"\1 \2:\3"),
    (r"(\d| [AaPp][Mm]) ([+-]\d\d)$", r"\1 \2:00"),
    (r" ?(?:UTC|[A-Z]{1,4}T|Z)$", ""),  # of another zone, the time that its clocks show
    (rf"^(?!{'|'.join(_ENGLISH)})[^\W\d_]{{2,}}\.?,? (?=\d)", ""),  # a weekday
    (r"^(\d\d?)(?:er|st|nd|rd|th|º)?[. ]+(?:de |of )?(?=[^\W\d_])", r"\1 "),
    (r"(?<=[^\W\d_])\.? (?:de |of )?(?=\d)", " "),
    (r"^(\d\d?)([^\W\d_]{3})(\d{4})\b:?", r"\1-\2-\3 "),  # as SAS writes them
)


def plain(text: str) -> str:
    """Return a date as pandas reads it; a text that is none may change too.

    Example:
        >>> [plain(text) for text in ("3. März 2024", "2024年1月3日", "KW 5/2024", "2024-Q2")]
        ['3 Mar 2024', '2024-1-3', '2024-W05-1', '2024-04']
        >>> plain("2024/01/03 8:15:00 AM GMT+1")
        '2024/01/03 8:15:00 AM +01:00'
    """
    if found := re.fullmatch(_WEEK, text) or re.fullmatch(_WEEK_FIRST, text):
        return f"{found['y']}-W{int(found['w']):02}-{found['d'] or 1}"
    if found := re.fullmatch(_QUARTER, text) or re.fullmatch(_QUARTER_FIRST, text):
        return f"{found['y']}-{3 * int(found['q']) - 2:02}"
    text = re.sub(_ERA, lambda era: str(_ERAS[era[1]] + int(era[2].replace("元", "1"))), text)
    text = re.sub(r"([-:]) +", r"\1", text.translate(_SIGNS)).strip(" :-")
    text = re.sub(r"[^\W\d_]{3,}\.?", lambda word: _month(word[0]), text)
    for pattern, new in _CHANGES:
        text = re.sub(pattern, new, text)
    return " ".join(text.split())


@functools.cache
def _month(word: str) -> str:
    """Return the short English name of a month, and of any other word the word."""
    bare = unicodedata.normalize("NFKD", word.rstrip(".").casefold())
    bare = "".join(letter for letter in bare if not unicodedata.combining(letter))
    found = [i for i, names in enumerate(_MONTHS) if re.search(rf"\b{bare}", names)]
    return _ENGLISH[found[0]] if len(found) == 1 else word
