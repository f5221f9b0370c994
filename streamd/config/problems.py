"""What is wrong with a configuration, in plain words: a place in the document and a sentence."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple

from pydantic import BaseModel, ValidationError

Place = tuple[str | int, ...]
"""A place in the document: keys of tables, indexes of arrays."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SHOWN_CHARACTERS = 60

LATER = frozenset({
    "allow", "deny", "durability", "expect", "fair", "journal", "nats", "ordered", "payload", "postgres", "relp", "replay",
    "retention", "secrets", "tap", "templates", "tls", "unix", "where",
})  # fmt: skip
"""Words of the language whose feature this version does not have."""


class Problem(NamedTuple):
    """One thing that is wrong, and where."""

    place: Place
    text: str


def dotted(place: Place) -> str:
    """`pipelines.main.steps[0].where`; a key that is not bare is quoted, so the path is always one line."""
    shown = ""
    for part in place:
        if isinstance(part, int):
            shown += f"[{part}]"
        else:
            shown += "." * bool(shown) + (part if _BARE_KEY.fullmatch(part) else json.dumps(part))
    return shown


def quoted(value: Any) -> str:
    """A value as TOML would show it, on one line and not longer than is readable."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    text = "".join(c if c.isprintable() else f"\\u{ord(c):04x}" for c in text)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """` (did you mean "x"?)`, or nothing where no known word is close."""
    close = difflib.get_close_matches(word.lower(), list(known), 1)
    return f" (did you mean {quoted(close[0])}?)" if close else ""


def unknown_key(key: str, known: Iterable[str]) -> str:
    """What to say of a key nobody reads."""
    if key in LATER:
        return "is not available in this version"
    return f"unknown key{did_you_mean(key, known)}"


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a table as the file writes them."""
    return [field.alias or name for name, field in model.model_fields.items()]


def in_plain_words(
    failure: ValidationError, model: type[BaseModel], place: Place, table: Any
) -> list[Problem]:
    """Every error of a failed validation of `table` as a problem, with `place` before its own place."""
    problems: list[Problem] = []
    for error in failure.errors(include_url=False):
        nested = error.get("ctx", {}).get("error")
        here = place + _real(error["loc"], table)
        if isinstance(nested, ValidationError):
            inside = error["input"]
            problems += in_plain_words(nested, model, here, inside)
        elif error["type"] == "extra_forbidden":
            key = str(error["loc"][-1])
            problems.append(Problem(here, unknown_key(key, _known_at(model, error["loc"][:-1]))))
        else:
            problems.append(Problem(here, _sentence(error)))
    return problems


def _real(loc: tuple[str | int, ...], table: Any) -> Place:
    """`loc` without the tags that the validator puts in for branches of a union."""
    place: list[str | int] = []
    for number, part in enumerate(loc):
        if (isinstance(table, dict) and part in table) or (
            isinstance(table, list) and isinstance(part, int) and part < len(table)
        ):
            place.append(part)
            table = table[part]
        elif number == len(loc) - 1 and isinstance(table, dict):
            place.append(part)  # a missing key
    return tuple(place)


def _known_at(model: type[BaseModel], loc: tuple[str | int, ...]) -> list[str]:
    """The keys of the table at `loc` below `model`, as far as its fields are tables themselves."""
    for part in loc:
        field = next((f for name, f in model.model_fields.items() if part in (name, f.alias)), None)
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return keys_of(model)


def _sentence(error: Any) -> str:
    """One pydantic error in words of the file."""
    ctx, given, kind = error.get("ctx", {}), error["input"], error["type"]
    if kind == "missing":
        return "is missing"
    if kind == "value_error":
        return f"{ctx['error']}; this is {quoted(given)}"
    if kind == "literal_error":
        choices = re.findall(r"'([^']*)'", ctx["expected"])
        hint = did_you_mean(given, choices) if isinstance(given, str) else ""
        return f"should be one of {', '.join(map(quoted, choices))}, and is {quoted(given)}{hint}"
    bound = _BOUNDS.get(kind)
    if bound:
        word, key = bound
        return f"should be {word} {ctx[key]}, and is {quoted(given)}"
    if kind in ("too_short", "string_too_short"):
        return "should not be empty" if ctx["min_length"] == 1 else f"needs at least {ctx['min_length']}"
    wanted = next((words for prefix, words in _WANTED if kind.startswith(prefix)), None)
    if wanted:
        return f"should be {wanted}, and is {quoted(given)}"
    return f"{error['msg'][:1].lower()}{error['msg'][1:]}; this is {quoted(given)}"


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
}
_WANTED = (
    ("int", "a whole number"),
    ("float", "a number"),
    ("bool", "true or false"),
    ("string", "a text in quotes"),
    ("list", "a list in [brackets]"),
    ("tuple", "a list in [brackets]"),
    ("dict", "a table"),
    ("model", "a table"),
    ("finite", "a finite number"),
)
