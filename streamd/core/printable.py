"""Text of unknown origin made safe to show: on a terminal, in a log line, in an HTTP answer."""

import sys


def printable(text: str | bytes, max_chars: int = 1024) -> str:
    r"""The text with all that is not printable as visible escapes (`\n`, `\x1b`, `\u202e`).

    What `str.isprintable` refuses is escaped: C0 and C1 controls, DEL, line and paragraph separators,
    bidirectional and other format controls, unassigned characters, lone surrogates, and every space but
    the plain one. A backslash stays as it is, so the result is to be read, not to be decoded. Of a longer
    text the first `max_chars` are kept, and how many are missing is said. Bytes are read as UTF-8.
    """
    kept = text[:max_chars]
    if isinstance(kept, bytes):
        kept = kept.decode("utf-8", "backslashreplace")
    if not kept.isprintable():
        kept = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in kept)
    missing = len(text) - max_chars
    return f"{kept}… [{missing} more]" if missing > 0 else kept


def escape(text: str) -> str:
    """`text` whole, on one line, with nothing in it that a terminal would act on."""
    return printable(text, sys.maxsize)
