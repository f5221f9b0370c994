"""Validates each table of a document with its class. Valid tables are kept, and every fault is reported."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from streamd import registry
from streamd.config.own_options import described
from streamd.config.problems import (
    LATER,
    LATER_TYPES,
    Place,
    Problem,
    did_you_mean,
    dotted,
    in_plain_words,
    keys_of,
    misspelt,
    quoted,
    unknown_key,
)
from streamd.config.secrets import in_text
from streamd.config.tables import Config, PipelineSettings
from streamd.config.written import TESTS
from streamd.core.errors import ConfigError
from streamd.core.paths import UNNAMEABLE, unexpanded, unnameable
from streamd.core.schema import FieldSettings
from streamd.core.settings import ComponentSettings, Settings

Model = TypeVar("Model", bound=Settings)

WORDS = {"codecs": "codec", "encoders": "encoder"}
"""The configuration's word for a kind, where it differs from the code."""

NESTED = {
    "sources": {"codec": "codecs", "framing": "framing"},
    "sinks": {"encoder": "encoders"},
}
"""Keys of a source and of a sink that hold a component, and the kind of each."""


@dataclass
class Parts:
    """The validated tables of a document. A table with faults is None."""

    plain: dict[str, Settings] = field(default_factory=dict)
    schemas: dict[str, dict[str, FieldSettings | None]] = field(default_factory=dict)
    sources: dict[str, Settings | None] = field(default_factory=dict)
    pipelines: dict[str, PipelineSettings | None] = field(default_factory=dict)
    sinks: dict[str, Settings | None] = field(default_factory=dict)

    def config(self) -> Config:
        """The whole configuration. No table may have a fault."""
        return Config.model_validate(
            {
                **self.plain,
                "schemas": self.schemas,
                "sources": self.sources,
                "pipelines": self.pipelines,
                "sinks": self.sinks,
            }
        )


_PATH_KEYS = frozenset(
    {"path", "state_dir", "file", "cert", "key", "ca", "client_ca", "crl", "function", "token"}
)
"""Keys whose texts are paths, in every table."""


def _texts(document: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every text of the document."""
    waiting: list[tuple[Place, Any]] = [((), document)]
    while waiting:  # no recursion, because the nesting has no limit
        place, value = waiting.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, dict):
            waiting += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, index), inner) for index, inner in enumerate(value)]


def _unusable_paths(document: dict[str, Any]) -> Iterator[Problem]:
    """Problems of paths: shell expansions, `:memory:`, URLs, and names that the locale cannot encode."""
    for place, value in _texts(document):
        if _PATH_KEYS.isdisjoint(place[-2:]) or "params" in place:
            continue
        given = quoted(in_text(value)) if _is_path(place) else f"a {described(value).strip('()')}"
        if why := unexpanded(value):
            yield Problem(place, f"{why}; this is {given}")
        elif value == ":memory:":
            yield Problem(place, "a database in memory would end with the daemon: write the path of a file")
        elif url := re.match(r"[a-z0-9+]+://(?:localhost(?=/))?", value):
            path = value[url.end() :].removeprefix("/" if value.startswith("sqlite:") else "")
            write = f": write {path}" if _is_path(place) and in_text(value) == value else ""
            yield Problem(place, f"this must be a path, not a URL{write}; this is {given}")
        elif unnameable(value):
            yield Problem(place, f"{given} {UNNAMEABLE}")


def _is_path(place: Place) -> bool:
    """Whether the option is surely a path, and no token or key of another package."""
    return place[-1] not in ("token", "key") or place[0] == "admin" or place[-2:-1] in (("tls",), ("redact",))


def validate(document: dict[str, Any], problems: list[Problem]) -> Parts:
    """The tables of the document. Their faults are added to `problems`."""
    parts = Parts()
    problems += [Problem(place, "holds a NUL character") for place, text in _texts(document) if "\0" in text]
    problems += _unusable_paths(document)
    known = Config.model_fields
    problems += [
        Problem((key,), _unknown_at_the_top(key, document[key])) for key in document if key not in known
    ]
    for key, info in known.items():
        if isinstance(info.annotation, type) and issubclass(info.annotation, Settings):
            settings = validated(info.annotation, document.get(key, {}), (key,), problems)
            if settings is not None:
                parts.plain[key] = settings
    for name, fields in _tables(document, "schemas", problems):
        parts.schemas[name] = {
            key: _schema_field(value, ("schemas", name, key), problems) for key, value in fields.items()
        }
    for name, table in _tables(document, "sources", problems):
        parts.sources[name] = _component_table("sources", name, table, problems)
    for name, table in _tables(document, "pipelines", problems):
        parts.pipelines[name] = validated(PipelineSettings, table, ("pipelines", name), problems)
        steps = table.get("steps")
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            _nested("steps", step, ("pipelines", name, "steps", number), problems)
    for name, table in _tables(document, "sinks", problems):
        parts.sinks[name] = _component_table("sinks", name, table, problems)
    return parts


def _unknown_at_the_top(key: str, value: Any) -> str:
    """The text of the problem with an unknown table, or with a key before the first table."""
    known = Config.model_fields
    homes = [
        table
        for table, info in known.items()
        if isinstance(info.annotation, type)
        and issubclass(info.annotation, Settings)
        and key in keys_of(info.annotation)
    ]
    if homes and not isinstance(value, dict):
        return f"unknown key here: it belongs below {' or '.join(f'[{home}]' for home in homes)}"
    names = [f"{kind}.{name}" for kind in ("sources", "sinks") for name in registry.names(kind)]
    if (
        key not in LATER
        and not did_you_mean(key, known)
        and key in {name.partition(".")[2] for name in names}
    ):
        kinds = [name.partition(".")[0] for name in names if name.partition(".")[2] == key]
        written = " or ".join(f'[{kind}.NAME] with type = "{key}"' for kind in kinds)
        return f"unknown table: write {written}"
    return unknown_key(key, [*known, TESTS])


def _schema_field(value: Any, place: Place, problems: list[Problem]) -> FieldSettings | None:
    table = {"type": value} if isinstance(value, str) else value
    return validated(FieldSettings, table, place, problems, written=value)


def component(kind: str, spec: ComponentSettings) -> tuple[Any, Settings]:
    """The class of a component and its validated settings. Raises `ConfigError`."""
    problems: list[Problem] = []
    found = _resolved(kind, {"type": spec.type, **spec.options}, (), problems)
    if found is None:
        raise ConfigError("; ".join(f"{dotted(place)}: {text}" for place, text in problems))
    return found


def validated(
    model: type[Model], table: Any, place: Place, problems: list[Problem], *, written: Any = None
) -> Model | None:
    """The table as an instance of its class, or None if it has faults, which are added to `problems`.

    `written` is the short form in the document, if the table was made from one. The table is validated as
    JSON, because pydantic's strict mode for JSON has the rules of TOML: "5" is no number and true is not 1,
    but a list may become a tuple and a text a path.
    """
    try:
        text = json.dumps(table, default=str)
        return model.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as failure:
        problems += in_plain_words(failure, model, place, table if written is None else written)
        return None
    except RecursionError:  # from `json`, whose limit is below pydantic's
        problems.append(Problem(place, "is nested too deeply"))
        return None


def class_of(kind: str, type_name: str) -> Any:
    """The component's class. Raises `ConfigError` if there is none or it cannot be imported."""
    known = registry.names(kind)
    if type_name not in known:
        if type_name in LATER_TYPES:
            raise ConfigError(f"{quoted(type_name)} is not available in this version")
        hint = did_you_mean(type_name, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"there is no {quoted(type_name)} among the {kind}{hint}")
    try:
        return registry.load(kind, type_name)
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(f"{quoted(type_name)} cannot be loaded: {type(error).__name__}: {error}") from error


def _tables(
    document: dict[str, Any], key: str, problems: list[Problem]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """The tables below `key`, by name."""
    tables = document.get(key, {})
    if not isinstance(tables, dict):
        problems.append(
            Problem((key,), f"should be tables with a name, [{key}.name], and is {quoted(tables)}")
        )
        return
    for name, table in tables.items():
        if isinstance(table, dict):
            yield name, table
        else:
            doubled = isinstance(table, list) and table and isinstance(table[0], dict)
            hint = f": write [{dotted((key, name))}] in single brackets" if doubled else ""
            problems.append(Problem((key, name), f"should be a table, and is {quoted(table)}{hint}"))


def _component_table(kind: str, name: str, table: dict[str, Any], problems: list[Problem]) -> Settings | None:
    found = _resolved(kind, table, (kind, name), problems)
    for key, its_kind in NESTED[kind].items():
        _nested(its_kind, table.get(key), (kind, name, key), problems)
    return found and found[1]


def _nested(kind: str, value: Any, place: Place, problems: list[Problem]) -> None:
    """Validate a component in another table, whose own class requires a text or a table there."""
    if isinstance(value, str):
        _resolved(kind, {"type": value}, place, problems, short=True)
    elif isinstance(value, dict) and isinstance(value.get("type"), str):
        _resolved(kind, value, place, problems)


def _resolved(
    kind: str, table: dict[str, Any], place: Place, problems: list[Problem], *, short: bool = False
) -> tuple[type, Settings] | None:
    """The class named by `type`, and the table as its `Config`, or None if either has faults."""
    type_name = table.get("type")
    type_place = place if short else (*place, "type")
    if "type" not in table and (typo := misspelt("type", table)):
        problems.append(Problem((*place, typo), unknown_key(typo, ["type"])))
        return None
    if not isinstance(type_name, str):
        known = ", ".join(registry.names(kind))
        problems.append(Problem(type_place, f"should be one of the {kind} in quotes: {known}"))
        return None
    try:
        cls = class_of(kind, type_name)
    except ConfigError as error:
        problems.append(Problem(type_place, str(error)))
        return None
    model: type[Settings] = cls.Config
    options = table if "type" in model.model_fields else {k: v for k, v in table.items() if k != "type"}
    settings = validated(model, options, place, problems)
    return None if settings is None else (cls, settings)
