"""One rule: which values and texts of a record it changes."""

import re
from typing import Any

from streamd.core.batch import Record
from streamd.core.json_rules import RESERVED_KEYS
from streamd.core.redact_settings import RedactRule
from streamd.redaction.actions import action_of, text_of
from streamd.redaction.card import is_card
from streamd.redaction.detectors import DETECTORS, find

_CANDIDATE = re.compile("[0-9@:]|[^\x00-\x7f]")
"""A text without such a character has no personal data that a detector finds."""
_MAX_LEVELS = 100
"""Deeper values are replaced as a whole; JSON has at most 64 levels."""
_MAX_CLEAN = 4096
_MAX_CLEAN_CHARS = 128
_LISTS, _CONTAINERS, _BYTES = (list, tuple), (dict, list, tuple), (bytes, bytearray)
_FIRST_CARD, _BEHIND_CARDS = 10**11, 10**19


class RedactionRule:
    """Applies a rule to records and texts, and counts what it has changed. It changes no argument."""

    def __init__(self, settings: RedactRule, key: bytes | None) -> None:
        self.label = settings.label
        self.count = 0
        self.fields = None if settings.fields is None else frozenset(settings.fields)
        self.detects = settings.detect is not None
        self._nested = settings.nested
        self._drops = settings.action == "drop"
        self._act = action_of(settings, key)
        self._whole = (lambda _: settings.mask) if settings.action == "mask" else self._act
        self._detectors = [DETECTORS[name] for name in settings.detect or ()]
        self._finds_cards = "card" in (settings.detect or ())
        self._clean: set[Any] = set(RESERVED_KEYS)
        """Keys of objects in which nothing was found."""

    def record(self, record: Record) -> Record:
        """The record, or a changed copy. Metadata stays."""
        if self.fields is not None:
            return self._named(record, 0)
        return self._searched_object(record, 0)

    def value(self, value: Any) -> Any:
        """A value of JSON that is no record: it has no metadata."""
        return self._searched(value, 1) if self.fields is None else self._inside(value, 1)

    def text(self, text: str) -> str:
        """The text with what the detectors find redacted."""
        if not self.detects or _CANDIDATE.search(text) is None:
            return text
        places = find(text, self._detectors)
        if not places:
            return text
        parts: list[str] = []
        behind = 0
        for start, end in places:
            old = text[start:end]
            new = self._act(old)
            self.count += new != old
            parts += (text[behind:start], new)
            behind = end
        return "".join((*parts, text[behind:]))

    def _named(self, record: dict[Any, Any], level: int) -> dict[Any, Any]:
        """An object in which the named fields are redacted."""
        changes: dict[Any, Any] = {}
        dropped: list[Any] = []
        fields = self.fields or ()
        for key, value in record.items():
            if key in fields:
                if self.detects:
                    new = self._searched(value, level + 1)
                elif self._drops:
                    dropped.append(key)
                    continue
                else:
                    new = self._treated(value)
            elif self._nested and isinstance(value, _CONTAINERS):
                new = self._inside(value, level + 1)
            else:
                continue
            if new is not value:
                changes[key] = new
        if not changes and not dropped:
            return record
        changed = {**record, **changes}
        for key in dropped:
            del changed[key]
        self.count += len(dropped)
        return changed

    def _inside(self, value: Any, level: int) -> Any:
        """A value without a name in which fields may have one."""
        if level > _MAX_LEVELS:
            return self._too_deep()
        if isinstance(value, dict):
            return self._named(value, level)
        if isinstance(value, _LISTS):
            return _elements(value, [self._inside(one, level + 1) for one in value])
        return value

    def _treated(self, value: Any, *, in_list: bool = False) -> Any:
        """The value of a named field; of a list each element. A list in a list is one value."""
        if value is None:
            return None
        if isinstance(value, _LISTS) and not in_list:
            return _elements(value, [self._treated(one, in_list=True) for one in value])
        text = text_of(value)
        new = self._whole(text) if isinstance(value, _CONTAINERS) else self._act(text)
        if isinstance(value, str) and new == value:
            return value
        self.count += 1
        return new

    def _searched(self, value: Any, level: int) -> Any:
        """A value whose texts are searched."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, _CONTAINERS):
            return self._searched_inside(value, level)
        if type(value) is int and self._finds_cards and _FIRST_CARD <= value < _BEHIND_CARDS:
            return self._searched_number(value)
        if isinstance(value, _BYTES):
            text = value.decode("utf-8", "surrogateescape")
            new = self.text(text)
            return value if new is text else new.encode("utf-8", "surrogateescape")
        return value

    def _searched_number(self, value: int) -> Any:
        """A whole number that can be the number of a card."""
        if not is_card(str(value)):
            return value
        self.count += 1
        return None if self._drops else self._act(str(value))

    def _searched_inside(self, value: Any, level: int) -> Any:
        if level > _MAX_LEVELS:
            return self._too_deep()
        if isinstance(value, dict):
            return self._searched_object(value, level)
        return _elements(value, [self._searched(one, level + 1) for one in value])

    def _searched_object(self, value: dict[Any, Any], level: int) -> dict[Any, Any]:
        """An object; a record, with its metadata, has the level 0."""
        changes: dict[Any, Any] = {}
        for key, inner in value.items():
            kind = type(inner)
            if kind is float or inner is None or (level == 0 and key in RESERVED_KEYS):
                continue
            new = self.text(inner) if kind is str else self._searched(inner, level + 1)
            if new is not inner:
                changes[key] = new
        clean = self._clean
        if value.keys() <= clean:
            return {**value, **changes} if changes else value
        names = {key: self._name(key) for key in value}
        if all(new is key for key, new in names.items()):
            return {**value, **changes} if changes else value
        renamed: dict[Any, Any] = {}
        tries: dict[Any, int] = {}
        for key, inner in value.items():
            name = names[key]
            if name is not key:  # two addresses may get one mask
                name = _free(name, renamed, value, tries)
            renamed[name] = changes.get(key, inner)
        return renamed

    def _name(self, key: Any) -> Any:
        if not isinstance(key, str) or key in self._clean:
            return key
        name = self.text(key)
        if name == key:
            if len(self._clean) < _MAX_CLEAN and len(key) <= _MAX_CLEAN_CHARS:
                self._clean.add(key)
            return key
        return name

    def _too_deep(self) -> str:
        self.count += 1
        return "***"


def _free(name: str, taken: dict[Any, Any], before: dict[Any, Any], tries: dict[Any, int]) -> str:
    """The name, or the name with a number if another key of the object has it."""
    free = name
    while free in taken or free in before or free in RESERVED_KEYS:
        tries[name] = tries.get(name, 1) + 1
        free = f"{name}~{tries[name]}"
    return free


def _elements(old: Any, new: list[Any]) -> Any:
    """The list of the new elements; the old one if all are the same."""
    return old if all(map(_is, old, new)) else new


def _is(one: Any, other: Any) -> bool:
    return one is other
