"""Structured data (RFC 5424 section 6.3): `[exampleSDID@32473 iut="3" eventID="1011"]`."""

import re

from streamd.syslog.message import Elements

# Each part is possessive, so that the time is linear in the length.
_ELEMENT = re.compile(r'\[([^\s="\[\]]++)')
_PARAMETER = re.compile(r'\s++([^\s="\]]++)=(?:\s*+"((?:[^"\\]|\\.)*+)"|([^\s"\]]*+)(?=[\s\]]))', re.DOTALL)
_END = re.compile(r"\s*+\]")
_ESCAPED = re.compile(r'\\(["\\\]])')


def read(text: str, at: int) -> tuple[Elements | None, int] | None:
    r"""The elements that begin at `at` and where they end; None if there is neither an element nor `-`.

    Names of any length are accepted, and values without quotes (VMware) or with a blank before them. A
    backslash counts as an escape before `"`, `\` and `]` only. If an SD-ID occurs again, its parameters are
    added. A quoted value may hold a `]` that is not escaped.
    """
    if text.startswith("-", at):
        return None, at + 1
    elements: Elements = {}
    while found := _ELEMENT.match(text, at):
        element = elements.setdefault(found[1], {})
        at = found.end()
        while parameter := _PARAMETER.match(text, at):
            name, quoted, bare = parameter.groups()
            value = bare if quoted is None else _ESCAPED.sub(r"\1", quoted) if "\\" in quoted else quoted
            add(element, name, value)
            at = parameter.end()
        end = _END.match(text, at)
        if end is None:
            return None
        at = end.end()
    return (elements, at) if elements else None


def add(element: dict[str, str | list[str]], name: str, value: str) -> None:
    """Add a parameter; the values of one name become a list."""
    before = element.get(name)
    if before is None:
        element[name] = value
    elif isinstance(before, list):
        before.append(value)
    else:
        element[name] = [before, value]
