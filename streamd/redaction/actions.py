"""What is made of a value: a mask, a keyed hash or a truncated address."""

import json
import re
from collections.abc import Callable
from hashlib import blake2b
from typing import Any

from streamd.core.redact_settings import RedactRule
from streamd.redaction.truncation import truncated

Redact = Callable[[str], str]

_CHECK_BYTES = 4
_HASH = re.compile("[0-9a-f]{32,64}", re.ASCII)
_MAX_EXACT = 2**53


def mask(text: str, keep_last: int) -> Redact:
    """Replaces a text by the mask and its last characters but spaces. A text that it has made stays."""
    if keep_last == 0:
        return lambda _: text
    made = not any(c.isalnum() for c in text)  # of digits before a mask of digits nobody could say it

    def redact(value: str) -> str:
        if made and len(value) == len(text) + keep_last and value.startswith(text):
            return value
        plain = "".join(value.split())
        return text + plain[-keep_last:] if len(plain) >= 2 * keep_last else text

    return redact


def keyed_hash(key: bytes, length: int) -> Redact:
    """Replaces a text by `length` hexadecimal digits: a BLAKE2b hash and a check of 8 digits.

    The check is a keyed hash of the digits before it. So a hash of the same key and length is recognised and
    stays as it is: records that are redacted twice, as in a replay, get the same hash.
    """
    digits = length - 2 * _CHECK_BYTES
    size = (digits + 1) // 2
    long_key = blake2b(key, person=b"streamd key").digest()
    new = blake2b(key=long_key, digest_size=size, person=b"streamd value")
    check = blake2b(key=long_key, digest_size=_CHECK_BYTES, person=b"streamd check")

    def with_check(head: str) -> str:
        checking = check.copy()
        checking.update(head.encode())
        return head + checking.hexdigest()

    def redact(value: str) -> str:
        if len(value) == length and _HASH.fullmatch(value) and with_check(value[:digits]) == value:
            return value
        hashing = new.copy()
        hashing.update(value.encode("utf-8", "surrogatepass"))
        return with_check(hashing.hexdigest()[:digits])

    return redact


def action_of(rule: RedactRule, key: bytes | None) -> Redact:
    """The function on the text of a value, or on a text that a detector has found."""
    if rule.action == "mask":
        return mask(rule.mask, rule.keep_last)
    if rule.action == "hash":
        if key is None:
            raise ValueError("a hash needs a key")
        return keyed_hash(key, rule.hash_length)
    if rule.action == "truncate":
        return lambda value: truncated(value, rule.ipv4_prefix, rule.ipv6_prefix) or rule.mask
    return lambda _: ""


def text_of(value: Any) -> str:
    """The text of a value: of a number, true and false their JSON; of an object its JSON with sorted keys.

    A whole number has one text, 5 for 5.0 too. Values that are no JSON have the text of their type.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, float) and value.is_integer() and abs(value) < _MAX_EXACT:
        value = int(value)
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    except Exception:  # noqa: BLE001 - `__str__` may be the user's code; integers of 5,000 digits have no text
        return type(value).__name__
