"""Each table of a document as its class: valid ones are kept, and every fault is reported."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import ValidationError

from streamd import registry
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
from streamd.config.tables import Config, PipelineSettings
from streamd.core.errors import ConfigError
from streamd.core.paths import UNNAMEABLE, unexpanded, unnameable
from streamd.core.schema import FieldSettings
from streamd.core.settings import ComponentSettings, Settings

Model = TypeVar("Model", bound=Settings)

WORDS = {"codecs": "codec"}
"""What the configuration calls a kind, where the code has another word."""

NESTED = {"codec": "codecs", "framing": "framing"}
"""Keys of a source that name a component, and its kind."""


@dataclass
class Parts:
    """What could be read of a document. A table that is there and wrong is None."""

    plain: dict[str, Settings] = field(default_factory=dict)
    schemas: dict[str, dict[str, FieldSettings | None]] = field(default_factory=dict)
    sources: dict[str, Settings | None] = field(default_factory=dict)
    pipelines: dict[str, PipelineSettings | None] = field(default_factory=dict)
    sinks: dict[str, Settings | None] = field(default_factory=dict)

    def config(self) -> Config:
        """All of it as one, where nothing was wrong."""
        return Config.model_validate(
            {
                **self.plain,
                "schemas": self.schemas,
                "sources": self.sources,
                "pipelines": self.pipelines,
                "sinks": self.sinks,
            }
        )


_PATH_KEYS = frozenset({"path", "state_dir", "file", "cert", "key", "ca", "client_ca", "crl", "function"})
"""Keys whose texts are paths, wherever they stand."""


def _texts(document: dict[str, Any]) -> Iterator[tuple[Place, str]]:
    """Every text of the document."""
    waiting: list[tuple[Place, Any]] = [((), document)]
    while waiting:  # however deeply it is nested
        place, value = waiting.pop()
        if isinstance(value, str):
            yield place, value
        elif isinstance(value, dict):
            waiting += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            waiting += [((*place, index), inner) for index, inner in enumerate(value)]


def _unusable_paths(document: dict[str, Any]) -> Iterator[Problem]:
    """Paths that a shell was meant to expand, or that this locale cannot name."""
    for place, value in _texts(document):
        if _PATH_KEYS.isdisjoint(place[-2:]) or "params" in place:
            continue
        if why := unexpanded(value):
            yield Problem(place, f"{why}; this is {quoted(value)}")
        elif value == ":memory:":
            yield Problem(place, "a database in memory would end with the daemon: write the path of a file")
        elif url := re.match(r"[a-z0-9+]+://(?:localhost(?=/))?", value):
            path = value[url.end() :].removeprefix("/" if value.startswith("sqlite:") else "")
            yield Problem(place, f"a path is meant, and no URL: write {path}; this is {quoted(value)}")
        elif unnameable(value):
            yield Problem(place, f"{quoted(value)} {UNNAMEABLE}")


def validate(document: dict[str, Any], problems: list[Problem]) -> Parts:
    """The tables of the document; what is wrong with any of them is added to `problems`."""
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
        for key, kind in NESTED.items():
            _nested(kind, table.get(key), ("sources", name, key), problems)
    for name, table in _tables(document, "pipelines", problems):
        parts.pipelines[name] = validated(PipelineSettings, table, ("pipelines", name), problems)
        steps = table.get("steps")
        for number, step in enumerate(steps if isinstance(steps, list) else []):
            _nested("steps", step, ("pipelines", name, "steps", number), problems)
    for name, table in _tables(document, "sinks", problems):
        parts.sinks[name] = _component_table("sinks", name, table, problems)
    return parts


def _unknown_at_the_top(key: str, value: Any) -> str:
    """What to say of a table that nobody knows, or of a key that stands above all tables."""
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
    return unknown_key(key, known)


def _schema_field(value: Any, place: Place, problems: list[Problem]) -> FieldSettings | None:
    table = {"type": value} if isinstance(value, str) else value
    return validated(FieldSettings, table, place, problems, written=value)


def component(kind: str, spec: ComponentSettings) -> tuple[Any, Settings]:
    """The class of a component and its own settings, checked. Raises `ConfigError`."""
    problems: list[Problem] = []
    found = _resolved(kind, {"type": spec.type, **spec.options}, (), problems)
    if found is None:
        raise ConfigError("; ".join(f"{dotted(place)}: {text}" for place, text in problems))
    return found


def validated(
    model: type[Model], table: Any, place: Place, problems: list[Problem], *, written: Any = None
) -> Model | None:
    """The table as its class, or None and what is wrong with it in `problems`.

    `written` is what the document has in its place, where that is a short form.

    It goes through JSON because only there does strict mean what it says in TOML: "5" is no number and
    true is not 1, and yet a list may become a tuple and a text a path.
    """
    try:
        text = json.dumps(table, default=str)
        return model.model_validate_json(text, strict=True, by_alias=True, by_name=False)
    except ValidationError as failure:
        problems += in_plain_words(failure, model, place, table if written is None else written)
        return None
    except RecursionError:  # deep enough for `json`, which is less patient than pydantic
        problems.append(Problem(place, "is nested too deeply"))
        return None


def class_of(kind: str, type_name: str) -> Any:
    """The component's class. Raises `ConfigError` where there is none or it cannot be imported."""
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
    return found and found[1]


def _nested(kind: str, value: Any, place: Place, problems: list[Problem]) -> None:
    """Check a component inside another table. That it is a text or a table, that table has checked."""
    if isinstance(value, str):
        _resolved(kind, {"type": value}, place, problems, short=True)
    elif isinstance(value, dict) and isinstance(value.get("type"), str):
        _resolved(kind, value, place, problems)


def _resolved(
    kind: str, table: dict[str, Any], place: Place, problems: list[Problem], *, short: bool = False
) -> tuple[type, Settings] | None:
    """The class that `type` names, and the table as its `Config`."""
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
