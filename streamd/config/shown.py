"""Decides which values of a configuration may be shown to others, such as on the page or in logs of CI.

Only streamd's own options are shown with their texts, because streamd knows that they name files and hold no
secrets. The params of a function and the options of other packages may hold anything in any form. Of these,
names, numbers and choices are shown, and the lengths of texts.
"""

import ipaddress
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from streamd.config.own_options import choices, described, is_declared_here, takes_arguments
from streamd.config.secrets import hidden, in_options
from streamd.config.tables import Config
from streamd.config.validation import component
from streamd.core.settings import Address, ComponentSettings

_KINDS = {"codec": "codecs", "framing": "framing", "encoder": "encoders", "steps": "steps"}
"""Options that hold components, and the kind of each."""
_PLAIN = (bool, int, float, Address, ipaddress.IPv4Network, ipaddress.IPv6Network)
"""Types of validated values that are no free texts, although the file may write them as text (`"5s"`)."""


def shown(config: Config, table: Mapping[str, Any]) -> dict[str, Any]:
    """The whole configuration, as written or resolved, without texts that may be secrets."""
    return hidden(_table(config, table))


def shown_options(settings: BaseModel, table: Mapping[str, Any]) -> dict[str, Any]:
    """As `shown`, for the table of one source or sink."""
    return in_options(_table(settings, table))


def shown_component(kind: str, spec: ComponentSettings) -> dict[str, Any]:
    """As `shown`, for the options of a codec, framing or step as they are written. Raises `ConfigError`."""
    return in_options(_table(component(kind, spec)[1], spec.options))


def _table(settings: BaseModel, table: Mapping[str, Any]) -> dict[str, Any]:
    names = {field.alias or name: name for name, field in type(settings).model_fields.items()}
    return {key: _option(settings, names.get(key), key, value) for key, value in table.items()}


def _option(settings: BaseModel, name: str | None, key: str, value: Any) -> Any:
    """The value of the option `key`, whose name in the class is `name`."""
    if name is None:  # the type of a component is written in the table, and is in no class
        return value if key == "type" else described(value)
    inner, model = getattr(settings, name), type(settings)
    if is_declared_here(model, name):
        if isinstance(value, dict) and takes_arguments(model, name):
            return {argument: described(one) for argument, one in value.items()}
        return _own(inner, value, _KINDS.get(name, ""))
    if isinstance(inner, _PLAIN) or (isinstance(inner, str) and inner in choices(model, name)):
        return value
    return described(value)


def _own(inner: Any, value: Any, kind: str) -> Any:
    """The value of an option of streamd. Tables of other packages may be within."""
    if isinstance(inner, ComponentSettings) and isinstance(value, dict):
        return _table(component(kind, inner)[1], value)
    if isinstance(inner, BaseModel) and isinstance(value, dict):
        return _table(inner, value)
    if isinstance(inner, Mapping) and isinstance(value, dict):
        return {key: _own(inner.get(key), one, kind) for key, one in value.items()}
    if isinstance(inner, list | tuple) and isinstance(value, list) and len(inner) == len(value):
        return [_own(one, its, kind) for one, its in zip(inner, value, strict=True)]
    return value
