"""Numbers of payment cards in texts.

12 to 19 digits that begin with a number of a card network and end with the check digit of Luhn, in one piece
or in groups as cards are printed (4-4-4-4, 4-6-5, …), with a space, dash, dot, slash or underscore between
two groups. One number in ten that begins so has the right check digit by chance.
"""

import re

from streamd.redaction.span import Span

_SEPARATOR = "(?:[ \u00a0\u2007\u2009\u202f]{1,2}|[-./_\u2010-\u2015])"
_RUN = re.compile(rf"\d++(?:{_SEPARATOR}\d++)*+")
_WORD_BEFORE = re.compile(r"(?:(?=[a-f]{0,2}[g-z])[a-z]{3}|%B)$", re.IGNORECASE)
"""The end of a word (not of hexadecimal digits), or the start of the data of a magnetic stripe."""
_GROUP = re.compile(r"\d+")
_MIN, _MAX = 12, 19
_PREFIX = 4
_PRINTED = frozenset(
    [
        (4, 4, 4, 4), (4, 4, 4), (4, 4, 5), (4, 6, 5), (4, 6, 4), (4, 5, 6), (6, 13), (8, 8), (6, 10),
        (4, 4, 8),
        *((4, 4, 4, last) for last in (1, 2, 3)), *((4, 4, 4, 4, last) for last in (1, 2, 3)),
    ]
)  # fmt: skip
_Range = tuple[int, int, frozenset[int]]
_LONG = frozenset(range(16, 20))
_ALL = frozenset(range(12, 20))
_NETWORKS: dict[int, tuple[_Range, ...]] = {
    1: ((4, 4, frozenset({13, 16, 19})),),  # Visa
    2: (
        (51, 55, frozenset({16})),  # Mastercard
        (34, 34, frozenset({15})),  # American Express
        (37, 37, frozenset({15})),
        (36, 36, frozenset(range(14, 20))),  # Diners Club
        (38, 39, frozenset(range(14, 20))),
        (65, 65, _LONG),  # Discover
        (62, 62, _LONG),  # UnionPay
        (81, 81, _LONG),
        (60, 60, frozenset({16})),  # RuPay
        (50, 50, _ALL),  # Maestro
        (56, 58, _ALL),
        (63, 63, _ALL),
        (67, 67, _ALL),
    ),
    3: ((300, 305, frozenset(range(14, 20))), (644, 649, _LONG)),
    4: (
        (2221, 2720, frozenset({16})),  # Mastercard
        (3528, 3589, _LONG),  # JCB
        (3095, 3095, frozenset(range(14, 20))),
        (6011, 6011, _LONG),
        (2200, 2204, _LONG),  # Mir
        (9792, 9792, frozenset({16})),  # Troy
    ),
}
"""By the number of first digits: lowest and highest number, and the lengths of such cards."""
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


def is_card(digits: str) -> bool:
    """Whether these digits can be the number of a card."""
    return len(digits) in _lengths(digits) and _has_check_digit(digits)


def _lengths(digits: str) -> frozenset[int]:
    """The lengths of the cards that begin with these digits, which are four or more."""
    found: frozenset[int] = frozenset()
    for first, ranges in _NETWORKS.items():
        number = int(digits[:first])
        for low, high, lengths in ranges:
            if low <= number <= high:
                found |= lengths
    return found


def _has_check_digit(digits: str) -> bool:
    """The check of Luhn: every second digit from the right counts twice."""
    numbers = [int(digit) for digit in reversed(digits)]
    return (sum(numbers[::2]) + sum(_DOUBLED[n] for n in numbers[1::2])) % 10 == 0


def find_cards(text: str) -> list[Span]:
    """The card numbers in a text; linear in its length."""
    found: list[Span] = []
    for run in _RUN.finditer(text):
        if run.end() - run.start() < _MIN:
            continue
        groups = [group.span() for group in _GROUP.finditer(text, *run.span())]
        at = 0
        while at < len(groups):
            behind = _behind_card(text, groups, at)
            if behind is None:
                at += 1
            else:
                found.append(Span(groups[at][0], groups[behind - 1][1]))
                at = behind
    return found


def _behind_card(text: str, groups: list[tuple[int, int]], at: int) -> int | None:
    """The index of the group behind a card that begins with group `at`; None if none begins there."""
    start = groups[at][0]
    if not (_is_border(text, start - 1, -1) or _WORD_BEFORE.search(text, max(0, start - 3), start)):
        return None
    if at and _is_single(groups[at]) and _is_single(groups[at - 1]):
        return None  # not the first of single digits
    sizes: list[int] = []
    total = 0
    digits = ""
    lengths: frozenset[int] = _ALL
    for index in range(at, min(len(groups), at + _MAX)):
        start, end = groups[index]
        sizes.append(end - start)
        total += end - start
        if total > _MAX:
            break
        digits += text[start:end]
        if lengths is _ALL and total >= _PREFIX:
            lengths = _lengths(digits)
            if not lengths:
                break
        if (
            total in lengths
            and (len(sizes) == 1 or tuple(sizes) in _PRINTED or total == len(sizes))
            and _is_border(text, end, 1)
            and _has_check_digit(digits)
        ):
            return index + 1
    return None


def _is_single(group: tuple[int, int]) -> bool:
    return group[1] - group[0] == 1


def _is_border(text: str, at: int, step: int) -> bool:
    """Whether a number may end before the character `at`.

    No letter is there, and no mark that joins it to other digits, as in a UUID or a decimal number.
    """
    if not 0 <= at < len(text):
        return True
    if text[at].isalnum():
        return not text[at].isascii()
    if text[at] in "-._" and 0 <= (beside := at + step) < len(text):
        return not (text[beside].isalnum() and text[beside].isascii())
    return True
