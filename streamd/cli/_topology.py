"""Describes a configuration: its paths, its pipelines with their parts, and notes."""

import os
from typing import Any

from streamd.cli._drawing import drawing
from streamd.config import Loaded
from streamd.config.problems import quoted
from streamd.config.shown import shown_component, shown_options
from streamd.core.credential import Credential
from streamd.core.printable import escape
from streamd.core.settings import ComponentSettings
from streamd.host.notes import buffers_bytes, notes, size
from streamd.host.rehearsal import outputs
from streamd.host.step_files import other_files, python_files

_COMMON = frozenset({"type", "buffer", "batch", "listen", "codec", "framing", "schema_name", "path"})
"""Fields of sources and sinks that are described separately here."""
_TLS_FILES = ("cert", "key", "ca", "client_ca")


def describe(loaded: Loaded) -> dict[str, Any]:
    """The description as values for JSON."""
    config = loaded.config
    return {
        "path": str(loaded.path.absolute()),
        "conf_d": [str(file.absolute()) for file in loaded.written.files if file != loaded.path],
        "base_dir": str(loaded.base_dir),
        "state_dir": str(loaded.state_dir),
        "admin": str(config.admin.listen) if config.admin.listen else None,
        "control": str(loaded.control_path) if loaded.control_path else None,
        "outputs": {owner: str(path) for owner, path in outputs(loaded)},
        "files": _files(loaded),
        "buffers_bytes": buffers_bytes(loaded),
        "pipelines": {
            name: {
                "sources": {source: _source(loaded, source) for source in pipeline.sources},
                "steps": [_component("steps", step) for step in pipeline.steps],
                "sinks": {
                    sink.name: (f"where {quoted(sink.where)}: " if sink.where is not None else "")
                    + _sink(loaded, sink.name)
                    for sink in pipeline.sink_references
                },
            }
            for name, pipeline in config.pipelines.items()
        },
        "notes": notes(loaded),
    }


def lines(loaded: Loaded, encoding: str) -> list[str]:
    """The description as lines for people, in characters that `encoding` has."""
    facts = describe(loaded)
    text = [
        f"configuration  {facts['path']}",
        *(f"and            {escape(file)}" for file in facts["conf_d"]),
        f"files beside   {facts['base_dir']}",
        f"state folder   {facts['state_dir']}",
        f"admin          {facts['admin'] or 'off'}",
        f"control socket {facts['control'] or 'off'}",
        f"ledger         {facts['outputs']['ledger']}",
        f"dead letters   {facts['outputs']['dead_letters']}",
        f"buffers        at most {size(facts['buffers_bytes'])} in all",
    ]
    text += [
        f"{'reads' if not place else '':<15}{escape(line)}"
        for place, line in enumerate(_lines(facts["files"]))
    ]
    text += drawing(facts["pipelines"], encoding)
    if facts["notes"]:
        text += ["", "notes", *(f"  {note}" for note in facts["notes"])]
    return text


def _files(loaded: Loaded) -> dict[str, str]:
    """The files that the configuration reads: by the part that names it, the absolute path."""
    config = loaded.config
    found: dict[str, str] = {}
    for name, source in config.sources.items():
        if source.type == "file":
            found[f"sources.{name}"] = _path_of(loaded, source)
            found[f"sources.{name} position"] = str(loaded.state_dir / "positions" / f"{name}.json")
    for kind, parts in (("sources", config.sources), ("sinks", config.sinks)):
        for name, part in parts.items():
            tls = getattr(part, "tls", None)
            for key in _TLS_FILES:
                if (file := getattr(tls, key, None)) is not None and file != "system":
                    found[f"{kind}.{name} tls.{key}"] = (
                        f"$CREDENTIALS_DIRECTORY/{file.credential}"
                        if isinstance(file, Credential)
                        else str(loaded.base_dir / file)
                    )
    for place, path in (*python_files(loaded), *other_files(loaded)):
        found[place] = str(path)
    return found


def _lines(files: dict[str, str]) -> list[str]:
    width = max(map(len, files), default=0)
    return [f"{owner:<{width}}  {path}" for owner, path in files.items()]


def _path_of(loaded: Loaded, settings: Any) -> str:
    """The path of a source: a unix socket in the state folder, or a file in the configuration's folder."""
    folder = loaded.base_dir if settings.type == "file" else loaded.state_dir
    path: str = settings.path
    return os.path.abspath(folder / path)  # noqa: PTH100 - keeps links as written


def _component(kind: str, spec: ComponentSettings) -> str:
    options = shown_component(kind, spec)
    return " ".join([spec.type, *(f"{key} = {quoted(value)}" for key, value in options.items())])


def _source(loaded: Loaded, name: str) -> str:
    settings: Any = loaded.config.sources[name]
    place = _path_of(loaded, settings) if hasattr(settings, "path") else getattr(settings, "listen", "")
    words = [f"{settings.type} {place}".strip()]
    if settings.cut_by is not None:
        words.append(f"framing {_component('framing', settings.cut_by.framing)}")
    words.append(f"codec {_component('codecs', settings.codec)}")
    if settings.schema_name is not None:
        words.append(f"schema {settings.schema_name}")
    return ", ".join([*words, *_others(loaded, "sources", name), _buffer(settings, settings.when_full)])


def _sink(loaded: Loaded, name: str) -> str:
    settings: Any = loaded.config.sinks[name]
    path = dict(outputs(loaded)).get(f"sinks.{name}")
    words = [settings.type] if path is None else [f"{settings.type} {path}"]
    if getattr(settings, "schema_name", None) is not None:
        words.append(f"schema {settings.schema_name}")
    return ", ".join(
        [*words, *_others(loaded, "sinks", name), _buffer(settings, settings.buffer.when_full or "block")]
    )


def _others(loaded: Loaded, kind: str, name: str) -> list[str]:
    """The component's own keys, as written in the file, without texts that may be secrets."""
    written: dict[str, Any] = loaded.written.document[kind][name]
    options = shown_options(getattr(loaded.config, kind)[name], written)
    return [
        f"{key} = {_toml(value)}" for key, value in options.items() if key not in _COMMON and key != "schema"
    ]


def _toml(value: Any) -> str:
    """The value as an inline table, a list or a text of TOML."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(inner)}" for key, inner in value.items()) + " }"
    return quoted(value)


def _buffer(settings: Any, policy: str) -> str:
    buffer = settings.buffer
    records = f"{buffer.max_records} or " if "max_records" in buffer.model_fields_set else ""
    return f"buffer {records}{size(buffer.max_bytes)} {policy}"
