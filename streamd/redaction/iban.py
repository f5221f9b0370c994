"""International bank account numbers (IBAN) in texts.

A country of the registry, the length of that country, and the check digits of ISO 7064 (mod 97). Characters
may be in groups, with a space, dash or dot between two groups, and in small letters. One text in 97 that
has this form has the right check digits by chance.
"""

import re

from streamd.redaction.span import Span

_REGISTRY = """
    AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28
    EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26
    IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28
    NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25
    SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30
"""
LENGTHS: dict[str, int] = {entry[:2]: int(entry[2:]) for entry in _REGISTRY.split()}
"""Number of characters by country: the registry of SWIFT."""
_START = re.compile(r"[A-Za-z]{2}\d{2}", re.ASCII)
_SEPARATORS = frozenset(" -.\u00a0\u2007\u2009\u202f\u2010\u2011\u2012\u2013")


def find_ibans(text: str) -> list[Span]:
    """The account numbers in a text; linear in its length."""
    found: list[Span] = []
    behind = 0
    for start in _START.finditer(text):
        length = LENGTHS.get(start[0][:2].upper())
        begin = start.start()
        if length is None or begin < behind or not _begins(text, begin):
            continue
        end, characters = _take(text, begin, length)
        if len(characters) == length and _is_border(text, end) and has_check_digits(characters):
            found.append(Span(begin, end))
            behind = end
    return found


def has_check_digits(iban: str) -> bool:
    """Whether the check digits are right; the text has letters and digits only."""
    return int("".join(str(int(c, 36)) for c in iban[4:] + iban[:4])) % 97 == 1


def _take(text: str, start: int, length: int) -> tuple[int, str]:
    """The end of `length` letters and digits from `start` on, with single separators, and the characters."""
    taken: list[str] = []
    at = start
    while at < len(text) and len(taken) < length:
        character = text[at]
        if character.isascii() and character.isalnum():
            taken.append(character)
        elif character not in _SEPARATORS or not _is_single(text, at):
            break
        at += 1
    return at, "".join(taken)


def _begins(text: str, at: int) -> bool:
    """Whether an account number may begin at `at`: behind no letter or digit, or the word IBAN."""
    return at == 0 or _is_border(text, at - 1) or text[max(0, at - 4) : at].upper() == "IBAN"


def _is_single(text: str, at: int) -> bool:
    """Whether a separator has none before it; two spaces are one separator."""
    before = text[at - 1]
    return before not in _SEPARATORS or (before.isspace() and text[at].isspace() and text[at - 2].isalnum())


def _is_border(text: str, at: int) -> bool:
    return at >= len(text) or not (text[at].isascii() and text[at].isalnum())
