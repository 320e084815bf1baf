"""Encodings: from bytes to text, by an encoding that is found or given."""

import codecs
import contextlib
import re
from collections.abc import Iterable, Iterator

import numpy as np

from thalweg.words import argument

__all__ = ["decoded"]

_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_CLOSE = 8  # characters at the end, among which may be DOS's mark of it
_HEAD = 4096  # bytes in which UTF-16 is recognized
_MORE = 1 << 17  # bytes in which other encodings are recognized
_WESTERN = (  # letters beyond ASCII of languages, small ones, the frequent first
    "üäöß", "éàèêçùûâîôœëïüæ", "íóáéñúü", "ãçáéêóíõúâôà", "àèùòìéíó", "äåöé", "øåæé",
)  # fmt: skip
_LETTERS = (  # those of languages, and the encodings that have them
    (_WESTERN, ("cp1252", "mac_roman", "cp850")),
    (("ðáíþöæóúéý",), ("cp1252", "mac_roman", "cp850")),
    (
        ("łęóążśćńź", "áíěéčřýžšůúóťňď", "áíéčýšžúľťôäňďóĺŕ", "éáóőöíüúű", "čšžćđ", "ăîşţâ"),
        ("cp1250", "iso8859_2", "cp852", "mac_latin2"),
    ),
    (("ıüşiçğöâî",), ("cp1254", "cp857")),
    (("āīēūšļņžģķč", "ėšįųžąūęč", "äõüöšž"), ("cp1257",)),
)
_SEVERAL = "äöüßàâæçéèêëîïôœùáíñóúãåø"  # western languages in one table
_WORD = r"(?i)[^\x00-\x7f]*[a-z](?:[^\x00-\x7f]|[a-z])*"
_BESIDE = r"(?i)(?<=[a-z])[^\x00-\x7f]|[^\x00-\x7f](?=[a-z])"  # a letter of ASCII
_SIGNS = "°µ€’‘“”–—…«»·\u00a0ºª®™©²³"  # that stand beside one, the last seven behind it
_WITHIN = r"(?i)(?<=[a-z])[°µ€“”…«»ºª®™©²³](?=[a-z])"  # that are no signs there
_SEQUENCE = rb"[\xc3-\xf4][\x80-\xbf]+"  # of UTF-8
_OTHERS = (  # in which a word is looked for, those with letters of their own first
    *("cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258"),
    *("gb18030", "big5hkscs", "cp932", "euc_jp", "cp949", "koi8_r", "iso8859_2", "iso8859_5"),
    *("mac_roman", "mac_cyrillic", "cp850", "cp852", "cp866", "utf-16-le", "utf-16-be"),
)
_SURE = 0.9  # share of the letters that must be those of one language
_BETTER = 0.05  # than in Windows-1252
_LIKELIER = np.log(100)  # than in Windows-1252
_RARE = np.log(100)  # how much likelier what Windows did not write must be
_FEW = 3  # letters that tell nothing
_FOREIGN = 100  # the rank of a letter that a language has not


def decoded(
    content: bytes, encoding: str | None = None, word: str | None = None
) -> tuple[str, str]:
    """Return the text and the name of its encoding.

    A byte order mark tells it. Otherwise it is UTF-8 if most bytes beyond ASCII fit, UTF-16 if
    every second byte is mostly 0, or Shift-JIS if the bytes read as Japanese. Otherwise it depends
    on letters beyond ASCII. If they stand alone, like letters with accents, it is the encoding in
    which they are those of one language; else Windows-1252, or Latin-1 if that lacks a character.
    If they stand together, like those of other alphabets, it is what charset_normalizer finds. An
    encoding in which the text has a known word goes before all others.

    Args:
        content: bytes.
        encoding: its name in Python, if it is known.
        word: that the text has.

    Raises:
        ValueError: there is no such encoding, or the bytes do not fit it.

    Example:
        >>> decoded("Köln".encode("cp1252")), decoded("名前".encode("shift_jis"))
        (('Köln', 'cp1252'), ('名前', 'Shift-JIS'))
    """
    if encoding is None:
        text, encoding = _found(content)
        if word and word not in text:
            text, encoding = _with(word, content) or (text, encoding)
    else:
        try:
            name = codecs.lookup(encoding).name
        except LookupError:
            raise ValueError(
                f"encoding must be one that Python knows, such as utf-8, cp1252 or shift_jis, got "
                f"{encoding!r}"
            ) from None
        marked = name in ("utf-8", "utf-16", "utf-32")
        try:
            text = content.decode("utf-8-sig" if name == "utf-8" else name)
        except UnicodeError as error:
            raise ValueError(f"it is not in the encoding {encoding} ({error})") from None
        text = text if marked else text.removeprefix("\ufeff")
    if encoding.lower() in ("shift-jis", "cp932", "shift_jis"):  # Japan's mark of the yen is there
        text = re.sub(r"\\(?=\d)", "¥", text)
    if "\x1a" in text[-_CLOSE:]:  # where a text of DOS ends
        text = text.rstrip().removesuffix("\x1a")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"line {line} has a NUL character, which no text has; the file is damaged, or not a "
            f"table of text, or in another encoding (name it with {argument('encoding')})"
        )
    return text, encoding


def _found(content: bytes) -> tuple[str, str]:
    for mark, name in _MARKS:
        if content.startswith(mark):
            try:
                return content.decode("utf-8-sig" if name == "UTF-8" else name), name
            except UnicodeDecodeError as error:
                raise ValueError(
                    f"it has the byte order mark of {name} and is not in it ({error.reason} at "
                    f"byte {error.start}); name its encoding with {argument('encoding')}"
                ) from None
    if not _has_zeros(content):
        text = content.decode("utf-8", errors="replace")
        if not (bad := text.count("\ufffd") - content.count("\ufffd".encode())):
            return text, "UTF-8"
        if lines := _by_lines(content):
            return lines
        if 2 * bad < len(re.findall(_SEQUENCE, content)):  # others hardly have them
            return text, f"UTF-8 but for {bad} bytes"
    for name, codec in _likely(content):
        with contextlib.suppress(UnicodeDecodeError):
            return content.decode(codec), name
    return content.decode("latin-1"), "Latin-1"


def _by_lines(content: bytes) -> tuple[str, str] | None:
    """Return the text if most lines beyond ASCII are UTF-8, and others all of another encoding."""
    lines = content.split(b"\n")
    beyond = [line for line in lines if not line.isascii()]
    other = [line for line in beyond if not _is_utf8(line)]
    few = len(other) < _FEW  # they may be damaged
    if few or 2 * len(other) > len(beyond) or any(re.search(_SEQUENCE, line) for line in other):
        return None
    text, name = _found(b"\n".join(other))
    known = iter(text.split("\n"))
    texts = [line.decode() if _is_utf8(line) else next(known) for line in lines]
    return "\n".join(texts), f"UTF-8, and {name} in {len(other)} lines"


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _with(word: str, content: bytes) -> tuple[str, str] | None:
    """Return the text in the first encoding in which it has a word, if it has it in one."""
    for name in _OTHERS:
        with contextlib.suppress(UnicodeDecodeError):
            if word in (text := content.decode(name)):
                return text, name
    return None


def _has_zeros(content: bytes) -> bool:
    """Return whether every second byte is mostly 0, as in the UTF-16 of Latin letters."""
    head = content[:_HEAD]
    return len(head) > 3 and any(2 * each.count(0) > len(each) for each in (head[::2], head[1::2]))


def _likely(content: bytes) -> Iterator[tuple[str, str]]:
    """Yield the names of encodings, and Python's, for what is not UTF-8."""
    if _has_zeros(content):
        ends = "LE" if content[1:_HEAD:2].count(0) > content[:_HEAD:2].count(0) else "BE"
        yield f"UTF-16-{ends}", f"utf-16-{ends}"
        yield "UTF-8", "utf-8"
    if _is_japanese(content):
        yield "Shift-JIS", "cp932"
    found = _other_alphabet(content, 4)  # letters with accents hardly ever stand so many together
    if not found:
        accents = _of_accents(content)
        found = [accents] if accents else _other_alphabet(content, 3)
    for name in [*found, "cp1252"]:
        yield name, name


def _of_accents(content: bytes) -> str | None:
    """Return the encoding in which the letters beyond ASCII are those of one language, if one is.

    It is Windows-1252 unless another is clearly better: more of its letters are those of one
    language, or they are frequent in one, and as Windows-1252 has them rare. What are letters on a
    Mac and in DOS are signs there, or letters of other languages.
    """
    western, usual_languages = content[:_MORE].decode("cp1252", "replace"), (*_WESTERN, _SEVERAL)
    usual = _share(western, usual_languages)
    best, name = -np.inf, "cp1252" if usual >= _SURE else None
    for languages, codecs_of_them in _LETTERS:
        for codec in codecs_of_them:
            text = content[:_MORE].decode(codec, "replace")
            if (share := _share(text, languages)) < _SURE or text == western:
                continue
            differ = _differ(codec, "cp1252")
            gain = [
                _chance(text, languages, kept) - _chance(western, usual_languages, kept)
                for kept in (None, differ)
            ]
            better = gain[0] - _RARE * (not codec.startswith("cp125"))
            likelier = min(gain) > 0 and better > _LIKELIER
            if (share > usual + _BETTER or likelier) and better > best:
                best, name = better, codec
    return name


def _share(text: str, languages: tuple[str, ...]) -> float:
    """Return which share of the characters in words are one language's; 0 if they are few."""
    letters = _letters(re.findall(_WORD, text))
    letters += re.findall(rf"[{_SIGNS[-7:]}](?=[a-z])", text)
    if len(letters) < _FEW:
        return 0.0
    return max(sum(letter in own for letter in letters) for own in languages) / len(letters)


def _differ(codec: str, other: str) -> set[str]:
    """Return the letters of two encodings whose bytes are others in the other one."""
    high = bytes(range(128, 256))
    pairs = zip(high.decode(codec, "replace"), high.decode(other, "replace"), strict=True)
    return {*_letters(one + another for one, another in pairs if one != another)}


def _chance(text: str, languages: tuple[str, ...], kept: set[str] | None) -> float:
    """Return how likely the letters of different words are in the language they suit best.

    It is the logarithm of a product of probabilities, which fall as 1 / rank.
    """
    seen = _letters({*re.findall(_WORD, text)})
    seen = [letter for letter in seen if kept is None or letter in kept]
    found = []
    for own in languages:
        total = sum(1 / rank for rank in range(1, len(own) + 1))
        ranks = [own.find(letter) + 1 or _FOREIGN for letter in seen]
        found.append(-sum(np.log(total * rank) for rank in ranks))
    return float(max(found))


def _letters(words: Iterable[str]) -> list[str]:
    """Return the small letters beyond ASCII, and signs within words."""
    text = " ".join(words)
    small = re.sub(r"[\x00-\x7f]", "", text).replace("İ", "i").lower()
    return [letter for letter in small if letter not in _SIGNS] + re.findall(_WITHIN, text)


def _other_alphabet(content: bytes, together: int) -> list[str]:
    """Return the likely encodings of words with so many letters beyond ASCII together."""
    head = content[:_MORE] if len(content) <= _MORE else content[: content.rfind(b"\n", 0, _MORE)]
    runs = [len(run) for run in re.findall(rb"[\x80-\xff]+", head)]
    if 2 * sum(run for run in runs if run >= together) <= sum(runs):
        return []
    import charset_normalizer  # noqa: PLC0415 - hardly a file needs it

    cells = dict.fromkeys(re.split(rb'[,;\t\n"]+', head))  # numbers and repeats tell nothing
    words = b"\n".join(cell for cell in cells if not cell.isascii())
    return [found.encoding for found in charset_normalizer.from_bytes(words)]


def _is_japanese(content: bytes) -> bool:
    """Return whether the bytes are Shift-JIS with kana or common characters, not Latin accents."""
    try:
        text = content.decode("cp932")
    except UnicodeDecodeError:
        return False
    beyond = re.sub(r"[\x00-\x7f]", "", text)
    usual = re.findall(r"[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]", beyond)
    first = re.findall(rb"[\x81-\x9f]", content)  # with which they begin; accents lie above
    if 2 * len(re.findall(_BESIDE, text)) > len(
        beyond
    ):  # letters of a Mac or of DOS in Latin words
        return False
    return 2 * len(usual) > len(beyond) and 2 * len(first) >= len(usual)
