"""A configuration told back: what flows from where to where, and what follows from it."""

from typing import Any

from streamd.cli._drawing import drawing
from streamd.cli._notes import buffers_bytes, notes, size
from streamd.cli._table import escape
from streamd.cli._trial import outputs
from streamd.config import Loaded
from streamd.config.problems import quoted
from streamd.core.settings import ComponentSettings

_COMMON = frozenset({"type", "buffer", "batch", "listen", "codec", "framing", "schema_name", "path"})
"""Fields of sources and sinks that have words of their own here."""


def describe(loaded: Loaded) -> dict[str, Any]:
    """Everything `check` tells, for programs."""
    config = loaded.config
    return {
        "path": str(loaded.path.absolute()),
        "conf_d": [str(file.absolute()) for file in loaded.written.files if file != loaded.path],
        "base_dir": str(loaded.base_dir),
        "state_dir": str(loaded.state_dir),
        "admin": str(config.admin.listen) if config.admin.listen else None,
        "control": str(loaded.control_path) if loaded.control_path else None,
        "outputs": {owner: str(path) for owner, path in outputs(loaded)},
        "buffers_bytes": buffers_bytes(loaded),
        "pipelines": {
            name: {
                "sources": {source: _source(loaded, source) for source in pipeline.sources},
                "steps": [_component(step) for step in pipeline.steps],
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
    """The same for people, in characters that `encoding` has."""
    told = describe(loaded)
    text = [
        f"configuration  {told['path']}",
        *(f"and            {escape(file)}" for file in told["conf_d"]),
        f"files beside   {told['base_dir']}",
        f"state folder   {told['state_dir']}",
        f"admin          {told['admin'] or 'off'}",
        f"control socket {told['control'] or 'off'}",
        f"ledger         {told['outputs']['ledger']}",
        f"dead letters   {told['outputs']['dead_letters']}",
        f"buffers        at most {size(told['buffers_bytes'])} in all",
    ]
    text += drawing(told["pipelines"], encoding)
    if told["notes"]:
        text += ["", "notes", *(f"  {note}" for note in told["notes"])]
    return text


def _component(spec: ComponentSettings) -> str:
    return " ".join([spec.type, *(f"{key} = {quoted(value)}" for key, value in spec.options.items())])


def _source(loaded: Loaded, name: str) -> str:
    settings: Any = loaded.config.sources[name]
    words = [f"{settings.type} {getattr(settings, 'listen', '')}".strip()]
    if settings.cut_by is not None:
        words.append(f"framing {_component(settings.cut_by.framing)}")
    words.append(f"codec {_component(settings.codec)}")
    if settings.schema_name is not None:
        words.append(f"schema {settings.schema_name}")
    return ", ".join([*words, *_others(settings), _buffer(settings, settings.when_full)])


def _sink(loaded: Loaded, name: str) -> str:
    settings: Any = loaded.config.sinks[name]
    path = dict(outputs(loaded)).get(f"sinks.{name}")
    words = [settings.type] if path is None else [f"{settings.type} {path}"]
    if getattr(settings, "schema_name", None) is not None:
        words.append(f"schema {settings.schema_name}")
    return ", ".join([*words, *_others(settings), _buffer(settings, settings.buffer.when_full or "block")])


def _others(settings: Any) -> list[str]:
    """What the file says of the component's own keys."""
    own = settings.model_fields_set - _COMMON
    chosen = settings.model_dump(mode="json", include=own, by_alias=True, exclude_unset=True)
    return [f"{key} = {quoted(value)}" for key, value in chosen.items()]


def _buffer(settings: Any, policy: str) -> str:
    buffer = settings.buffer
    records = f"{buffer.max_records} or " if "max_records" in buffer.model_fields_set else ""
    return f"buffer {records}{size(buffer.max_bytes)} {policy}"
