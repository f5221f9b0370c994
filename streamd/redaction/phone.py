"""Telephone numbers in texts.

Found are
- international numbers: `+49 171 2345678`, `+1 (212) 555-0123`, `0049171…` with an assigned country code,
- national numbers of 9 to 12 digits that begin with 0, in groups: `0171 2345678`, `030/123456`,
- North American ones in groups: `(212) 555-0123`, `212-555-0123`, `212.555.0123`,
- 6 to 15 digits behind a word such as `phone`, `tel` or `mobile`.

Digits without a plus sign, separators or such a word are no telephone number, because order numbers,
counters and times look the same; nor are North American groups with spaces only, as `200 512 1024` in a log.
A serial number in groups that begins with 0 is taken for a telephone number.
"""

import re
from bisect import bisect_left

from streamd.redaction.iban import find_ibans
from streamd.redaction.span import Span

_S = " \\t\u00a0\u2007\u2009\u202f"
_MIN, _MAX = 8, 15
_BETWEEN = rf"\)?(?:[{_S}]?[-./\u2010-\u2015][{_S}]?|[{_S}]{{1,2}})?\(?"
_NEXT = re.compile(rf"({_BETWEEN})(\d{{1,16}})")
_BORDER = r"(?<![0-9A-Za-z+])(?<![0-9][.,:/-])(?<![A-Za-z]-)"
_START = re.compile(
    rf"""(?P<plus>\(?\+[{_S}]?|{_BORDER}00[{_S}]?(?=[1-9]))(?P<country>[1-9]\d{{0,15}})
    | {_BORDER}(?:
        (?P<area>\(?0[1-9]\d{{0,4}})(?=[-{_S}./)\u2010-\u2015])
      | (?P<american>
          (?:1[-.{_S}])?(?:\([2-9]\d\d\)[{_S}]?|[2-9]\d\d[-.\u2010-\u2015])\d{{3}}[-.{_S}]\d{{4}}
        )
    )""",
    re.VERBOSE,
)
_RUN = re.compile(rf"[+(\d][-+(\d)./{_S}\u2010-\u2015]{{{_MIN - 1},}}+")
_WORDS = ("tel", "phone", "fon", "mobil", "cell", "fax", "msisdn", "handy", "whatsapp", "sms")
_WORD = re.compile(
    rf"""(?<![A-Za-z])(?:tele)?(?:tel|phone|fon|mobile?|cell|fax|msisdn|handy|whatsapp|sms)s?
    (?:[{_S}_-]?(?:number|num|nr|no))?
    (?:[\\]?["'])?[{_S}]{{0,2}}[.:=\#]{{0,2}}[{_S}]{{0,2}}(?:[\\]?["'])?
    (?P<number>\(?\d{{1,15}})(?![0-9A-Za-z])""",
    re.VERBOSE | re.IGNORECASE,
)
_EXTENSION = re.compile(rf"[{_S}]?(?:ext\.?|x|\#)[{_S}]?\d{{1,6}}(?!\w)", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d\d-\d\d|\d{1,2}[./-]\d{1,2}[./-](?:\d{4}|\d\d)(?!\d|[./-]\d)")
_MIN_JOINED = 9
_ENOUGH = 11
_MIN_NATIONAL, _MAX_NATIONAL = 9, 12
_MIN_WITH_WORD = 6
_MIN_JOINED_00 = 11
_WHOLE = {"1": 11, "7": 11}
"""Number of digits, with the country code, where it is always the same."""
_CODES = """
    1 7 20 27 30 31 32 33 34 36 39 40 41 43 44 45 46 47 48 49 51 52 53 54 55 56 57 58 60 61 62 63 64 65
    66 81 82 84 86 90 91 92 93 94 95 98 211 212 213 216 218 220 221 222 223 224 225 226 227 228 229 230
    231 232 233 234 235 236 237 238 239 240 241 242 243 244 245 246 247 248 249 250 251 252 253 254 255
    256 257 258 260 261 262 263 264 265 266 267 268 269 290 291 297 298 299 350 351 352 353 354 355 356
    357 358 359 370 371 372 373 374 375 376 377 378 379 380 381 382 383 385 386 387 389 420 421 423 500
    501 502 503 504 505 506 507 508 509 590 591 592 593 594 595 596 597 598 599 670 672 673 674 675 676
    677 678 679 680 681 682 683 685 686 687 688 689 690 691 692 800 808 850 852 853 855 856 870 878 880
    881 882 883 886 888 960 961 962 963 964 965 966 967 968 970 971 972 973 974 975 976 977 979 992 993
    994 995 996 998
"""
_COUNTRIES = frozenset(_CODES.split())
_SHORT_FIRST = frozenset([(2, 2, 2, 2, 2), (2, 4, 4), (2, 8)])
"""Groups of national numbers whose first has two digits (France, Australia)."""


def find_phones(text: str) -> list[Span]:
    """The telephone numbers in a text; linear in its length. Digits of an IBAN are none."""
    found = sorted({*_with_form(text), *_with_word(text)})
    if not found or not (accounts := find_ibans(text)):
        return found
    starts = [account.start for account in accounts]
    return [
        one
        for one in found
        if (before := bisect_left(starts, one.end)) == 0 or accounts[before - 1].end <= one.start
    ]


def _with_form(text: str) -> list[Span]:
    """The numbers that are known by their form."""
    found: list[Span] = []
    for run in _RUN.finditer(text):
        if sum(map(str.isdecimal, run[0])) >= _MIN:
            found += _in_run(text, *run.span())
    return found


def _in_run(text: str, at: int, behind: int) -> list[Span]:
    found: list[Span] = []
    while start := _START.search(text, at, behind):
        at = start.end()
        if start["american"]:
            end = at if _ends(text, at) else None
        elif start["plus"]:
            end = _international(text, start)
        else:
            end = _national(text, start)
        if end is not None:
            begin = start.start()
            if text[begin] == "(" and ")" not in text[begin:end]:
                begin += 1
            at = _with_extension(text, end)
            found.append(Span(begin, at))
    return found


def _with_word(text: str) -> list[Span]:
    """The numbers behind a word like `phone`."""
    found: list[Span] = []
    small = text.lower()
    if not any(word in small for word in _WORDS):
        return found
    for word in _WORD.finditer(text):
        begin = word.start("number")
        if not _DATE.match(text, begin):
            end, sizes = _groups(text, word.end(), len(word["number"].strip("(")))
            if _MIN_WITH_WORD <= sum(sizes) <= _MAX and _ends(text, end):
                found.append(Span(begin, _with_extension(text, end)))
    return found


def _with_extension(text: str, end: int) -> int:
    extension = _EXTENSION.match(text, end)
    return extension.end() if extension else end


def _ends(text: str, at: int) -> bool:
    """Whether a number may end before `at`: it is not a part of a word, a longer number, a time or a path."""
    if at >= len(text):
        return True
    if text[at].isalnum():
        return not text[at].isascii()
    return not (text[at] in "-.:/_" and text[at + 1 : at + 2].isdigit())


def _groups(text: str, at: int, first: int, whole: int = _MAX) -> tuple[int, list[int]]:
    """The end of the groups of digits, and the sizes of them, of which the first ended at `at`.

    They end before too many digits, and at a space if there are enough digits for a number.
    """
    sizes = [first]
    while following := _NEXT.match(text, at):
        between, digits = following.groups()
        spaced = not between or between.isspace()
        total = sum(sizes)
        if total >= whole or total + len(digits) > _MAX:
            break
        if spaced and (total >= _ENOUGH or (total >= _MIN_NATIONAL and digits[0] == "0" and len(digits) > 2)):  # noqa: PLR2004
            break
        if following.end() < len(text) and text[following.end()] == ":":  # a time follows
            break
        sizes.append(len(digits))
        at = following.end()
    return at, sizes


def _international(text: str, start: re.Match[str]) -> int | None:
    country = start["country"]
    code = next((country[:n] for n in (1, 2, 3) if country[:n] in _COUNTRIES), None)
    if code is None:
        return None
    at = start.end()
    trunk = text.startswith(("(0)", " (0)"), at)
    if trunk:
        at = text.index(")", at) + 1
    end, sizes = _groups(text, at, len(country), _WHOLE.get(code, _MAX))
    total = sum(sizes)
    plus = "+" in start["plus"]
    if not (_MIN if len(sizes) > 1 else _MIN_JOINED if plus else _MIN_JOINED_00) <= total <= _MAX:
        return None
    if code in _WHOLE and total != _WHOLE[code]:
        return None
    if len(sizes) == 2 and text[at] == "." and not trunk:  # noqa: PLR2004 - a decimal number: +48.1371540
        return None
    return end if _ends(text, end) else None


def _national(text: str, start: re.Match[str]) -> int | None:
    begin = start.start("area")
    first = len(start["area"].strip("("))
    end, sizes = _groups(text, start.end(), first, _MAX_NATIONAL)
    if not _MIN_NATIONAL <= sum(sizes) <= _MAX_NATIONAL or not _ends(text, end):
        return None
    if first == 2 and tuple(sizes) not in _SHORT_FIRST and text[begin] != "(":  # noqa: PLR2004
        return None
    dotted = set(text[start.end() : end]) - set("0123456789")
    if dotted == {"."} and len(sizes) == 4 and max(sizes) <= 3:  # noqa: PLR2004 - an IPv4 address
        return None
    return end
