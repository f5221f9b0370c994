"""Checks between tables: unknown or repeated names, and addresses and paths that two tables use."""

import os
import re
from collections.abc import Callable, Iterable
from typing import Any

from streamd.config import brought_schemas
from streamd.config.problems import Place, Problem, did_you_mean, quoted
from streamd.config.tables import CONTROL_OFF, AdminSettings
from streamd.config.validation import Parts
from streamd.core.listed import listed
from streamd.core.schema import Schema
from streamd.core.settings import Address, Settings, SinkOutput, SinkSettings

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
STATE_FILE = "state.db"
"""The file of the steps' state, below state_dir."""
LEDGER_NAMES = ("ledger", "ledger_summary", "ledger_sinks", "completeness", "quality", "quality_now")
"""The tables and views of the ledger in its file."""


def check(parts: Parts, problems: list[Problem]) -> dict[str, Schema]:
    """Add the faults between tables to `problems`. Returns the schemas without a fault.

    Schemas that codecs bring are added to `parts`.
    """
    for kind in ("schemas", "sources", "pipelines", "sinks"):
        problems += [
            Problem((kind, name), "a name is made of letters, digits, _ and -, at most 64 of them")
            for name in getattr(parts, kind)
            if not _NAME.fullmatch(name)
        ]
    brought_schemas.add(parts)
    schemas = _schemas(parts, problems)
    _pipelines(parts, problems)
    _sources(parts, problems)
    _sinks(parts, problems)
    return schemas


def _schemas(parts: Parts, problems: list[Problem]) -> dict[str, Schema]:
    built: dict[str, Schema] = {}
    for name, fields in parts.schemas.items():
        good = {key: settings for key, settings in fields.items() if settings is not None}
        if len(good) < len(fields):
            continue
        try:
            built[name] = Schema(name, good)
        except ValueError as error:
            problems.append(Problem(("schemas", name), str(error)))
    return built


def _unknown(word: str, known: Iterable[str], kind: str, place: Place) -> list[Problem]:
    known = list(known)
    if word in known:
        return []
    hint = (
        did_you_mean(word, known)
        or did_you_mean(word.rpartition(".")[2], known)
        or (f"; there are {listed(known)}" if known else "; there are none")
    )
    return [Problem(place, f"there is no {kind} {quoted(word)}{hint}")]


def _pipelines(parts: Parts, problems: list[Problem]) -> None:
    if not parts.pipelines:
        problems.append(Problem(("pipelines",), "there is no pipeline, so no record would be processed"))
    read: set[str] = set()
    for name, pipeline in parts.pipelines.items():
        if pipeline is None:
            continue
        for number, source in enumerate(pipeline.sources):
            place: Place = ("pipelines", name, "sources", number)
            problems += _unknown(source, parts.sources, "source", place)
            read.add(source)
            if source in pipeline.sources[:number]:
                problems.append(Problem(place, f"{quoted(source)} is named twice"))
        for number, sink in enumerate(pipeline.sinks):
            place = ("pipelines", name, "sinks", number)
            problems += _unknown(sink, parts.sinks, "sink", place)
            if sink in pipeline.sinks[:number]:
                problems.append(Problem(place, f"{quoted(sink)} is named twice"))
    if all(parts.pipelines.values()):  # a faulty pipeline might name the source
        problems += [
            Problem(("sources", name), "no pipeline reads it")
            for name in parts.sources
            if parts.pipelines and name not in read
        ]


def _sources(parts: Parts, problems: list[Problem]) -> None:
    state_dir = getattr(parts.plain.get("daemon"), "state_dir", "")
    listeners = _own_listeners(parts, state_dir, problems)
    for name, source in parts.sources.items():
        if source is None:
            continue
        place: Place = ("sources", name)
        settings: Any = source
        if settings.schema_name is not None:
            problems += _unknown(settings.schema_name, parts.schemas, "schema", (*place, "schema"))
        max_frame = getattr(settings, "max_frame", 0)
        if settings.buffer.max_bytes < max_frame:
            text = f"{settings.buffer.max_bytes} bytes cannot hold one frame of max_frame, {max_frame} bytes"
            problems.append(Problem((*place, "buffer", "max_bytes"), text))
        for endpoint in settings.endpoints:
            for protocol, other, owner in listeners:
                if protocol == endpoint.kind and _collide(endpoint.at, other, state_dir):
                    text = f"{endpoint.kind} {endpoint.at} is taken by {owner}"
                    problems.append(Problem((*place, endpoint.key), text))
                    break
            listeners.append((endpoint.kind, endpoint.at, f"sources.{name}"))


def _own_listeners(
    parts: Parts, state_dir: str, problems: list[Problem]
) -> list[tuple[str, Address | str, str]]:
    """The admin address and the control socket, each with its protocol and its table."""
    found: list[tuple[str, Address | str, str]] = []
    control = getattr(parts.plain.get("control"), "path", CONTROL_OFF)
    if control != CONTROL_OFF:
        found.append(("unix", control, "control"))
    admin = parts.plain.get("admin")
    if not isinstance(admin, AdminSettings) or admin.listen is None:
        return found
    path = admin.socket_path
    if path is None:
        return [("tcp", admin.listen, "admin"), *found]
    if control != CONTROL_OFF and _collide(path, control, state_dir):
        problems.append(Problem(("admin", "listen"), f"unix {path} is taken by control"))
    return [("unix", path, "admin"), *found]


def _collide(one: Address | str, other: Address | str, state_dir: str) -> bool:
    """Whether only one of two sockets can be bound.

    That is so for the same path, and for the same port with the same host or with a wildcard host.
    """
    if not isinstance(one, Address) or not isinstance(other, Address):
        paths = [os.path.realpath(os.path.join(state_dir, str(path))) for path in (one, other)]  # noqa: PTH118 - "" is a folder here
        return paths[0] == paths[1]
    if one.port != other.port or one.port == 0:
        return False
    if one.host == other.host:
        return True
    if "::" in (one.host, other.host):  # also binds IPv4
        return True
    return "0.0.0.0" in (one.host, other.host) and ":" not in one.host + other.host  # noqa: S104 - not bound here


def _sinks(parts: Parts, problems: list[Problem]) -> None:
    def resolved(path: str) -> str:
        return os.path.realpath(os.path.join(getattr(parts.plain.get("daemon"), "state_dir", ""), path))  # noqa: PTH118 - "" is a folder here

    ledger, dead_letters = (getattr(parts.plain.get(key), "path", None) for key in ("ledger", "dead_letters"))
    if ledger and dead_letters and resolved(ledger) == resolved(dead_letters):
        text = "the ledger is in this file; dead letters need their own file, because max_size limits it"
        problems.append(Problem(("dead_letters", "path"), text))
    tables: dict[tuple[str, str], str] = {}
    problems += [
        Problem(("sinks", name, "path"), "the state of steps is in this file, below state_dir")
        for name, sink in parts.sinks.items()
        if resolved(getattr(sink, "path", None) or "") == resolved(STATE_FILE)
    ]
    problems += _plain_files(parts, resolved)
    for name, sink in parts.sinks.items():
        place: Place = ("sinks", name)
        settings: Any = sink
        schema = getattr(settings, "schema_name", None)
        if schema is not None:
            problems += _unknown(schema, parts.schemas, "schema", (*place, "schema"))
        for output in _outputs(sink, "database", "file"):
            path, table = resolved(output.at), output.table
            if dead_letters and path == resolved(dead_letters):
                text = (
                    "the dead letters are in this file; they need their own file, because max_size limits it"
                )
                problems.append(Problem((*place, output.key), text))
            if output.kind != "database":
                continue
            if ledger and path == resolved(ledger) and table.lower() in LEDGER_NAMES:
                problems.append(Problem((*place, "table"), f"the ledger has {quoted(table)} in this file"))
            first = tables.setdefault((path, table.lower()), name)  # SQLite compares names without case
            if first != name:
                problems.append(
                    Problem((*place, "table"), f"sinks.{first} writes {quoted(table)} in the same file")
                )


def _outputs(sink: Settings | None, *kinds: str) -> list[SinkOutput]:
    return [one for one in sink.outputs if one.kind in kinds] if isinstance(sink, SinkSettings) else []


def _plain_files(parts: Parts, resolved: Callable[[str], str]) -> list[Problem]:
    """Problems of sinks that append lines to a file that another sink or a database uses."""
    ledger = getattr(parts.plain.get("ledger"), "path", None)
    databases = {resolved(ledger): "the ledger"} if ledger else {}
    lines: dict[str, str] = {}
    for name, sink in parts.sinks.items():
        for output in _outputs(sink, "database"):
            databases.setdefault(resolved(output.at), f"sinks.{name}")
    found: list[Problem] = []
    for name, sink in parts.sinks.items():
        for output in _outputs(sink, "file"):
            path = resolved(output.at)
            owner = databases.get(path) or lines.setdefault(path, f"sinks.{name}")
            if owner != f"sinks.{name}":
                found.append(Problem(("sinks", name, output.key), f"{owner} writes this file"))
    return found
