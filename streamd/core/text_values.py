"""Typed values of texts, for codecs of formats that have only texts."""

import re
from typing import Any

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.json_rules import INT_MAX, INT_MIN, check_rules, decode_object
from streamd.core.schema import FieldType, Schema

_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
_JSON_NUMBER = re.compile(r"-?(?:0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
LONGEST_NUMBER = 400
"""No 64-bit number needs more digits; Python refuses texts of more than 4,300 digits."""
BLANKS = " \t"
BOOLS = {
    "true": True, "yes": True, "on": True, "1": True, "t": True, "y": True,
    "false": False, "no": False, "off": False, "0": False, "f": False, "n": False,
}  # fmt: skip
_BY_LOOK: dict[str, bool | None] = {
    "": None, "true": True, "false": False, "True": True, "False": False, "TRUE": True, "FALSE": False,
}  # fmt: skip


def of_type(text: str, kind: FieldType) -> Any:
    """The value of a text for a field of this type, before the schema checks it; None for an empty text.

    Numbers and booleans may have blanks around them; a decimal number has a point. Raises `BadData` with
    `schema:type`, and with the reasons of JSON for a field of type `json`.
    """
    if not text:
        return None
    if kind in ("int", "float"):
        return _number(text.strip(BLANKS), kind)
    if kind == "bool":
        found = BOOLS.get(text.strip(BLANKS).lower())
        if found is None:
            raise BadData("schema:type", f"expected bool, got {text[:64]!r}")
        return found
    if kind == "json":
        record = decode_object(b'{"value":' + text.encode("utf-8", "surrogatepass") + b"}")
        if record.keys() != {"value"}:
            raise BadData("schema:type", "expected one JSON value")
        check_rules(record)
        return record["value"]
    return text


def of_schema(record: Record, schema: Schema) -> Record:
    """A record of the schema from a record of texts; its fields that the schema does not declare stay texts.

    Raises `BadData` with the name of the field in the detail.
    """
    for name, field in schema.fields.items():
        text = record.get(name)
        if text is not None and (not text or field.type not in ("str", "timestamp")):
            try:
                record[name] = of_type(text, field.type)
            except BadData as bad:
                raise BadData(bad.reason, f"{name}: {bad.detail}") from None
    return schema.check(record)


def by_look(text: str) -> Any:
    """The number, boolean or null that the text looks like in JSON; otherwise the text."""
    if text in _BY_LOOK:
        return _BY_LOOK[text]
    found = _JSON_NUMBER.fullmatch(text) if len(text) <= LONGEST_NUMBER else None
    if found is None:
        return text
    if found[1] is None and found[2] is None:
        whole = int(text)
        return whole if INT_MIN <= whole <= INT_MAX else text
    number = float(text)
    return text if number in (float("inf"), float("-inf")) else number


def _number(text: str, kind: str) -> int | float:
    if len(text) > LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        raise BadData("schema:type", f"expected {kind}, got {text[:64]!r}")
    if text.lstrip("+-").isdigit():
        return int(text)
    return float(text)
