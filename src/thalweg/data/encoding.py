"""Encodings: bytes to text, with the encoding found or named."""

import codecs
import re

__all__ = ["decoded"]

_MARKS = (  # the longer ones first: UTF-32's begins with UTF-16's
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF8, "UTF-8"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)
_HEAD = 4096  # bytes in which UTF-16 shows itself


def decoded(content: bytes, encoding: str | None = None) -> tuple[str, str]:
    """Return the text and the name of its encoding.

    It is told by a byte order mark; else it is UTF-8 if the bytes are, UTF-16 if every second one
    is mostly 0, Shift-JIS if they read as Japanese, and else Windows-1252 or, where that has no
    such character, Latin-1.

    Args:
        content: bytes.
        encoding: its name in Python, if it is known.

    Raises:
        ValueError: there is no such encoding, or the bytes are not in it.

    Example:
        >>> decoded("Köln".encode("cp1252")), decoded("名前".encode("shift_jis"))
        (('Köln', 'cp1252'), ('名前', 'Shift-JIS'))
    """
    if encoding is None:
        text, encoding = _found(content)
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
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        raise ValueError(
            f"line {line} has a NUL character, which no text has; the file is damaged, or not a "
            "table of text, or in another encoding (name it with --encoding)"
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
                    f"byte {error.start}); name its encoding with --encoding"
                ) from None
    head = content[:_HEAD]
    for name, zeros in (("UTF-16-LE", head[1::2]), ("UTF-16-BE", head[::2])):
        if len(head) > 3 and 2 * zeros.count(0) > len(zeros):
            try:
                return content.decode(name), name
            except UnicodeDecodeError:
                break
    try:
        return content.decode("utf-8"), "UTF-8"
    except UnicodeDecodeError:
        pass
    if _is_japanese(content):
        return content.decode("cp932"), "Shift-JIS"
    try:
        return content.decode("cp1252"), "cp1252"
    except UnicodeDecodeError:
        return content.decode("latin-1"), "Latin-1"


def _is_japanese(content: bytes) -> bool:
    """Return whether the bytes are Shift-JIS with kana or common characters, not Latin accents."""
    try:
        text = content.decode("cp932")
    except UnicodeDecodeError:
        return False
    beyond = re.sub(r"[\x00-\x7f]", "", text)
    usual = re.findall(r"[\u3000-\u30ff\u4e00-\u9fff\uff01-\uff5e]", beyond)
    first = re.findall(rb"[\x81-\x9f]", content)  # with which they begin; accents lie above
    return 2 * len(usual) > len(beyond) and 2 * len(first) >= len(usual)
