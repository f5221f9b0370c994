"""Regular expressions with a bound on their work.

Python's engine backtracks: `(a+)+b` takes 2**n steps for n letters. The tree of a pattern shows where the
engine has a choice that a later failure makes it try again. A choice inside an unbounded repetition is
refused. The other choices give a polynomial bound, from which follows the longest text that may be matched.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable
from itertools import zip_longest
from re import _constants as sre  # type: ignore[attr-defined]  # the tree of a pattern has no public name
from re import _parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

MAX_STEPS = 4_000_000
"""Most steps of the engine for one text; they take about 40 ms."""
MAX_TEXT_CHARS = 1_048_576
MIN_TEXT_CHARS = 64
"""A pattern that may only be matched with shorter texts is refused."""
MAX_PATTERN_CHARS = 4096
_MAX_DEGREE = 6
_MAX_FACTOR = 1e12
_MAX_WAYS = 10_000.0
_TOO_LONG = (
    "the pattern may take too long, as too many repetitions can match the same characters: write, for"
    " example, [^ ]+ for .+, or make one possessive (.++)"
)
_MOST_COUNTED = 1000
"""A repetition up to this number is bounded; above it counts as unbounded."""

# A set of characters is a bit mask: one bit for each of Latin-1, and four for the characters beyond it.
_SPACE, _DIGIT, _LETTER, _OTHER = (1 << bit for bit in range(256, 260))
_BEYOND = _SPACE | _DIGIT | _LETTER | _OTHER
_ALL = (1 << 260) - 1
_LATIN = [chr(code) for code in range(256)]


def _mask(characters: Iterable[str]) -> int:
    return sum(1 << ord(character) for character in characters)


_SPACES = _mask(c for c in _LATIN if c.isspace())
_DIGITS = _mask("0123456789")
_WORDS = _mask(c for c in _LATIN if c.isalnum() or c == "_")
_ASCII = _mask(_LATIN[:128])
_CATEGORIES = {
    sre.CATEGORY_SPACE: (_SPACES | _SPACE, _SPACES & _ASCII),
    sre.CATEGORY_DIGIT: (_DIGITS | _DIGIT, _DIGITS),
    sre.CATEGORY_WORD: (_WORDS | _DIGIT | _LETTER, _WORDS & _ASCII),
}
_NOT = {
    sre.CATEGORY_NOT_SPACE: sre.CATEGORY_SPACE,
    sre.CATEGORY_NOT_DIGIT: sre.CATEGORY_DIGIT,
    sre.CATEGORY_NOT_WORD: sre.CATEGORY_WORD,
}
_REPEATS = (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT)


class _Cost(tuple[float, ...]):
    """Steps for a text of n characters: a polynomial in n, given by its coefficients."""

    __slots__ = ()

    def plus(self, other: "_Cost") -> "_Cost":
        return _Cost(one + two for one, two in zip_longest(self, other, fillvalue=0.0))

    def times(self, other: "_Cost") -> "_Cost":
        found = [0.0] * (len(self) + len(other) - 1)
        for degree, factor in enumerate(self):
            for more, other_factor in enumerate(other):
                found[degree + more] += factor * other_factor
        if len(found) > _MAX_DEGREE + 1:
            raise ValueError(_TOO_LONG)
        return _Cost(min(factor, _MAX_FACTOR) for factor in found)

    def of(self, n: int) -> float:
        return sum(factor * float(n) ** degree for degree, factor in enumerate(self))


_ONE = _Cost((1.0,))
_N = _Cost((0.0, 1.0))


class _Look(NamedTuple):
    """What a part of a pattern may begin with and what it costs, together with everything behind it."""

    first: int
    """The characters with which this part or, if it can be empty, what is behind it may begin."""
    nullable: bool
    work: _Cost
    """Steps for this part and everything behind it."""
    ways: _Cost
    """Ways to match one text with this part alone."""


_NOTHING = _Look(0, True, _ONE, _ONE)
"""The end of a pattern, or of a part that the engine does not match again."""


class Pattern:
    """A pattern with named groups, which is matched from the beginning of a text.

    With `whole` it must match the whole text. It needs no group with `whole` or without `grouped`. `longest`
    is the number of characters of the longest text that it may be matched with. The constructor raises
    `ValueError` for a pattern without a named group, with a fault, or with unbounded work.
    """

    # At the end of a whole text, a last repetition gives back its characters one by one, and each time the
    # engine fails at once. So it takes at most twice the steps.

    def __init__(self, text: str, *, whole: bool = False, grouped: bool = True) -> None:
        if len(text) > MAX_PATTERN_CHARS:
            raise ValueError(f"a pattern has at most {MAX_PATTERN_CHARS} characters")
        try:
            compiled = re.compile(text)
            tree = _parser.parse(text)
        except (re.error, RecursionError, OverflowError) as error:
            raise ValueError(f"no regular expression: {error}") from None
        if grouped and not whole and not compiled.groupindex:
            raise ValueError("the pattern has no named group: write (?P<name>…) around the part for a field")
        self.names = tuple(compiled.groupindex)
        work = _look(list(tree), compiled.flags, _NOTHING).work
        lengths = range(1, MAX_TEXT_CHARS + 1)
        self.longest = bisect_right(lengths, 0, key=lambda n: work.of(n) > MAX_STEPS)
        if self.longest < MIN_TEXT_CHARS:
            raise ValueError(_TOO_LONG)
        self.match = compiled.fullmatch if whole else compiled.match


def _set_of(op: Any, value: Any, flags: int) -> int | None:
    """The characters that a node for one character matches, rather too many than too few; None for others."""
    if op is sre.LITERAL:
        return _literal(value, flags)
    if op is sre.NOT_LITERAL:
        return _ALL & ~(1 << value) if value < len(_LATIN) else _ALL
    if op is sre.ANY:
        return _ALL if flags & re.DOTALL else _ALL & ~(1 << ord("\n"))
    if op is not sre.IN:
        return None
    items = list(value)
    if items[0][0] is not sre.NEGATE:
        return _union(items, flags)
    excluded = 0
    for kind, item in items[1:]:
        if kind is sre.CATEGORY:
            excluded |= _category(item, flags)
        else:  # of the characters beyond Latin-1 only a few are excluded
            excluded |= _union([(kind, item)], 0) & ~_BEYOND
    return _ALL & ~excluded


def _literal(code: int, flags: int) -> int:
    character = chr(code)
    if code >= len(_LATIN):
        found = _SPACE if character.isspace() else _DIGIT if character.isdecimal() else _LETTER | _OTHER
    else:
        found = 1 << code
    if flags & re.IGNORECASE and character.isalpha():
        for other in (character.lower(), character.upper()):
            found |= _mask(c for c in other if ord(c) < len(_LATIN))
        found |= _LETTER
    return found


def _union(items: list[tuple[Any, Any]], flags: int) -> int:
    found = 0
    for kind, item in items:
        if kind is sre.CATEGORY:
            found |= _category(item, flags)
        elif kind is sre.RANGE:
            low, high = item
            for code in range(low, min(high + 1, len(_LATIN))):
                found |= _literal(code, flags)
            if high >= len(_LATIN):
                found |= _BEYOND
        else:
            found |= _literal(item, flags)
    return found


def _category(category: Any, flags: int) -> int:
    wide, ascii_only = _CATEGORIES[_NOT.get(category, category)]
    found = ascii_only if flags & re.ASCII else wide
    return _ALL & ~found if category in _NOT else found


def _look(nodes: list[tuple[Any, Any]], flags: int, rest: _Look) -> _Look:
    """A sequence of nodes, with `rest` behind it. Raises `ValueError` for work without a bound."""
    nullable, ways = True, _ONE
    look = rest
    for op, value in reversed(nodes):
        look = _node(op, value, flags, look)
        nullable = nullable and look.nullable
        ways = ways.times(look.ways)
    return _Look(look.first, nullable, look.work, ways)


def _node(op: Any, value: Any, flags: int, rest: _Look) -> _Look:  # noqa: PLR0911 - one for each node
    if (characters := _set_of(op, value, flags)) is not None:
        return _Look(characters, False, rest.work.plus(_ONE), _ONE)
    if op in _REPEATS:
        low, high, body = value
        return _repeat(op, low, high, list(body), flags, rest)
    if op is sre.SUBPATTERN:
        _, added, removed, body = value
        return _look(list(body), (flags | added) & ~removed, rest)
    if op is sre.BRANCH:
        return _branch([_look(list(body), flags, rest) for body in value[1]])
    if op is sre.ATOMIC_GROUP:
        inner = _look(list(value), flags, _NOTHING)
        first = inner.first | rest.first if inner.nullable else inner.first
        return _Look(first, inner.nullable, inner.work.plus(rest.work), _ONE)
    if op in (sre.ASSERT, sre.ASSERT_NOT):
        inner = _look(list(value[1]), flags, _NOTHING)
        return _Look(_ALL, True, inner.work.plus(rest.work), _ONE)
    if op is sre.GROUPREF:
        return _Look(_ALL, True, _N.plus(rest.work), _ONE)
    if op is sre.GROUPREF_EXISTS:
        return _branch([_look(list(body or ()), flags, rest) for body in value[1:]])
    return _Look(rest.first, True, rest.work, _ONE)  # a position, such as ^ or \b


def _branch(looks: list[_Look]) -> _Look:
    first, work, ways = 0, _Cost((0.0,)), _Cost((0.0,))
    overlapping = False
    for look in looks:
        overlapping = overlapping or bool(first & look.first)
        first |= look.first
        work = work.plus(look.work)
        ways = ways.plus(look.ways) if overlapping or look.ways != _ONE else _ONE
    return _Look(first, any(look.nullable for look in looks), work, ways)


def _repeat(op: Any, low: int, high: int, body: list[Any], flags: int, rest: _Look) -> _Look:
    unbounded = high > _MOST_COUNTED
    alone = _look(body, flags, _NOTHING)
    if unbounded and alone.nullable:
        raise ValueError("the pattern repeats a part that can be empty: make the part match something")
    nullable = low == 0 or alone.nullable
    first = alone.first | rest.first if nullable else alone.first
    # Behind one repetition is the next one, or the rest.
    again = alone.first if high > 1 else 0
    inner = _look(body, flags, _NOTHING._replace(first=again | rest.first))
    if unbounded and inner.ways != _ONE:
        raise ValueError(
            "the pattern may take exponential time: inside a repetition, a text can be matched in several"
            " ways, as in (a+)+, (a|aa)* or (.*,)*; let each part begin with another character, or make the"
            " inner repetition possessive, as in (a++)+"
        )
    ways = _ONE
    for _ in range(0 if unbounded or inner.ways == _ONE else high):
        ways = ways.times(inner.ways)
        if ways[0] > _MAX_WAYS:
            raise ValueError("the pattern may take too long: a repeated part can match in too many ways")
    # Repetitions share the text, so an unbounded number of them takes as many steps as one over all of it.
    scan = _N.plus(inner.work) if unbounded else _Cost((float(max(high, 1)),)).times(inner.work)
    if op is sre.POSSESSIVE_REPEAT:
        return _Look(first, nullable, scan.times(ways).plus(rest.work), _ONE)
    if low != high and alone.first & rest.first:
        ways = ways.times(_N if unbounded else _Cost((float(high - low + 1),)))
    return _Look(first, nullable, scan.plus(ways.times(rest.work)), ways)
