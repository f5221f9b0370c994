"""Sample tables and the reference page, generated from the classes of the configuration language."""

import json
import re
import textwrap
from collections.abc import Iterable, Mapping
from types import MappingProxyType, NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from streamd import registry
from streamd.config.brought_schemas import brought_fields
from streamd.config.cases import Case, Expectation, ExpectedReject, ExpectedSink, Input
from streamd.config.problems import did_you_mean, quoted
from streamd.config.tables import Config, PipelineSettings
from streamd.config.validation import WORDS, class_of
from streamd.core.errors import ConfigError
from streamd.core.schema import FieldSettings
from streamd.core.settings import Address, ComponentSettings, Settings, parse_duration_s, parse_size_bytes

HEADERS = {
    "sources": "[sources.example]",
    "framing": "[sources.example.framing]",
    "codecs": "[sources.example.codec]",
    "steps": "[[pipelines.example.steps]]",
    "encoders": "[sinks.example.encoder]",
    "sinks": "[sinks.example]",
    "schemas": "[schemas.example.field]",
    "pipelines": "[pipelines.example]",
}
"""The header of a table of each kind in the file."""

_TESTS: tuple[tuple[str, str, type[Settings]], ...] = (
    ("tests", "[[tests]]", Case),
    ("tests.inputs", "[[tests.inputs]]", Input),
    ("tests.expect", "[tests.expect]", Expectation),
    ("tests.expect.sinks", "[tests.expect.sinks.example]", ExpectedSink),
    ("tests.expect.rejected", "[[tests.expect.rejected]]", ExpectedReject),
)
"""Name, header and class of each table of a test."""

COUNTED_BY = {
    "sources": "source", "framing": "source", "codecs": "source", "steps": "step", "sinks": "sink",
}  # fmt: skip
"""The word in the metrics for what a component of each kind counts."""

_INPUT_WORDS: dict[Any, str] = {parse_duration_s: "duration", parse_size_bytes: "size"}
_TYPE_WORDS: dict[Any, str] = {
    bool: "true or false", int: "whole number", float: "number", str: "text", Address: "address",
    ComponentSettings: "component", dict: "table", Any: "any value",
}  # fmt: skip
_BOUND_WORDS = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
_PLACEHOLDERS = {
    "address": '"127.0.0.1:9999"', "duration": '"5s"', "size": '"64MiB"', "list of text": '["…"]',
    "list": "[]", "table": '{ "…" = "…" }', "whole number": "1", "number": "1", "true": "true",
}  # fmt: skip


class KeyRow(NamedTuple):
    """One key of a table. `default` is written as in the file. None if there is no default."""

    key: str
    holds: str
    default: str | None
    required: bool
    description: str


class Section(NamedTuple):
    """One table of the language: its header, its summary and its keys.

    `counters` has the metrics of a component, each with its meaning, and `brings` the fields of the schema
    that a codec brings.
    """

    name: str
    header: str
    summary: str
    rows: list[KeyRow]
    counters: Mapping[str, str] = MappingProxyType({})
    brings: Mapping[str, FieldSettings] = MappingProxyType({})


def sections() -> list[Section]:
    """Every table of the language, in the order of the reference page."""
    found: list[Section] = []
    for key, field in Config.model_fields.items():
        model = field.annotation
        if isinstance(model, type) and issubclass(model, Settings):
            found.append(Section(key, f"[{key}]", _summary(model), rows(model)))
    found.append(Section("schemas", HEADERS["schemas"], _summary(FieldSettings), rows(FieldSettings)))
    found.append(
        Section("pipelines", HEADERS["pipelines"], _summary(PipelineSettings), rows(PipelineSettings))
    )
    for kind in registry.KINDS:
        for name in registry.names(kind):
            cls = class_of(kind, name)
            keys = [row for row in rows(cls.Config) if row.key != "type"]
            keys.insert(0, KeyRow("type", quoted(name), quoted(name), True, "names the component"))
            counted = {
                f"streamd_{COUNTED_BY[kind]}_{counter}_total": meaning
                for counter, meaning in getattr(cls, "counters", {}).items()
            }
            counted |= {
                f"streamd_{COUNTED_BY[kind]}_{gauge}": f"{meaning} (a gauge)"
                for gauge, meaning in getattr(cls, "gauges", {}).items()
            }
            title = f"{WORDS.get(kind, kind)}.{name}"
            brought = brought_fields(cls) if kind == "codecs" else {}
            found.append(Section(title, HEADERS[kind], _summary(cls), keys, counted, brought))
            found += _tables_of_lists(title, HEADERS[kind], cls.Config)
    return found + [Section(name, header, _summary(model), rows(model)) for name, header, model in _TESTS]


def _tables_of_lists(title: str, header: str, model: type[BaseModel]) -> list[Section]:
    """A section for each key that holds a list of tables, in a table with this header."""
    found: list[Section] = []
    for name, field in model.model_fields.items():
        inner = get_args(field.annotation)[0] if get_origin(field.annotation) is list else None
        if isinstance(inner, type) and issubclass(inner, Settings):
            below = f"[[{header.strip('[]')}.{field.alias or name}]]"
            found.append(Section(f"{title}.{name}", below, _summary(inner), rows(inner)))
    return found


def rows(model: type[BaseModel], prefix: str = "") -> list[KeyRow]:
    """The keys of a table. The keys of a nested table are dotted and in its place."""
    found: list[KeyRow] = []
    for name, field in model.model_fields.items():
        key = prefix + (field.alias or name)
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, Settings):
            found += rows(inner, f"{key}.")
            continue
        default = None if field.default in (PydanticUndefined, None) else _toml(field.default)
        found.append(KeyRow(key, _holds(field), default, field.is_required(), field.description or ""))
    return found


def sample(name: str) -> str:
    """One table as TOML with every key. Keys with a default are comments. Raises `ConfigError`."""
    known = {section.name: section for section in sections()}
    kind, _, component = name.partition(".")
    section = known.get(name) or known.get(f"{WORDS.get(kind, kind)}.{component}")
    if section is None:
        hint = did_you_mean(name, known) or f"; there are {', '.join(known)}"
        raise ConfigError(f"there is no {quoted(name)}{hint}")
    lines = [*_comment(section.summary), section.header]
    for row in section.rows:
        if row.key == "type" and row.default:
            lines.append(f"type = {row.default}")
            continue
        lines += ["", *_comment(f"{row.description} ({row.holds})")]
        if row.required:
            lines.append(f"{row.key} = {_placeholder(row.holds)}")
        elif row.default is not None:
            lines.append(f"# {row.key} = {row.default}")
        else:
            lines.append(f"# {row.key} is not set")
    return "\n".join(lines) + "\n"


def _comment(text: str) -> list[str]:
    return [f"# {line}" for paragraph in text.splitlines() for line in textwrap.wrap(paragraph, 96)]


def markdown() -> str:
    """The reference page."""
    text = [_INTRODUCTION]
    for section in sections():
        summary = re.sub(r"docs/([\w/-]+\.md)", r"[docs/\1](../\1)", section.summary.replace("\n", "\n\n"))
        summary = re.sub(r"(?m)^(- .*\n)\n(?=- )", r"\1", summary)
        text += ["", f"## {section.name}", "", summary, "", f"In the file: `{section.header}`", ""]
        text += ["| key | holds | default | what it does |", "|---|---|---|---|"]
        for row in section.rows:
            default = "required" if row.required else f"`{row.default}`" if row.default else ""
            cells = (f"`{row.key}`", row.holds, default, row.description)
            text.append(_row(cells))
        if section.brings:
            name = section.name.rpartition(".")[2]
            text += [
                "",
                f"With `schema = {quoted(name)}`, and without a table `[schemas.{name}]`, the fields are:",
            ]
            text += ["", "| field | type |", "|---|---|"]
            text += [_row((f"`{key}`", _declared(settings))) for key, settings in section.brings.items()]
        if section.counters:
            text += ["", "| counter | meaning |", "|---|---|"]
            text += [_row((f"`{metric}`", meaning)) for metric, meaning in section.counters.items()]
    return "\n".join(text) + "\n"


def _declared(field: FieldSettings) -> str:
    """The type of a field of a schema, and what else its table says."""
    more = field.model_dump(exclude_defaults=True, exclude={"type", "required"})
    words = [field.type, *(["required"] if field.required else [])]
    return ", ".join(words + [f"{key} = {_toml(value)}" for key, value in more.items()])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _summary(cls: type) -> str:
    """The docstring, one line for each of its paragraphs and for each item of a list."""
    paragraphs = re.sub(r"\n\s*- ", "\n\n- ", (cls.__doc__ or "").strip()).split("\n\n")
    paragraphs = [paragraph for paragraph in paragraphs if paragraph.strip()]
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _holds(field: FieldInfo) -> str:
    bounds = [
        f"{words} {getattr(mark, attribute)}"
        for mark in field.metadata
        for attribute, words in _BOUND_WORDS.items()
        if getattr(mark, attribute, None) is not None
    ]
    parsed = _parsed(field.metadata)
    return parsed or ", ".join([_words(field.annotation), *bounds])


def _words(annotation: Any) -> str:
    """The name of a type in the reference."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        return _parsed(annotation.__metadata__) or _words(inner[0])
    if origin is Literal:
        return _either([quoted(choice) for choice in inner])
    if origin in (Union, UnionType):
        return _either([_words(branch) for branch in inner if branch is not NoneType])
    if origin in (list, tuple, set, frozenset):
        return f"list of {_words(inner[0])}"
    return _TYPE_WORDS.get(annotation, "table")


def _parsed(metadata: Iterable[Any]) -> str | None:
    """The name of a text that one of the parsers of `core.settings` reads, or None."""
    return next(
        (words for mark in metadata if (words := _INPUT_WORDS.get(getattr(mark, "func", None)))), None
    )


def _either(words: list[str]) -> str:
    different = [word for word in dict.fromkeys(words) if (word, "number" in words) != ("whole number", True)]
    return " or ".join([", ".join(different[:-1]), different[-1]] if different[1:] else different)


def _toml(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _placeholder(holds: str) -> str:
    """A sample value for a required key."""
    if holds.startswith('"'):
        return holds.split('"')[1].join('""')
    return next((value for start, value in _PLACEHOLDERS.items() if holds.startswith(start)), '"…"')


_INTRODUCTION = """\
# Configuration reference

Look up a table of the configuration and its keys. `streamd schema sources.udp` prints one table as TOML.
The page is written by `streamd schema --markdown`, and a test compares the two.

- The language is TOML. An unknown key is an error. Durations and sizes have a unit (`5s`, `64MiB`).
- A component is a name, `codec = "json"`, or a table, `codec = { type = "json" }`.
- Files that the configuration names (Python, certificates) are looked for in its folder. Relative paths of
  outputs are below `daemon.state_dir`. `streamd check` shows every path in full.
- The configuration is the file named by `--config`, else by `$STREAMD_CONFIG`, else `config/streamd.toml` in
  the current folder, else `/etc/streamd/streamd.toml`. Files `conf.d/*.toml` in the folder of that file add
  tables ([conf.d](../how-to/reload.md#confd)).
- [Input formats](inputs.md) lists the accepted frames and the accepted spellings of times and numbers."""
