"""Writes a loaded configuration as TOML or JSON, with every default."""

import ipaddress
import json
from collections.abc import Iterator, Mapping
from typing import Any, get_args

import tomlkit
from pydantic import BaseModel, ValidationError

from streamd.config.loading import Loaded
from streamd.config.shown import shown
from streamd.config.tables import ADMIN_OFF, AdminSettings
from streamd.config.validation import component
from streamd.core.settings import Address, ComponentSettings, parse_duration_s, parse_size_bytes

_KINDS = {"codec": "codecs", "framing": "framing", "encoder": "encoders", "steps": "steps"}
"""Keys that hold components, and the kind of each."""

_ONLY_IF_SET = frozenset({"extra", "metadata"})
"""Keys that a sink refuses, even with their default value, if they would have no effect."""

_DURATION_UNITS = ("d", "h", "m", "s", "ms", "us")
_SIZE_UNITS = (("TiB", 2**40), ("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10), ("B", 1))


def resolved(loaded: Loaded) -> str:
    """The configuration as TOML, with all values. In the same folder it loads as an equal configuration.

    Keys are in the order of their definition and names in the order of the file, so that two resolved
    configurations can be compared.
    """
    return tomlkit.dumps(_table(loaded.config))


def resolved_for_others(loaded: Loaded) -> str:
    """As `resolved`, without texts that may be secrets (`config.shown`)."""
    return tomlkit.dumps(shown(loaded.config, _table(loaded.config)))


def resolved_json(loaded: Loaded) -> str:
    """The whole configuration as one JSON object, in the order of `resolved`."""
    return json.dumps(_table(loaded.config), indent=2) + "\n"


def _table(settings: BaseModel) -> dict[str, Any]:
    table: dict[str, Any] = {}
    defaults: list[str] = []
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if isinstance(settings, AdminSettings) and name == "listen" and value is None:
            value = ADMIN_OFF
        is_set = name in settings.model_fields_set
        if value is None or (not is_set and (field.alias or name) in _ONLY_IF_SET):
            continue
        parsers = set(_functions((field.annotation, *field.metadata)))
        table[field.alias or name] = _value(value, _KINDS.get(name, ""), parsers)
        if not is_set:
            defaults.append(field.alias or name)
    return table if _is_valid(settings, table) else _accepted(settings, table, defaults)


def _accepted(settings: BaseModel, table: dict[str, Any], defaults: list[str]) -> dict[str, Any]:
    """The table without defaults that are refused because they would have no effect (`unit` of a str)."""
    written = {key: value for key, value in table.items() if key not in defaults}
    kept = {key for key in defaults if _is_valid(settings, {**written, key: table[key]})}
    return {key: value for key, value in table.items() if key in written or key in kept}


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
    """The parser functions in an annotation. They show which numbers are durations and which are sizes."""
    for part in parts:
        if func := getattr(part, "func", None):
            yield func
        yield from _functions((*get_args(part), *getattr(part, "__metadata__", ())))


def _duration(seconds: float) -> str:
    """The duration in the largest unit that expresses it exactly."""
    texts = [
        f"{seconds / parse_duration_s(f'1{unit}'):.9f}".rstrip("0").rstrip(".") + unit
        for unit in _DURATION_UNITS
    ]
    exact = [text for text in texts if parse_duration_s(text) == seconds]
    return min(exact, key=lambda text: ("." in text, len(text)), default=f"{seconds:.9f}s")


def _size(size_bytes: int) -> str:
    unit, factor = next((unit, factor) for unit, factor in _SIZE_UNITS if size_bytes % factor == 0)
    return f"{size_bytes // factor}{unit}"
