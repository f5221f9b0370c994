"""Problems of a configuration: a place in the document and a sentence in the words of the file."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from streamd.config.other_words import key_meant, value_meant
from streamd.core.printable import printable
from streamd.core.settings import ComponentSettings

Place = tuple[str | int, ...]
"""A place in the document: keys of tables, indexes of arrays."""

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_SHOWN_CHARACTERS = 60
_BOOLEANS = {
    "true": "true", "yes": "true", "on": "true", "1": "true",
    "false": "false", "no": "false", "off": "false", "0": "false",
}  # fmt: skip
_FEW_KEYS = 8
"""The most known keys that are listed for an unknown key."""

LATER = frozenset({
    "deny", "durability", "fair", "journal", "ordered", "tap",
})  # fmt: skip
"""Keys of the language whose feature is missing in this version."""

LATER_TYPES = frozenset({"relp", "forward", "nats", "lumberjack", "postgres"})
"""Types of components that are missing in this version."""


class Problem(NamedTuple):
    """One problem and its place in the document."""

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
    """A value as TOML writes it, on one line and cut to a readable length."""
    text = printable(json.dumps(value, ensure_ascii=False, default=str))
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 1] + "…"


def did_you_mean(word: Any, known: Iterable[str]) -> str:
    """` (did you mean "x"?)`, or an empty text if no known word is close."""
    known = list(known)
    close = _close(word.lower(), known) if isinstance(word, str) else []
    if (meant := value_meant(word, known)) is not None:
        close = [meant]
    return f" (did you mean {quoted(close[0])}?)" if close else ""


def _close(word: str, known: list[str]) -> list[str]:
    """The one known word that `word` is the beginning of (`max_rate`), else the most similar word, if any."""
    longer = [name for name in known if name.startswith(f"{word}_")]
    return longer if len(longer) == 1 else difflib.get_close_matches(word, known, 1)


def misspelt(key: str, table: Any, known: Iterable[str] = ()) -> str | None:
    """The key in `table` that looks like a misspelling of the missing `key`, or None."""
    written = table.keys() - set(known) if isinstance(table, dict) else ()
    return next(iter(difflib.get_close_matches(key, sorted(written), 1)), None)


def unknown_key(key: str, known: Iterable[str]) -> str:
    """The text of the problem with an unknown key."""
    if key in LATER:
        return "is not available in this version"
    known = list(known)
    if meant := key_meant(key, known) or did_you_mean(key, known):
        return f"unknown key{meant}"
    return f"unknown key: there are {', '.join(known)}" if 0 < len(known) <= _FEW_KEYS else "unknown key"


def keys_of(model: type[BaseModel]) -> list[str]:
    """The keys of a table as they are written in the file."""
    return [field.alias or name for name, field in model.model_fields.items()]


def in_plain_words(
    failure: ValidationError, model: type[BaseModel], place: Place, table: Any
) -> list[Problem]:
    """The errors of a failed validation of `table` as problems. `place` is the place of the table."""
    problems: list[Problem] = []
    for error in failure.errors(include_url=False):
        loc = error["loc"]
        loc = loc[:-1] if loc[-1:] == ("[key]",) else loc  # pydantic's mark of a wrong name in a table
        here = place + _written(loc, table)
        if error["type"] == "missing" and (
            typo := misspelt(str(loc[-1]), error["input"], _keys_at(model, loc[:-1]))
        ):
            problems.append(Problem((*here[:-1], typo), unknown_key(typo, [str(loc[-1])])))
        elif any(problem.place == here for problem in problems):
            continue  # the other branch of a union, or a typo that is reported already
        elif error["type"] == "extra_forbidden":
            key, known = str(loc[-1]), _keys_at(model, loc[:-1])
            elsewhere = _elsewhere(key, model, tuple(map(str, loc[:-1])))
            close = did_you_mean(key, known)
            problems.append(Problem(here, unknown_key(key, known) if not elsewhere or close else elsewhere))
        else:
            problems.append(Problem(here, _sentence(error) + _instead(error, loc, model)))
    return problems


def _elsewhere(key: str, model: type[BaseModel], at: tuple[str, ...]) -> str:
    """The text for a key that this component has at another level. Empty if it has none."""
    if key in LATER:
        return ""
    places = [path for path in _paths_of(key, model) if path[:-1] != at]
    if not places:
        return ""
    paths = " or ".join(".".join(path) for path in places[:3])
    return f"unknown key here: it belongs to {paths}"


def _paths_of(key: str, model: type[BaseModel], above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths in the component that end in `key`, shortest first."""
    found: list[tuple[str, ...]] = []
    for name, field in model.model_fields.items():
        written = field.alias or name
        if written == key:
            found.append((*above, written))
        if len(above) < _DEEPEST:
            for inner in _models_in(field.annotation):
                found += _paths_of(key, inner, (*above, written))
    return sorted(dict.fromkeys(found), key=len)


def _instead(error: Any, loc: Place, model: type[BaseModel]) -> str:
    """`: write …` with a corrected value if the given value shows the intention, else an empty text."""
    value, kind = error["input"], error["type"]
    meant = ""
    if kind in ("list_type", "tuple_type", "set_type", "frozen_set_type"):
        if isinstance(value, str | int | dict):
            meant = "[{ … }]" if isinstance(value, dict) else f"[{quoted(value)}]"
    elif kind in ("model_type", "model_attributes_type") and (keys := _keys_at(model, loc)):
        others = f" (there are {', '.join(keys)})" if len(keys) > 1 else ""
        meant = f"{{ {keys[0]} = … }}{others}"
    elif kind == "bool_type" and isinstance(value, str | int):
        meant = _BOOLEANS.get(str(value).lower(), "")
    elif kind in ("int_type", "int_parsing", "float_type", "float_parsing") and isinstance(value, str):
        meant = value if re.fullmatch(r"-?\d+(\.\d+)?", value, re.ASCII) else ""
    elif kind == "string_pattern_mismatch" and loc[-1:] != ("function",):
        described = _description(model, loc)
        return f": {described}" if described else ""
    return f": write {meant}" if meant else ""


def _description(model: type[BaseModel], loc: Place) -> str:
    models = [model]
    fields: list[Any] = []
    for part in loc:
        fields = [f for m in models for name, f in m.model_fields.items() if part == (f.alias or name)]
        models = [found for field in fields for found in _models_in(field.annotation)]
    return next((field.description for field in fields if field.description), "")


_DEEPEST = 3
"""The most levels of nested tables that are searched in a component."""


def _written(loc: Place, table: Any) -> Place:
    """`loc` without the parts that are not in the document: pydantic's tags, and `type` of a short form."""
    place: Place = ()
    for number, part in enumerate(loc, 1):
        is_there = part in table if isinstance(table, dict) else isinstance(table, list)
        if is_there:
            table = table[part]
        if is_there or (number == len(loc) and isinstance(table, dict)):  # keeps the place of a missing key
            place += (part,)
    return place


def _keys_at(model: type[BaseModel], loc: Place) -> list[str]:
    """The keys of the table at `loc` below `model`."""
    models = [model]
    for part in loc:
        fields = [f for m in models for name, f in m.model_fields.items() if part == (f.alias or name)]
        if fields:  # empty for an index or a name in a table of tables
            models = [found for field in fields for found in _models_in(field.annotation)]
    return [key for found in models for key in keys_of(found)]


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [found for inner in get_args(annotation) for found in _models_in(inner)]


def _sentence(error: Any) -> str:
    """One pydantic error as a sentence in the words of the file."""
    ctx, kind = error.get("ctx", {}), error["type"]
    given = f"and is {quoted(error['input'])}"
    if kind == "missing":
        in_list = error["loc"][-1] == "type" and isinstance(error["loc"][-2:][0], int)
        return 'is missing: it names the component, such as type = "filter"' if in_list else "is missing"
    if kind in ("too_short", "string_too_short"):
        return "should not be empty"
    if kind == "json_invalid":
        return "is nested too deeply"
    if kind in ("value_error", "assertion_error"):
        text = str(ctx["error"])
        if not isinstance(error["input"], dict):
            text, write, instead = text.partition("; write ")
            text += f"; this is {quoted(error['input'])}{write}{instead}"
    elif kind == "literal_error":
        hint = did_you_mean(error["input"], re.findall(r"'([^']*)'", ctx["expected"]))
        text = f"should be {ctx['expected'].replace(chr(39), chr(34))}, {given}{hint}"
    elif kind == "string_pattern_mismatch":
        wanted = (
            '"steps.py:name" or "package.module:name"'
            if error["loc"][-1] == "function"
            else "in another form"
        )
        text = f"should be {wanted}, {given}"
    elif kind in _BOUNDS:
        words, key = _BOUNDS[kind]
        text = f"should be {words} {ctx[key]}, {given}"
    else:
        wanted = next((words for start, words in _WANTED if kind.startswith(start)), "something else")
        if ctx.get("class_name") == ComponentSettings.__name__:
            wanted = 'a name in quotes or a table with "type"'
        text = f"should be {wanted}, {given}"
    return text


_BOUNDS = {
    "greater_than_equal": ("at least", "ge"),
    "greater_than": ("more than", "gt"),
    "less_than_equal": ("at most", "le"),
    "less_than": ("less than", "lt"),
    "too_long": ("no longer than", "max_length"),
    "string_too_long": ("no longer than", "max_length"),
}
_WANTED = (
    ("int", "a whole number"),
    ("float", "a number"),
    ("finite", "a finite number"),
    ("bool", "true or false"),
    ("string", "a text in quotes"),
    ("list", "a list in [brackets]"),
    ("tuple", "a list in [brackets]"),
    ("set", "a list in [brackets]"),
    ("frozen_set", "a list in [brackets]"),
    ("dict", "a table"),
    ("model", "a table"),
)
"""Prefixes of pydantic's error types, and the value expected in the file."""
