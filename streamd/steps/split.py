from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from streamd.core.batch import Record, copied
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData
from streamd.core.field_names import FieldName, NewFieldName, OnConflict, refuse_unknown
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.now import Now
from streamd.core.settings import Settings

_BLANKS = " \t\r\n"


class Split(Step["Split.Config"]):
    """Makes a record of each element of a list, or of each part of a text.

    `{"host": "a", "values": [1, 2]}` becomes `{"host": "a", "values": 1}` and `{"host": "a", "values": 2}`.
    With `elements = "fields"` the elements are objects whose fields become fields of the record.

    A text is cut at each `separator`; the parts lose the blanks at their ends, and empty parts are skipped. A
    field that is missing or null, an empty list and a text without parts count as empty. A record is rejected
    whole if its field is neither a list nor, with `separator`, a text (`split:type`), has more than
    `max_records` elements (`split:too_many`), or holds an element that cannot become fields (`split:element`,
    `split:conflict`). Costs about 0.6 µs for each new record of 10 fields.
    """

    in_each_process = True

    counters: ClassVar[dict[str, str]] = {"empty": "records without an element, which were filtered"}

    class Config(Settings):
        """The field that is split, and what the new records hold."""

        field: FieldName = Field(description="name of the field with the list or text")
        separator: str | None = Field(
            None,
            min_length=1,
            max_length=64,
            description="text at which a text is cut. Default: the field is a list",
        )
        into: NewFieldName | None = Field(
            None, description="name of the field that gets the element. Default: the same field"
        )
        elements: Literal["value", "fields"] = Field(
            "value",
            description="value (the element is the value of one field) or fields (the element is an object, "
            "whose fields are put into the record)",
        )
        on_conflict: OnConflict = Field(
            "reject",
            description='with elements = "fields", if the record already has a field of that name: reject '
            "(the record), keep (the record's field) or replace (it by the element's)",
        )
        parent: Literal["keep", "drop"] = Field(
            "keep", description="the other fields of the record: keep (in each new record) or drop"
        )
        position: NewFieldName | None = Field(
            None, description="name of a field that gets the position of the element, from 0"
        )
        on_empty: Literal["filter", "keep", "reject"] = Field(
            "filter",
            description="a record without an element: filter (and count it as empty), keep (one record "
            "without the field) or reject (split:empty)",
        )
        max_records: int = Field(
            1000, ge=1, le=100_000, description="most records that are made of one; one with more is rejected"
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if self.elements == "fields":
                if self.separator is not None:
                    raise ValueError('elements = "fields" is for a list of objects, not for a text')
                if self.into is not None:
                    raise ValueError('into has no effect with elements = "fields"')
            if "on_conflict" in self.model_fields_set and (self.elements == "value" or self.parent == "drop"):
                raise ValueError(
                    'on_conflict has an effect only with elements = "fields" and parent = "keep"'
                )
            if self.position is not None and self.position == (self.into or self.field):
                raise ValueError(f"position and the element both have the name {self.position!r}")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown([config.field], context.fields, "field")
        self._into = config.into or config.field

    def process(self, records: list[Record], now: Now) -> Processed:
        done = Processed([])
        for record in records:
            try:
                made = self._made(record)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            done.records += made
            if made:
                done.emitted += len(made) - 1
            else:
                done.filtered += 1
        if done.filtered:
            self.context.counters.add("empty", done.filtered)
        return done

    def _made(self, record: Record) -> list[Record]:
        """The new records. Raises `BadData`."""
        config = self.config
        elements = self._elements(record.get(config.field))
        if not elements:
            if config.on_empty == "reject":
                raise BadData("split:empty", f"{config.field}: no element")
            return [] if config.on_empty == "filter" else [self._parent(record)]
        if len(elements) > config.max_records:
            raise BadData("split:too_many", f"{len(elements)} elements, more than {config.max_records}")
        parent = self._parent(record)
        is_nested = any(type(value) in (dict, list) for value in parent.values())
        made: list[Record] = []
        for position, element in enumerate(elements):
            # Each record has its own nested values, as later steps may change them.
            new = copied(parent) if is_nested else parent.copy()
            if config.elements == "fields":
                self._put_fields(new, element, position)
            else:
                new[self._into] = element
            if config.position is not None:
                new[config.position] = position
            made.append(new)
        return made

    def _parent(self, record: Record) -> Record:
        """What each new record begins with."""
        if self.config.parent == "drop":
            return {name: value for name, value in record.items() if name in RESERVED_KEYS}
        parent = record.copy()
        parent.pop(self.config.field, None)
        return parent

    def _elements(self, value: Any) -> list[Any]:
        if value is None:
            return []
        separator = self.config.separator
        if separator is None:
            if isinstance(value, list):
                return value
            raise BadData("split:type", f"{self.config.field}: expected a list, got {type(value).__name__}")
        if not isinstance(value, str):
            raise BadData("split:type", f"{self.config.field}: expected a text, got {type(value).__name__}")
        return [part for part in map(_stripped, value.split(separator)) if part]

    def _put_fields(self, new: Record, element: Any, position: int) -> None:
        if not isinstance(element, dict):
            raise BadData("split:element", f"element {position} is {type(element).__name__}, not an object")
        for name, value in element.items():
            if name in RESERVED_KEYS:
                raise BadData("split:element", f"element {position}: only the daemon sets {name!r}")
            if name in new and self.config.on_conflict != "replace":
                if self.config.on_conflict == "reject":
                    raise BadData("split:conflict", f"element {position}: the record has {name!r:.64} too")
                continue
            new[name] = value

    def fields_after(self) -> frozenset[str] | None:
        config, known = self.config, self.context.fields
        if config.elements == "fields" or (known is None and config.parent == "keep"):
            return None
        added = {self._into} | ({config.position} if config.position is not None else set())
        kept = known - {config.field} if known is not None and config.parent == "keep" else frozenset()
        return kept | added


def _stripped(part: str) -> str:
    return part.strip(_BLANKS)
