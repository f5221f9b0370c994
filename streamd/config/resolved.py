"""A loaded configuration as TOML or JSON again, with every default written out."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import tomlkit
from pydantic import BaseModel, ValidationError

from streamd.config.loading import Loaded
from streamd.config.tables import ADMIN_OFF, AdminSettings
from streamd.config.validation import component
from streamd.core.settings import Address, ComponentSettings, parse_duration_s, parse_size_bytes

_KINDS = {"codec": "codecs", "framing": "framing", "steps": "steps"}
"""Keys that hold components, and of which kind."""

_ONLY_WHERE_SAID = frozenset({"extra", "metadata"})
"""Keys that a sink refuses even at their default where they would do nothing."""

_DURATION_UNITS = ("d", "h", "m", "s", "ms", "us")
_SIZE_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def resolved(loaded: Loaded) -> str:
    """The whole configuration as TOML; in the same folder it loads as the same configuration.

    The order is that of the tables' definition, then that of the file, so that two can be compared.
    """
    return tomlkit.dumps(_table(loaded.config))


def resolved_json(loaded: Loaded) -> str:
    """The same as one JSON object, in the same order."""
    return json.dumps(_table(loaded.config), indent=2) + "\n"


def _table(settings: BaseModel) -> dict[str, Any]:
    table: dict[str, Any] = {}
    unsaid: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(settings, AdminSettings) and value is None:
            value = ADMIN_OFF
        said = name in settings.model_fields_set
        if value is None or (not said and (field.alias or name) in _ONLY_WHERE_SAID):
            continue
        parsers = set(_functions((field.annotation, *field.metadata)))
        table[field.alias or name] = _value(value, _KINDS.get(name, ""), parsers)
        if not said:
            unsaid.append(field.alias or name)
    return table if _is_valid(settings, table) else _accepted(settings, table, unsaid)


def _accepted(settings: BaseModel, table: dict[str, Any], unsaid: list[str]) -> dict[str, Any]:
    """Without the defaults that are refused where they would do nothing (`unit` of a str)."""
    said = {key: value for key, value in table.items() if key not in unsaid}
    kept = {key for key in unsaid if _is_valid(settings, {**said, key: table[key]})}
    return {key: value for key, value in table.items() if key in said or key in kept}


def _is_valid(settings: BaseModel, table: dict[str, Any]) -> bool:
    try:
        type(settings).model_validate_json(json.dumps(table), strict=True, by_alias=True, by_name=False)
    except ValidationError:
        return False
    return True


def _value(value: Any, kind: str, parsers: set[Any]) -> Any:
    if isinstance(value, ComponentSettings):
        _, options = component(kind, value)
        return {"type": value.type, **_table(options)}
    if isinstance(value, BaseModel):
        return _table(value)
    if isinstance(value, Mapping):
        return {key: _value(inner, kind, parsers) for key, inner in value.items() if inner is not None}
    if isinstance(value, list | tuple | set | frozenset) and not isinstance(value, Address):
        return [_value(inner, kind, parsers) for inner in value]
    return _plain(value, parsers)


def _plain(value: Any, parsers: set[Any]) -> Any:
    if isinstance(value, float) and parse_duration_s in parsers:
        return _duration(value)
    if isinstance(value, int) and not isinstance(value, bool) and parse_size_bytes in parsers:
        return _size(value)
    if isinstance(value, Address | ipaddress.IPv4Network | ipaddress.IPv6Network):
        return str(value)
    return value


def _functions(parts: Any) -> Iterator[Any]:
    """The parsers anywhere in an annotation: the words for durations and sizes are made again by them."""
    for part in parts:
        if func := getattr(part, "func", None):
            yield func
        yield from _functions((*get_args(part), *getattr(part, "__metadata__", ())))


def _duration(seconds: float) -> str:
    """In the largest unit that says exactly this."""
    texts = [
        f"{seconds / parse_duration_s(f'1{unit}'):.9f}".rstrip("0").rstrip(".") + unit
        for unit in _DURATION_UNITS
    ]
    exact = [text for text in texts if parse_duration_s(text) == seconds]
    return min(exact, key=lambda text: ("." in text, len(text)), default=f"{seconds:.9f}s")


def _size(size_bytes: int) -> str:
    unit, factor = next((unit, factor) for unit, factor in _SIZE_UNITS if size_bytes % factor == 0)
    return f"{size_bytes // factor}{unit}"
