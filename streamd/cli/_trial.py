"""What `check` tries without running anything: components are built, addresses bound, folders looked at."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streamd import registry
from streamd.config import Loaded, component
from streamd.config.problems import Place, Problem
from streamd.core.contracts import SinkContext, StepContext
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.core.settings import Address, StreamSettings
from streamd.dead_letters import DeadLetters
from streamd.sources._listen import bound_socket
from streamd.storage.databases import Databases
from streamd.storage.files import fault_of

_SOCKET_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def build(loaded: Loaded) -> list[Problem]:
    """Make every codec, framer, step and sink once: expressions compile, Python is imported, columns fit."""
    problems: list[Problem] = []
    config = loaded.config
    for name, source in config.sources.items():
        with _told(problems, ("sources", name, "codec")):
            cls, options = component("codecs", source.codec)
            cls(options, loaded.schemas.get(source.schema_name or ""))
        if isinstance(source, StreamSettings):
            with _told(problems, ("sources", name, "framing")):
                cls, options = component("framing", source.framing)
                cls(options, source.max_frame, source.oversize)
    for name in config.pipelines:
        _build_steps(loaded, name, problems)
    databases = Databases()
    letters = DeadLetters(loaded.state_dir / config.dead_letters.path, config.dead_letters, databases)
    for name, sink in config.sinks.items():
        with _told(problems, ("sinks", name)):
            context = SinkContext(name, loaded.schemas, loaded.state_dir, letters, databases)
            registry.load("sinks", sink.type)(sink, context)
    return problems


def _build_steps(loaded: Loaded, pipeline: str, problems: list[Problem]) -> None:
    settings = loaded.config.pipelines[pipeline]
    names = {loaded.config.sources[source].schema_name for source in settings.sources}
    schema = loaded.schemas.get(names.pop() or "") if len(names) == 1 else None
    fields = frozenset(schema.fields) if schema is not None else None
    for number, spec in enumerate(settings.steps):
        with _told(problems, ("pipelines", pipeline, "steps", number)):
            cls, options = component("processors", spec)
            context = StepContext(f"{spec.type}[{number}]", pipeline, schema, loaded.base_dir, fields)
            fields = cls(options, context).fields_after()


@contextmanager
def _told(problems: list[Problem], place: Place) -> Iterator[None]:
    try:
        yield
    except (ConfigError, ValueError) as error:
        problems.append(Problem(place, str(error)))


def faults(loaded: Loaded) -> list[str]:
    """What this host would refuse now: ports, folders, files that are no databases. Nothing is made."""
    found: list[str] = []
    for name, source in loaded.config.sources.items():
        address = getattr(source, "listen", None)
        if source.type in _SOCKET_KINDS and isinstance(address, Address):
            found += _bind(address, _SOCKET_KINDS[source.type], name)
    if loaded.config.admin.listen is not None:
        found += _bind(loaded.config.admin.listen, socket.SOCK_STREAM, "admin")
    for path in {path: None for _, path in outputs(loaded)}:
        found += _unwritable(path)
    return found


def outputs(loaded: Loaded) -> list[tuple[str, Path]]:
    """Every file the daemon would write, absolute, and who writes it."""
    config = loaded.config
    named = [("ledger", config.ledger.path), ("dead_letters", config.dead_letters.path)]
    named += [(f"sinks.{name}", sink.path) for name, sink in config.sinks.items() if hasattr(sink, "path")]
    return [(owner, loaded.state_dir / path) for owner, path in named]


def _bind(address: Address, kind: socket.SocketKind, name: str) -> list[str]:
    """Bind and let go at once, without listening: nobody can connect to a trial."""
    try:
        sock, _ = bound_socket(address, kind, name)
    except EnvironmentFault as fault:
        return [str(fault)]
    sock.close()
    return []


def _unwritable(path: Path) -> list[str]:
    """Why the daemon could not write `path`."""
    if path.exists():
        if not path.is_file() or not os.access(path, os.W_OK):
            return [f"{path} is not a file this user may write"]
        fault = fault_of(path)
        return [f"{path} is no sound database ({fault}); a start would set it aside"] if fault else []
    folder = next(parent for parent in path.parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return [f"{path} cannot be made: {folder} is not a folder this user may write"]
    return []
