"""The schemas that codecs bring, for a configuration that names one and does not declare it."""

from typing import Any

from streamd import registry
from streamd.config.validation import Parts
from streamd.core.contracts import AnyCodec
from streamd.core.errors import ConfigError
from streamd.core.schema import FieldSettings


def add(parts: Parts) -> None:
    """Add the schema of a codec to `parts` if a source or sink names it and no table declares it."""
    tables: tuple[Any, ...] = (*parts.sources.values(), *parts.sinks.values())
    named: set[str] = {getattr(table, "schema_name", None) or "" for table in tables}
    for name in set(registry.names("codecs")) & named - set(parts.schemas):
        try:
            codec = registry.load("codecs", name)
        except ConfigError:
            continue  # the name stays unknown
        if fields := brought_fields(codec):
            parts.schemas[name] = {**fields}


def brought_fields(codec: type[AnyCodec]) -> dict[str, FieldSettings]:
    """The fields of the schema that a codec brings; empty if it brings none."""
    return {
        name: FieldSettings.model_validate(
            {"type": written, "required": False} if isinstance(written, str) else written
        )
        for name, written in codec.brings.items()
    }
