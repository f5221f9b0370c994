"""Records of a schema from records of texts, column by column."""

import re
from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from streamd.core.batch import Record
from streamd.core.errors import BadData
from streamd.core.facts import Facts
from streamd.core.json_rules import INT_MAX, INT_MIN
from streamd.core.schema import FieldSettings, Schema
from streamd.core.text_values import BLANKS, BOOLS, LONGEST_NUMBER
from streamd.core.timestamp import all_canonical, canonical

_WHOLE = re.compile(r"[-0-9 ,]*+")
_decode_floats = msgspec.json.Decoder(list[float]).decode
_decode_integers = msgspec.json.Decoder(list[Annotated[int, msgspec.Meta(ge=INT_MIN, le=INT_MAX)]]).decode


def all_of_schema(records: Sequence[Record], schema: Schema, *, typed: bool) -> tuple[list[Any], bool] | None:
    """What `of_schema` makes of each record of texts, and whether these are structs.

    A value may be True, which counts as the text. The records become structs if `typed` and if they have no
    undeclared field. None if a record may not fit, or if this costs more to find out; then the caller needs
    `of_schema`. The codec `csv` takes a third of the time with it.
    """
    columns: list[Sequence[Any]] = []
    values = 0
    for name, field in schema.fields.items():
        texts = [record.get(name) for record in records]
        values += len(texts) - texts.count(None)
        if True in texts:
            texts = ["true" if text is True else text for text in texts]
        column = _column(texts, field)
        if column is None or (
            field.type in ("int", "float", "bool") and not schema.fits(name, Facts(column))
        ):
            return None
        columns.append(column)
    rows = zip(*columns, strict=True)
    if values == sum(map(len, records)):
        if typed:
            return schema.of_rows(rows), True
        return [dict(zip(schema.names, row, strict=True)) for row in rows], False
    return [
        dict(zip(schema.names, row, strict=True))
        | {name: value for name, value in record.items() if name not in schema.fields}
        for row, record in zip(rows, records, strict=True)
    ], False


def _column(texts: list[Any], field: FieldSettings) -> Sequence[Any] | None:
    """The values of a field; those of missing and empty texts are None."""
    if None not in texts and "" not in texts:
        return _values(texts, field)
    if field.required:
        return None
    values = _values([text for text in texts if text], field)
    if values is None:
        return None
    following = iter(values)
    return [next(following) if text else None for text in texts]


def _values(texts: list[str], field: FieldSettings) -> Sequence[Any] | None:
    """The values of texts that are not empty."""
    match field.type:
        case "str" | "any":
            return texts
        case "int" | "float":
            return _numbers(texts, field.type) if texts else texts
        case "bool":
            return _booleans(texts)
        case "timestamp":
            return texts if all_canonical(texts) else _times(texts, field)
    return None


def _booleans(texts: list[str]) -> Sequence[bool | None] | None:
    found = [BOOLS.get(text) for text in texts]
    if None in found:
        found = [BOOLS.get(text.strip(BLANKS).lower()) for text in texts]
    return None if None in found else found


def _times(texts: list[str], field: FieldSettings) -> Sequence[str] | None:
    try:
        return [canonical(text, field.unit, field.timezone) for text in texts]
    except BadData:
        return None


def _numbers(texts: list[str], kind: str) -> Sequence[float] | None:
    """The numbers, if all of them are written as in JSON and, for `int`, as whole numbers."""
    together = f"{','.join(texts)},"
    if (
        max(map(len, texts)) > LONGEST_NUMBER
        or "\n" in together
        or "\r" in together
        or "-0," in together  # an integer has no negative zero
        or (kind == "int" and not _WHOLE.fullmatch(together))
    ):
        return None
    try:
        numbers: Sequence[float] = (_decode_integers if kind == "int" else _decode_floats)(
            f"[{together[:-1]}]"
        )
    except ValueError:
        return None
    return numbers if len(numbers) == len(texts) else None
