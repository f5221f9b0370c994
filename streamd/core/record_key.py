"""The key of a record: the values of some expressions, made comparable, hashable and small.

Two keys are equal if their values are equal as JSON: the text "1", the number 1, the number 1.0 and true are
four keys. Keys are the same on every machine and in every run.
"""

import json
import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from itertools import pairwise
from operator import itemgetter
from typing import Annotated, Any

import msgspec
from pydantic import AfterValidator

from streamd.core.batch import FLAG, METADATA_KEYS, Record
from streamd.core.columns import FlatColumns
from streamd.core.errors import BadData, ConfigError
from streamd.core.expression import Expression, ExpressionText

Key = str | bytes
"""A short ASCII text is its own key. Other values are JSON, or a digest if their JSON is long.

A dict with such keys can be stored as MessagePack. To decode it, msgspec needs the type `dict[Any, …]`."""

MAX_EXACT_BYTES = 128
"""Longest text or JSON that is a key itself."""
DIGEST_BYTES = 15
"""Size of a digest. Two different values share one with a probability of 2**-120. An object of 15 bytes takes
as much memory as one of 8."""

_NAMED = re.compile(r"(?:field|meta)\(\s*(?:\"(.+)\"|'(.+)')\s*\)")
_encode = msgspec.json.Encoder(order="deterministic").encode


def _check(texts: list[str]) -> list[str]:
    if any(one == other for one, other in pairwise(sorted(texts))):
        raise ValueError("a field is named twice")
    for text in texts:
        if Expression(text).is_constant:
            hint = (
                f": write {text[1:-1]}" if re.fullmatch(r"'[a-z_]\w*'|\"[a-z_]\w*\"", text, re.ASCII) else ""
            )
            raise ValueError(f"{text} is the same for all records, as it names no field{hint}")
    return texts


KeyTexts = Annotated[list[ExpressionText], AfterValidator(_check)]
"""The fields of a key in the configuration."""


class RecordKey:
    """Makes the key of a record from expressions: field names, paths, `meta("peer")`, or `lower(name)`.

    `of` returns the key. It raises `BadData` with `key:missing` if all values are None or NaN, with
    `key:type` if JSON cannot express a value, with `key:long` if the key is longer than 128 bytes and `exact`
    is set, and with the reasons of expressions. One short ASCII text costs 0.1 µs, two fields 0.4 µs.
    """

    def __init__(
        self, texts: Sequence[str], fields: frozenset[str] | None, *, exact: bool = False, option: str = "key"
    ) -> None:
        """Raises `ConfigError` for an expression with an unknown field. `exact`: a key is never a digest."""
        self._exact = exact
        self._nothing = _json([None] * len(texts))
        self._parts: list[Callable[[Record], Any]] = []
        for index, text in enumerate(texts):
            try:
                self._parts.append(Expression(text, fields).evaluate)
            except ValueError as error:
                raise ConfigError(str(error), (option, index)) from None
        self.names = tuple(_name(text) for text in texts)
        """The field that holds each value in a record which a step makes: `a.b` for a path, `peer` for
        `meta("peer")`."""
        plain = plain_names(texts)
        self.of: Callable[[Record], Key] = self._of_several
        if len(texts) == 1:
            self.of = self._of_field(plain[0]) if plain else self._of_one()
        elif plain:
            self.of = self._of_fields(plain)

    def values(self, key: Key) -> Record:
        """The values of an exact key by name."""
        if isinstance(key, str):
            return {self.names[0]: key}
        return dict(zip(self.names, json.loads(key), strict=True))

    def of_values(self, values: Sequence[Any]) -> Key:
        """The key that `of` returns for a record with these values."""
        if len(values) == 1 and isinstance(values[0], str) and _is_short(values[0]):
            return values[0]
        return self._encoded(values)

    def of_columns(self, columns: Sequence[Sequence[Any]]) -> Sequence[Key] | None:
        """The keys of some records, from the columns of plain fields; None if a record has none.

        One column of short ASCII texts costs 0.03 µs a record, two columns 0.25 µs.
        """
        if len(columns) == 1:
            (values,) = columns
            if _are_short(values):
                return values
        else:
            try:
                keys = list(map(_encode, zip(*columns, strict=True)))
            except (TypeError, ValueError, RecursionError):
                keys = []
            if keys and self._nothing not in keys and max(map(len, keys)) <= MAX_EXACT_BYTES:
                return keys
        try:
            return [self.of_values(row) for row in zip(*columns, strict=True)]
        except BadData:
            return None

    def _of_one(self) -> Callable[[Record], Key]:
        evaluate = self._parts[0]
        encoded = self._encoded

        def of(record: Record) -> Key:
            value = evaluate(record)
            if type(value) is str and len(value) <= MAX_EXACT_BYTES and value.isascii():
                return value
            return encoded((value,))

        return of

    def _of_field(self, name: str) -> Callable[[Record], Key]:
        encoded = self._encoded

        def of(record: Record) -> Key:
            value = record.get(name)
            if type(value) is str and len(value) <= MAX_EXACT_BYTES and value.isascii():
                return value
            return encoded((value,))

        return of

    def _of_fields(self, names: Sequence[str]) -> Callable[[Record], Key]:
        values_of = itemgetter(*names)
        encoded, of_some = self._encoded, self._of_several

        def of(record: Record) -> Key:
            try:
                values = values_of(record)
            except KeyError:  # a field is missing
                return of_some(record)
            return encoded(values)

        return of

    def _of_several(self, record: Record) -> Key:
        return self._encoded([part(record) for part in self._parts])

    def _encoded(self, values: Sequence[Any]) -> bytes:
        text = _json(values)
        if text == self._nothing:
            raise BadData("key:missing", ", ".join(self.names))
        if len(text) <= MAX_EXACT_BYTES:
            return text
        if self._exact:
            raise BadData("key:long", f"the key has {len(text)} bytes, at most {MAX_EXACT_BYTES} are allowed")
        return blake2b(text, digest_size=DIGEST_BYTES).digest()


def plain_names(texts: Sequence[str]) -> tuple[str, ...]:
    """The keys of the record if all expressions are names of fields or metadata; else empty."""
    names = [_METADATA.get(text, text) for text in texts]
    is_plain = [name[:1] == "@" or (name.isidentifier() and name.lower() not in _WORDS) for name in names]
    return tuple(names) if all(is_plain) else ()


_METADATA = {f'meta("{name[1:]}")': name for name in METADATA_KEYS}

_WORDS = frozenset({"true", "false", "none", "null", "and", "or", "not", "in", "is", "if", "else", "lambda"})
"""Words of the language of expressions."""


def key_of_whole(record: Record) -> bytes:
    """The key of all fields of a record without its metadata, in any order. Costs 0.8 µs for three fields.

    Raises `BadData` with `key:type`.
    """
    fields = record.copy()
    for name in METADATA_KEYS:
        fields.pop(name, None)
    fields.pop(FLAG, None)
    return blake2b(_json(fields), digest_size=DIGEST_BYTES).digest()


def keys_of_whole(columns: FlatColumns) -> list[Key] | None:
    """As `key_of_whole`, for all records; None if one has no key."""
    names = (*columns.names, *columns.added)
    rows = zip(*map(columns.column, names), strict=True)
    try:
        return [key_of_whole(dict(zip(names, row, strict=True))) for row in rows]
    except BadData:
        return None


def same_key(record: Record) -> Key:
    """The key of all records of a step that has no key."""
    del record
    return ""


def _is_short(text: str) -> bool:
    return len(text) <= MAX_EXACT_BYTES and text.isascii()


def _are_short(values: Sequence[Any]) -> bool:
    """Whether all values are texts that are their own keys."""
    try:
        return "".join(values).isascii() and max(map(len, values), default=0) <= MAX_EXACT_BYTES
    except TypeError:  # one is no text
        return False


def _json(value: Any) -> bytes:
    """Canonical JSON, also of values that JSON has no words for: NaN is null, half a surrogate an escape."""
    try:
        return _encode(value)
    except (TypeError, ValueError, RecursionError):
        pass
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise BadData("key:type", f"JSON cannot express a value of the key: {error}") from None


def _name(text: str) -> str:
    found = _NAMED.fullmatch(text.strip())
    return next(filter(None, found.groups())) if found else text.strip()
