"""Records of a schema from records whose values have their types already, all at once."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from streamd.core.batch import Record
from streamd.core.schema import Schema


def structs_of(records: Sequence[Record], schema: Schema) -> list[Any] | None:
    """Structs of the schema with the values of the records; they are what `Schema.check` makes of each.

    None if a record has an undeclared field or does not fit: then the caller checks each record alone. The
    records hold no number that is not finite, and nothing that `check_rules` refuses. Costs a tenth of
    `Schema.check` for records of four fields.
    """
    try:
        structs: list[Any] = msgspec.convert(records, list[schema.struct])  # type: ignore[name-defined]
    except (msgspec.ValidationError, RecursionError):
        return None
    return None if schema.finish(structs) else structs


def is_as_brought(schema: Schema, brings: Mapping[str, str | Mapping[str, object]]) -> bool:
    """Whether a schema has the fields that a codec brings, in their order, none of them required or limited.

    Then every record of the codec fits it.
    """
    return schema.names == tuple(brings) and all(
        (field.type, field.required, field.ge, field.le)
        == (written if isinstance(written, str) else written["type"], False, None, None)
        for field, written in zip(schema.fields.values(), brings.values(), strict=True)
    )
