"""Names of fields in the options of steps, and what a step does if a name is taken."""

import difflib
import re
from collections.abc import Collection, Iterable
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from streamd.core.errors import ConfigError
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.listed import listed

_UNUSABLE_IN_NAMES = re.compile(r'[\x00-\x1f"\\\ud800-\udfff]|^@')


def field_name_fault(name: str) -> str | None:
    """Why a field cannot have this name; None if it can."""
    if _UNUSABLE_IN_NAMES.search(name):
        return "a name does not begin with @ (metadata does) and has no quote, backslash or control character"
    return None


def _check(name: str) -> str:
    if not name:
        raise ValueError("the name of a field is empty")
    if name in RESERVED_KEYS:
        raise ValueError(f"{name!r} is metadata, which no step changes")
    if not name.startswith("@") and (fault := field_name_fault(name)) is not None:
        raise ValueError(f"{name!r}: {fault}")
    return name


def _check_once(names: list[str]) -> list[str]:
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name!r} occurs twice")
    return names


FieldName = Annotated[str, AfterValidator(_check)]
"""The name of a field that a step reads or writes: one key of the record, not a path. It is no metadata."""


def _check_new(name: str) -> str:
    if name.startswith("@"):
        raise ValueError(f"{name!r}: a step adds no name that begins with @ (metadata does)")
    return _check(name)


NewFieldName = Annotated[str, AfterValidator(_check_new)]
"""The name of a field that a step adds."""

FieldNames = Annotated[list[FieldName], Field(min_length=1), AfterValidator(_check_once)]
"""Names of different fields; at least one."""


def _same_names(value: Any) -> Any:
    if isinstance(value, list) and all(isinstance(name, str) for name in value):
        if len(set(value)) < len(value):
            raise ValueError("a name occurs twice")
        return {name: name for name in value}
    return value


NAMES_OR_MAPPING = BeforeValidator(_same_names, json_schema_input_type=list[str] | dict[str, str])
"""For a dict of names: a list stands for the dict in which each name is its own value."""

OnConflict = Literal["reject", "keep", "replace"]
"""If a record already has a field of that name: reject the record, keep the field, or replace it."""


def refuse_unknown(names: Iterable[str], known: Collection[str] | None, *keys: str | int) -> None:
    """Raise `ConfigError` at the option `keys` for the first name that no record can have.

    `known` are the names that a record may have; nothing is refused if they are unknown. A name that begins
    with `@` is not checked.
    """
    if known is None:
        return
    for name in names:
        if name not in known and not name.startswith("@"):
            close = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {listed(sorted(known)) or 'none'}"
            raise ConfigError(f"there is no field {name!r}: {hint}", keys)
