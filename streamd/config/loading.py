"""The configuration file: found, read, and every problem of it told at once."""

import json
import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from streamd import registry
from streamd.config.problems import Place, Problem, dotted, in_plain_words, unknown_key
from streamd.config.tables import Config
from streamd.core.errors import ConfigError
from streamd.core.schema import Schema
from streamd.core.settings import ComponentSettings, Settings

SEARCHED = ("config/streamd.toml", "/etc/streamd/streamd.toml")
"""Where a configuration is looked for when none is named, in this order."""

Table = TypeVar("Table", bound=Settings)


@dataclass(frozen=True)
class Loaded:
    """A configuration that may be used. `schemas` are built; `base_dir` is the folder of the file."""

    config: Config
    path: Path | None
    base_dir: Path
    schemas: dict[str, Schema]


def find(explicit: str | None) -> Path:
    """`explicit`, else `$STREAMD_CONFIG`, else the first of `SEARCHED`. Raises `ConfigError`."""
    named = explicit or os.environ.get("STREAMD_CONFIG")
    if named:
        return Path(named)
    for place in SEARCHED:
        if Path(place).exists():
            return Path(place)
    looked = ", ".join(("$STREAMD_CONFIG (not set)", *(str(Path(place).absolute()) for place in SEARCHED)))
    raise ConfigError(f"no configuration found; looked at {looked}. Name one with --config")


def load(path: Path) -> Loaded:
    """Read and check the file. Raises `ConfigError` with all problems, one a line, in order of lines."""
    text = read(path)
    document = parse(path, text)
    problems: list[Problem] = []
    config = _validate(document, problems)
    if problems or config is None:
        raise ConfigError(report(path, text, problems))
    schemas = {name: Schema(name, fields) for name, fields in config.schemas.items()}
    return Loaded(config, path, path.absolute().parent, schemas)


def read(path: Path) -> str:
    """The text of the file. Raises `ConfigError`, as the file was named by somebody."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{path}:{line}: not UTF-8 (byte 0x{error.object[error.start]:02x})") from None


def parse(path: Path, text: str) -> dict[str, Any]:
    """The document. Raises `ConfigError` for the first error of syntax."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}") from None
    except RecursionError:
        raise ConfigError(f"{path}: nested too deeply") from None


def report(path: Path, text: str, problems: list[Problem]) -> str:
    """All problems with their lines, one a line."""
    del text
    return "\n".join(f"{path}: {dotted(problem.place)}: {problem.text}" for problem in problems)


def component(kind: str, spec: ComponentSettings) -> tuple[type, Settings]:
    """The class of a nested component and its options, checked. Raises `ConfigError`."""
    problems: list[Problem] = []
    found = typed_table(kind, {"type": spec.type, **spec.options}, (), problems)
    if found is None:
        raise ConfigError("; ".join(f"{dotted(place)}: {text}" for place, text in problems))
    return found


def typed_table(
    kind: str, table: dict[str, Any], place: Place, problems: list[Problem]
) -> tuple[type, Settings] | None:
    """The class that `type` names and its settings; None, with what is wrong in `problems`."""
    name = table.get("type")
    if not isinstance(name, str):
        problems.append(Problem((*place, "type"), "is missing"))
        return None
    try:
        cls = registry.load(kind, name)
    except ConfigError as error:
        problems.append(Problem((*place, "type"), str(error)))
        return None
    model: type[Settings] = cls.Config
    options = table if "type" in model.model_fields else {k: v for k, v in table.items() if k != "type"}
    settings = validated(model, options, place, problems)
    return None if settings is None else (cls, settings)


def validated(model: type[Table], table: Any, place: Place, problems: list[Problem]) -> Table | None:
    """The table as its class, or None and what is wrong with it in `problems`.

    It goes through JSON because only there does strict mean what it says in TOML: "5" is no number and
    true is not 1, and yet a list may become a tuple and a text a path.
    """
    try:
        return model.model_validate_json(
            json.dumps(table, default=str), strict=True, by_alias=True, by_name=False
        )
    except ValidationError as failure:
        problems += in_plain_words(failure, model, place, table)
        return None


def _validate(document: dict[str, Any], problems: list[Problem]) -> Config | None:
    parts: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Settings):
            parts[name] = validated(annotation, document.get(name, {}), (name,), problems)
    problems += [
        Problem((key,), unknown_key(key, Config.model_fields))
        for key in document
        if key not in Config.model_fields
    ]
    for kind in ("sources", "sinks"):
        parts[kind] = {}
        for name, table in document.get(kind, {}).items():
            found = typed_table(kind, table, (kind, name), problems)
            parts[kind][name] = found and found[1]
    if problems:
        return None
    rest = {key: document.get(key, {}) for key in ("schemas", "pipelines")}
    return Config.model_validate(parts | rest)
