"""Schemas: fields declared once, named by sources, steps and sinks."""

from typing import Any, Literal

import msgspec
from pydantic import Field

from streamd.core.settings import Settings

FieldType = Literal["str", "int", "float", "bool", "timestamp", "json", "bytes", "any"]


class FieldSettings(Settings):
    """One field."""

    type: FieldType = Field(description="what it holds")
    required: bool = Field(True, description="a record without it is rejected")


class Schema:
    """Named, typed fields; `struct` is the slotted class of the fast lane, made once."""

    def __init__(self, name: str, fields: dict[str, FieldSettings]) -> None:
        self.name = name
        self.fields = fields
        self.struct: type[msgspec.Struct] = msgspec.defstruct(name, [(f, Any) for f in fields])
