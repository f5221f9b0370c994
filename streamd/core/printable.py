"""Text of unknown origin made safe to show: on a terminal, in a log line, in an HTTP answer."""

import sys
import unicodedata


def printable(text: str | bytes, max_chars: int = 1024) -> str:
    r"""The text with visible escapes (`\n`, `\x1b`, `\u202e`) for all characters that are not printable.

    Escaped are all characters for which `str.isprintable` is False: C0 and C1 controls, DEL, line and
    paragraph separators, bidirectional and other format controls, unassigned characters, lone surrogates, and
    every space but the plain one. A backslash is not escaped, so the result cannot be decoded. A longer text
    is cut after `max_chars`, and the number of missing characters is added. Bytes are read as UTF-8.
    """
    kept = text[:max_chars]
    if isinstance(kept, bytes):
        kept = kept.decode("utf-8", "backslashreplace")
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)
    missing = len(text) - max_chars
    return f"{kept}… [{missing} more]" if missing > 0 else kept


def escape(text: str) -> str:
    """The whole text on one line, without control characters."""
    return printable(text, sys.maxsize)


def cells(text: str) -> int:
    """The number of terminal columns that the text takes. Wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in text
    )


def shortened(text: str, columns: int) -> str:
    """The text in at most `columns` terminal columns. A longer one ends with two dots."""
    if cells(text) <= columns:
        return text
    kept, used = "", 2
    for character in text:
        used += cells(character)
        if used > columns:
            break
        kept += character
    return (kept + "..")[:columns]
