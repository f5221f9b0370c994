"""E-mail addresses in texts.

An address is a local part, an @ (also as `%40`, `&#64;` or in full width) and a domain with a dot whose last
label can be a top-level domain. Not found are addresses without a dot in the domain (`root@localhost`), and
the characters of a local part before one of the marks `=/?&!#$*{|}`, which separate values in URLs and logs.
Names of files (`icon@2x.png`) and units of systemd (`user@1000.service`) are no addresses.
"""

import re

from streamd.redaction.span import Span

_AT = re.compile("@|\uff20|%40|&#64;|&#x40;", re.IGNORECASE)
_MARKS = frozenset("_.+-'%~^`")
"""Marks in a local part that separate no values in URLs, logs or code."""
_ESCAPE = re.compile(r"%(?!2B|2D|2E|5F|25)[0-9A-F]{2}", re.IGNORECASE)
_MAX_QUOTED = 66
_DOMAIN = re.compile(r"[\w-]+(?:[.\u3002\uff0e][\w-]+)+")
_LITERAL = re.compile(r"\[(?:IPv6:)?[0-9a-f:.]{2,45}\]", re.IGNORECASE)
_TOP = re.compile(
    r"(?:xn--[a-z0-9-]{1,59}|[a-z]{2,63})(?![a-z0-9])|[^\W\d_a-zA-Z][^\W\d_]{1,62}", re.IGNORECASE
)
_FILES_AND_UNITS = """
    png jpg jpeg gif svg webp ico bmp css js jsx tsx map html htm json xml yml yaml toml txt log conf
    cfg ini py service socket target timer mount automount slice scope device swap path
"""
_NO_TOP = frozenset(_FILES_AND_UNITS.split())
"""Endings of file names and of units of systemd. None of them is a top-level domain."""


def find_emails(text: str) -> list[Span]:
    """The addresses in a text; linear in its length."""
    if not any(at in text for at in ("@", "%40", "&#", "\uff20")):
        return []
    found: list[Span] = []
    behind = free = 0
    for at in _AT.finditer(text):
        end = _end_of_domain(text, at.end())
        if end is not None and (start := _start_of_local(text, behind, free, at.start())) < at.start():
            found.append(Span(start, end))
            behind = free = end
        else:
            behind = at.end()
    return found


def _end_of_domain(text: str, start: int) -> int | None:
    if literal := _LITERAL.match(text, start):
        return literal.end()
    domain = _DOMAIN.match(text, start)
    if domain is None:
        return None
    labels = re.split("[.\u3002\uff0e]", domain[0])
    end = domain.end()
    while len(labels) > 1:
        last = labels.pop()
        begin = end - len(last)
        top = _TOP.match(last)
        if top is not None and top[0].lower() not in _NO_TOP:
            return begin + top.end()
        end = begin - 1
    return None


def _start_of_local(text: str, first: int, free: int, at: int) -> int:
    """Where the local part that ends at `at` begins; `at` if there is none.

    It begins behind `first`; one in quotes, which may have an @, behind `free`.
    """
    if at > first and text[at - 1] == '"':
        opening = text.rfind('"', max(free, at - _MAX_QUOTED), at - 1)
        if opening >= 0 and any(map(str.isalnum, text[opening:at])):
            return opening
        return at
    start = _start_of_run(text, first, at)
    # bounce+ann=example.org@lists.example.net: the address before @ is in the local part
    if (
        start > first
        and text[start - 1] == "="
        and "." in text[start:at]
        and any(mark in text[(before := _start_of_run(text, first, start - 1)) : start] for mark in "+-")
    ):
        start = before
    for escape in _ESCAPE.finditer(text, start, at):
        start = escape.end()
    while start < at and text[start] in "'.-~^`":
        start += 1
    return start


def _start_of_run(text: str, first: int, end: int) -> int:
    start = end
    while start > first and (text[start - 1].isalnum() or text[start - 1] in _MARKS):
        start -= 1
    return start
