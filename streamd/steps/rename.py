from typing import Self

from pydantic import Field, model_validator

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData
from streamd.core.field_names import FieldName, NewFieldName, OnConflict, refuse_unknown
from streamd.core.now import Now
from streamd.core.settings import Settings


class Rename(Step["Rename.Config"]):
    """Gives fields other names, all at once, so two fields can exchange their names.

    A field that a record does not have is ignored. The values stay in their order. If the record has another
    field of the new name, `on_conflict` decides; a rejected record has the reason `rename:conflict`.
    Costs about 0.8 µs for a record of 10 fields.
    """

    in_each_process = True

    class Config(Settings):
        """The old and the new names."""

        fields: dict[FieldName, NewFieldName] = Field(
            description="old name = new name; a name with dots is one key, not a path"
        )
        on_conflict: OnConflict = Field(
            "reject",
            description="if the record already has a field of the new name: reject (the record), keep (that"
            " field; the renamed one is removed) or replace (that field)",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if not self.fields:
                raise ValueError("a rename step without fields does nothing")
            new = list(self.fields.values())
            for name, to in self.fields.items():
                if name == to:
                    raise ValueError(f"{name!r} is renamed to itself")
                if new.count(to) > 1:
                    raise ValueError(f"two fields get the name {to!r}")
            return self

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        refuse_unknown(config.fields, context.fields, "fields")

    def process(self, records: list[Record], now: Now) -> Processed:
        new_name = self.config.fields.get
        done = Processed([])
        for record in records:
            renamed = {new_name(name, name): value for name, value in record.items()}
            if len(renamed) < len(record):
                try:
                    renamed = self._resolved(record)
                except BadData as bad:
                    done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                    continue
            done.records.append(renamed)
        return done

    def _resolved(self, record: Record) -> Record:
        """The renamed record, although a new name is taken. Raises `BadData`."""
        fields, on_conflict = self.config.fields, self.config.on_conflict
        renamed: Record = {}
        for name, value in record.items():
            to = fields.get(name, name)
            taken = to in record and to not in fields
            if taken and name != to:
                if on_conflict == "reject":
                    raise BadData("rename:conflict", f"{name}: the record already has a field {to!r:.64}")
                if on_conflict == "keep":
                    continue
            elif (
                taken
                and on_conflict == "replace"
                and any(old in record for old, new in fields.items() if new == to)
            ):
                continue
            renamed[to] = value
        return renamed

    def fields_after(self) -> frozenset[str] | None:
        known = self.context.fields
        return None if known is None else frozenset(self.config.fields.get(name, name) for name in known)
