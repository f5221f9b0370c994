"""Problems of a configuration: a place in the document and a sentence in the words of the file."""

import difflib
import json
import re
from collections.abc import Iterable
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ValidationError

from streamd.config.other_words import key_meant, value_meant
from streamd.config.own_options import described, is_own
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
    errors = [(error, *_located(error, table)) for error in failure.errors(include_url=False)]
    for error, loc, written in errors:
        here = place + written
        if _is_of_type(error) and any(
            other[: len(written)] == written and (other != written or not _is_of_type(another))
            for another, _, other in errors
        ):
            continue  # from the branches of a union for other types than that of the value
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
            problems.append(
                Problem(here, _sentence(error, _may_show(model, loc)) + _instead(error, loc, model))
            )
    return problems


def _may_show(model: type[BaseModel], loc: Place) -> bool:
    """Whether the value at `loc` belongs to an option of streamd, and not to code of the user."""
    models = [model]
    for part in loc:
        found = [(m, name) for m in models for name, f in m.model_fields.items() if part == (f.alias or name)]
        if not all(is_own(owner, name) for owner, name in found):
            return False
        if found:  # empty for an index or a name in a table of tables
            fields = [owner.model_fields[name] for owner, name in found]
            models = [inner for field in fields for inner in _models_in(field.annotation)]
    return True


def _given(value: Any, may_show: bool) -> str:
    """The refused value for a message, without texts that may be secrets."""
    if not may_show:
        shown = described(value)
        return f"a {shown.strip('()')}" if value and isinstance(value, str | dict) else quoted(shown)
    return quoted(_without_tables(value))


def _without_tables(value: Any) -> Any:
    """The value without the texts of its tables: it is at a wrong place, so nobody knows whose they are."""
    if isinstance(value, dict):
        return {key: described(inner) for key, inner in value.items()}
    return [_without_tables(inner) for inner in value] if isinstance(value, list) else value


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
    if not _may_show(model, loc) and isinstance(value, str):
        return ""
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


def _is_of_type(error: Any) -> bool:
    """Whether the value has another type than the expected one."""
    kind: str = error["type"]
    return kind.endswith("_type")


def _located(error: Any, table: Any) -> tuple[Place, Place]:
    """The location of an error in the models, and the place in `table` that it is about.

    Parts that are not in the document are none of the place: pydantic's tags, the names of the branches of a
    union, and `type` of a short form. A missing key is the last part.
    """
    loc: Place = error["loc"]
    loc = loc[:-1] if loc[-1:] == ("[key]",) else loc  # pydantic's mark of a wrong name in a table
    place: Place = ()
    for number, part in enumerate(loc, 1):
        if isinstance(table, list):
            is_there = isinstance(part, int) and part < len(table)
        else:
            is_there = isinstance(table, dict) and part in table
        if is_there:
            table = table[part]
        is_missing = error["type"] == "missing" and number == len(loc) and isinstance(table, dict)
        if is_there or is_missing:
            place += (part,)
    return loc, place


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


def _sentence(error: Any, may_show: bool) -> str:
    """One pydantic error as a sentence in the words of the file."""
    ctx, kind = error.get("ctx", {}), error["type"]
    shown = _given(error["input"], may_show)
    given = f"and is {shown}"
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
            text += f"; this is {shown}{write}{instead}"
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
