"""A configuration told back: what flows from where to where, and what follows from it."""

import os
import resource
from typing import Any

from streamd.cli._trial import outputs
from streamd.config import Loaded, groups
from streamd.config.problems import quoted
from streamd.config.tables import is_loopback
from streamd.core.settings import Address, ComponentSettings

_COMMON = frozenset({"type", "buffer", "batch", "listen", "codec", "framing", "schema_name", "path"})
"""Fields of sources and sinks that have words of their own here."""


def describe(loaded: Loaded) -> dict[str, Any]:
    """Everything `check` tells, for programs."""
    config = loaded.config
    return {
        "path": str(loaded.path and loaded.path.absolute()),
        "base_dir": str(loaded.base_dir),
        "state_dir": str(loaded.state_dir),
        "admin": str(config.admin.listen) if config.admin.listen else None,
        "outputs": {owner: str(path) for owner, path in outputs(loaded)},
        "buffers_bytes": buffers_bytes(loaded),
        "pipelines": {
            name: {
                "sources": {source: _source(loaded, source) for source in pipeline.sources},
                "steps": [_component(step) for step in pipeline.steps],
                "sinks": {
                    sink.name: _sink(loaded, sink.name)
                    + (f", where {quoted(sink.where)}" if sink.where is not None else "")
                    for sink in pipeline.sink_references
                },
            }
            for name, pipeline in config.pipelines.items()
        },
        "notes": notes(loaded),
    }


def lines(loaded: Loaded) -> list[str]:
    """The same for people."""
    told = describe(loaded)
    text = [
        f"configuration  {told['path']}",
        f"files beside   {told['base_dir']}",
        f"state folder   {told['state_dir']}",
        f"admin          {told['admin'] or 'off'}",
        f"ledger         {told['outputs']['ledger']}",
        f"dead letters   {told['outputs']['dead_letters']}",
        f"buffers        at most {size(told['buffers_bytes'])} in all",
    ]
    for name, pipeline in told["pipelines"].items():
        text += ["", f"pipeline {name}"]
        text += [f"  from {source}: {words}" for source, words in pipeline["sources"].items()]
        text += [f"  step {number}: {step}" for number, step in enumerate(pipeline["steps"])]
        text += [f"  into {sink}: {words}" for sink, words in pipeline["sinks"].items()]
    if told["notes"]:
        text += ["", "notes", *(f"  {note}" for note in told["notes"])]
    return text


def notes(loaded: Loaded) -> list[str]:
    """What is allowed and yet may surprise."""
    config = loaded.config
    found: list[str] = []
    for name, source in config.sources.items():
        address = getattr(source, "listen", None)
        is_open = isinstance(address, Address) and not is_loopback(address.host)
        if is_open and not getattr(source, "allow", ()):
            found.append(f"sources.{name}: everybody who reaches {address} may send; `allow` would say who")
        if source.type == "udp" and source.buffer.when_full == "block":
            found.append(f"sources.{name}: udp senders cannot wait; with block the kernel drops what comes")
    used: set[str] = set()
    together = {name: group for group in groups(config) for name in group}
    for name, pipeline in config.pipelines.items():
        used |= set(pipeline.sinks)
        waiting = [source for source in pipeline.sources if config.sources[source].when_full == "block"]
        dropping = [source for source in pipeline.sources if source not in waiting]
        for sink in pipeline.sinks:
            if (config.sinks[sink].buffer.when_full or "block") != "block":
                continue
            stopped = [f"the senders of {', '.join(waiting)}"] if waiting else []
            stopped += [f"{', '.join(dropping)}, which then drops"] if dropping else []
            stopped += [f"{other}" for other in pipeline.sinks if other != sink]
            stopped += [
                f"pipeline {other}, which shares a source" for other in together[name] if other != name
            ]
            found.append(
                f"sinks.{sink} blocks: while it is full, pipeline {name} stops: {'; '.join(stopped)}"
            )
    found += [f"sinks.{name}: no pipeline writes to it" for name in config.sinks if name not in used]
    found += _writable_by_others(loaded)
    connections = sum(getattr(source, "max_connections", 0) for source in config.sources.values())
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if connections > files:
        found.append(f"sources take {connections:,} connections in all, this host's limit is {files:,} files")
    memory_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if buffers_bytes(loaded) > memory_bytes // 2:
        found.append(f"full buffers take more than half of this host's memory ({size(memory_bytes)})")
    return found


def _writable_by_others(loaded: Loaded) -> list[str]:
    """Python files that somebody else could change: what is in them runs as this daemon."""
    found: list[str] = []
    for name, pipeline in loaded.config.pipelines.items():
        for number, step in enumerate(pipeline.steps):
            place, _, _ = str(step.options.get("function", "")).rpartition(":")
            if step.type != "python" or not place.endswith(".py"):
                continue
            path = loaded.base_dir / place
            about = path.stat()
            if about.st_mode & 0o022 or about.st_uid not in (0, os.getuid()):
                found.append(
                    f"pipelines.{name}.steps[{number}]: others than this user may change {path}, and what is"
                    " in it runs as the daemon"
                )
    return found


def buffers_bytes(loaded: Loaded) -> int:
    """The most that all buffers may hold."""
    config = loaded.config
    return sum(
        buffer.max_bytes
        for buffer in (
            *(source.buffer for source in config.sources.values()),
            *(sink.buffer for sink in config.sinks.values()),
        )
    )


def size(size_bytes: int) -> str:
    """`64 MiB`."""
    number, unit = float(size_bytes), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):  # noqa: B007 - the last one tried is the answer
        if number < 1024:  # noqa: PLR2004 - that is what these units are
            break
        number /= 1024
    return f"{number:.4g} {unit}"


def _component(spec: ComponentSettings) -> str:
    return " ".join([spec.type, *(f"{key} = {quoted(value)}" for key, value in spec.options.items())])


def _source(loaded: Loaded, name: str) -> str:
    settings: Any = loaded.config.sources[name]
    words = [f"{settings.type} {getattr(settings, 'listen', '')}".strip()]
    if hasattr(settings, "framing"):
        words.append(f"framing {_component(settings.framing)}")
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
    return f"buffer {buffer.max_records} or {size(buffer.max_bytes)}, when full {policy}"
