"""The values that a pydantic model makes of a record, and how they differ from the record's own."""

from collections.abc import Iterator
from datetime import MAXYEAR, UTC, datetime
from typing import Any

from pydantic import AliasChoices, BaseModel, Secret, SecretBytes, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from streamd.core.batch import Record
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.timestamp import canonical_or_none
from streamd.functions.values import SCALARS, BadValue, plain_record
from streamd.rules.shown import listed, shown, shown_name

_PLAIN = SCALARS | {dict, list}


class ModelValues:
    """Compares records with the objects that a model makes of them, field by field.

    A field is written to the key from which it was read; fields that are read from inside another field
    (`AliasPath`) are left out. Values become what the result of a `python` step would become: times canonical
    texts, decimals numbers, secrets their contents. Keys that only the record has stay, at every depth.
    """

    def __init__(self, model: type[BaseModel]) -> None:
        config = model.model_config
        by_name = bool(config.get("validate_by_name") or config.get("populate_by_name"))
        by_alias = bool(config.get("validate_by_alias", True))
        self._places: list[tuple[str, list[str]]] = []
        """For each field the key of its dumped value, and the keys from which it may be read."""
        for name, field in model.model_fields.items():
            aliases = list(_aliases(field)) if by_alias else []
            keys = aliases + ([name] if by_name or not by_alias or field.validation_alias is None else [])
            if keys:
                self._places.append((field.serialization_alias or name, keys))
        self.keys = frozenset(key for _, keys in self._places for key in keys)
        """All keys that the model reads."""
        self.added = frozenset(keys[0] for _, keys in self._places if not keys[0].startswith("@"))
        """The keys that `changes` may add."""

    def changes(self, record: Record, made: BaseModel) -> tuple[Record, str] | None:
        """The values of the object that differ from the record's, and what was done; None if none differ.

        A default fills a missing field, unless it is null. An integer is a good float, and any spelling of
        the time is good. Raises any exception of the model's code, also for a value that has no plain form.
        """
        values: Any = made.model_dump(by_alias=True, warnings=False)
        changes: Record = {}
        notes: list[str] = []
        for dumped_as, keys in [*self._places, *((key, [key]) for key in made.model_extra or ())]:
            if dumped_as not in values:  # the model excludes it
                continue
            value = values[dumped_as]
            key = keys[0]
            if key not in record and len(keys) > 1:
                key = next((other for other in keys if other in record), key)
            if key not in record:
                if value is not None and key in self.added:
                    changes[key] = _stored(value)
                    notes.append(f"{shown_name(key)} filled")
            elif key not in RESERVED_KEYS and (merged := _merged(record[key], value)) is not record[key]:
                changes[key] = merged
                notes.append(f"{shown_name(key)} converted from {shown(record[key])}")
        return (changes, listed(notes)) if changes else None


def _aliases(field: FieldInfo) -> Iterator[str]:
    """The keys of the record that an alias of the field names."""
    alias = field.validation_alias
    for choice in alias.choices if isinstance(alias, AliasChoices) else [alias]:
        if isinstance(choice, str):
            yield choice


def _merged(own: Any, made: Any) -> Any:
    """The value that was made, with the keys that only `own` has; `own` itself if it need not change."""
    kind, value = type(own), made
    if type(made) not in _PLAIN or (type(made) is dict and not all(type(key) is str for key in made)):
        value = _stored(made)
    if type(value) is kind:
        if kind is dict:
            return _merged_tables(own, value)
        if kind is list and len(own) == len(value):
            items = [_merged(*both) for both in zip(own, value, strict=True)]
            return own if all(one is item for one, item in zip(own, items, strict=True)) else items
        if own == value or own != own:  # noqa: PLR0124 - NaN stays NaN
            return own
        if type(made) is datetime and canonical_or_none(own) == value:
            return own
    elif kind is int and type(value) is float and own == value:
        return own
    return _stored(value)


def _merged_tables(own: Record, made: Record) -> Record:
    news: Record = {}
    for key, value in made.items():
        if key not in own:
            if value is not None:
                news[key] = _stored(value)
        elif (merged := _merged(own[key], value)) is not own[key]:
            news[key] = merged
    return {**own, **news} if news else own


def _stored(value: Any) -> Any:
    """The value as a `python` step could return it. Raises an exception if it has no such form."""
    if type(value) in SCALARS:
        return value
    if type(value) is datetime and value.tzinfo is not None and 1 < value.year < MAXYEAR:
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='microseconds')}Z"
    try:
        return plain_record({"value": value})["value"]
    except BadValue:
        opened = _opened(value)
    try:
        return plain_record({"value": opened})["value"]
    except BadValue:  # such as a URL, which has only a JSON form
        return to_jsonable_python(opened)


def _opened(value: Any) -> Any:
    """The value with the contents of secrets, of which Pydantic shows asterisks only."""
    if isinstance(value, Secret | SecretBytes | SecretStr):
        return value.get_secret_value()
    if type(value) is dict:
        return {key: _opened(one) for key, one in value.items()}
    if type(value) in (list, tuple, set):
        return [_opened(one) for one in value]
    return value
