"""Formats inside a message: `@cee:` JSON, CEF (ArcSight) and LEEF (QRadar)."""

import re
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Literal

from streamd.core.errors import BadData
from streamd.core.json_rules import check_rules, decode_object

Content = Literal["cee", "cef", "leef"]
"""The name of a format, which is also the name of the field."""

_CEE = re.compile(r"@cee: *+")
_CEF = re.compile(r"CEF: ?(?P<version>\d[\d.]*+)\|", re.ASCII)
_CEF_NAMES = (
    "device_vendor",
    "device_product",
    "device_version",
    "device_event_class_id",
    "name",
    "severity",
)
_LEEF = re.compile(r"LEEF: ?(?P<version>\d[\d.]*+)\|", re.ASCII)
_LEEF_NAMES = ("vendor", "product", "product_version", "event_id")
_PART = re.compile(r"((?:[^|\\]|\\.)*+)\|", re.DOTALL)
_CEF_KEY = re.compile(r"(?:^|(?<=\s))([\w.\-\[\]]++)=")
_CEF_ESCAPED = re.compile(r"\\([\\=|nr])")
_UNESCAPED = {"n": "\n", "r": "\r"}
_DELIMITER = re.compile(r"(?:(\^|[^\w|\s])|(?:0?x|\\x)([0-9A-Fa-f]{1,4}))\|")


def read(message: str, content: Content) -> dict[str, Any] | None:
    """The fields of a message that is of this format; None if it is not. The time is linear in the length."""
    return _READERS[content](message)


def _cee(message: str) -> dict[str, Any] | None:
    found = _CEE.match(message)
    if found is None:
        return None
    try:
        record = decode_object(message[found.end() :].encode("utf-8", "surrogatepass"))
        check_rules(record)
        check_rules({"cee": record})  # it is one level deeper in its record
    except BadData:
        return None
    return record


def _cef(message: str) -> dict[str, Any] | None:
    """`CEF:0|vendor|product|version|id|name|severity|key=value key=value`."""
    found = _CEF.match(message)
    if found is None:
        return None
    event: dict[str, Any] = {"version": found["version"]}
    at = found.end()
    for name in _CEF_NAMES:
        part = _PART.match(message, at)
        if part is None:
            return None
        event[name] = _plain(part[1])
        at = part.end()
    event["extension"] = _extension(message[at:])
    return event


def _extension(text: str) -> dict[str, str]:
    """The pairs of CEF: a value reaches up to the blank before the next key."""
    keys = list(_CEF_KEY.finditer(text))
    values = [text[key.end() : behind.start() - 1] for key, behind in pairwise(keys)]
    values += [text[key.end() :] for key in keys[-1:]]
    return {key[1]: _plain(value) for key, value in zip(keys, values, strict=True)}


def _plain(text: str) -> str:
    if "\\" not in text:
        return text
    return _CEF_ESCAPED.sub(lambda found: _UNESCAPED.get(found[1], found[1]), text)


def _leef(message: str) -> dict[str, Any] | None:
    """`LEEF:2.0|vendor|product|version|id|^|key=value^key=value`; without a delimiter it is a tab."""
    found = _LEEF.match(message)
    if found is None:
        return None
    event: dict[str, Any] = {"version": found["version"]}
    at = found.end()
    for name in _LEEF_NAMES:
        part = _PART.match(message, at)
        if part is None:
            return None
        event[name] = part[1]
        at = part.end()
    delimiter = "\t"
    if not found["version"].startswith("1") and (given := _DELIMITER.match(message, at)):
        delimiter = given[1] or chr(int(given[2], 16))
        at = given.end()
    pairs = (pair.partition("=") for pair in message[at:].split(delimiter))
    event["attributes"] = {key.strip(): value for key, sign, value in pairs if sign}
    return event


_READERS: Mapping[Content, Callable[[str], dict[str, Any] | None]] = MappingProxyType(
    {"cee": _cee, "cef": _cef, "leef": _leef}
)
