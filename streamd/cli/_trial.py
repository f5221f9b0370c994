"""What `check` tries on this host: addresses are bound, folders and files looked at. Nothing is made."""

import os
import socket
from pathlib import Path

from streamd import registry
from streamd.cli._running import listening
from streamd.cli._socket_unit import SocketUnit
from streamd.config import Loaded
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address
from streamd.core.tls_files import MissingCredential
from streamd.sinks._tls import Tls, TlsSettings
from streamd.sources._listen import bound_socket
from streamd.storage.files import fault_of

_SOCKET_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def faults(loaded: Loaded, socket_unit: SocketUnit | None = None) -> list[str]:
    """What this host would refuse now: ports, folders, files that are no databases. Nothing is made.

    Ports that the socket unit holds are not tried, and those that the running daemon of this configuration
    holds are no faults: a reload keeps them.
    """
    found: list[str] = []
    running = None
    for name, source in loaded.config.sources.items():
        address = getattr(source, "listen", None)
        if source.type in _SOCKET_KINDS and isinstance(address, Address):
            if socket_unit is not None and socket_unit.holds(source.type, address):
                continue
            taken = _bind(address, _SOCKET_KINDS[source.type], f"source {name}")
            if taken:
                running = running or listening(loaded)
            if running is None or not running.holds(name, address):
                found += taken
        found += _unfit_files(loaded, name)
    for name, sink in loaded.config.sinks.items():
        found += _unfit_tls(loaded, name, getattr(sink, "tls", TlsSettings()))
    if loaded.config.admin.listen is not None:
        taken = _bind(loaded.config.admin.listen, socket.SOCK_STREAM, "[admin]")
        if taken and not (running or listening(loaded)).ports:  # its own, as far as can be known
            found += taken
    plain = {f"sinks.{name}" for name, sink in loaded.config.sinks.items() if not hasattr(sink, "table")}
    for path, owner in {path: owner for owner, path in outputs(loaded)}.items():
        found += _unwritable(path, database=owner not in plain)
    return found


def outputs(loaded: Loaded) -> list[tuple[str, Path]]:
    """Every file the daemon would write, absolute, and who writes it."""
    config = loaded.config
    named = [("ledger", config.ledger.path), ("dead_letters", config.dead_letters.path)]
    named += [(f"sinks.{name}", sink.path) for name, sink in config.sinks.items() if hasattr(sink, "path")]
    return [(owner, loaded.state_dir / path) for owner, path in named]


def _bind(address: Address, kind: socket.SocketKind, owner: str) -> list[str]:
    """Bind and let go at once, without listening: nobody can connect to a trial."""
    try:
        sock, _ = bound_socket(address, kind, owner)
    except EnvironmentFault as fault:
        return [str(fault)]
    sock.close()
    return []


def _unfit_files(loaded: Loaded, name: str) -> list[str]:
    """What is wrong with the certificates of a source; the service's credentials are not here to be read."""
    source = loaded.config.sources[name]
    try:
        registry.load("sources", source.type).read_files(source, loaded.base_dir)
    except MissingCredential:
        return []
    except EnvironmentFault as fault:
        return [f"source {name}: {fault}"]
    return []


def _unfit_tls(loaded: Loaded, sink: str, settings: TlsSettings) -> list[str]:
    """The same of a sink."""
    try:
        Tls.read(settings, loaded.base_dir)
    except MissingCredential:
        return []
    except EnvironmentFault as fault:
        return [f"sink {sink}: {fault}"]
    return []


def _unwritable(path: Path, *, database: bool) -> list[str]:
    """Why the daemon could not write `path`."""
    try:
        is_there = path.exists()
        folder = next(parent for parent in path.parents if parent.exists())
    except PermissionError:
        return [f"{path} is not for this user: run check as the user of the service, or as root"]
    if is_there:
        if not path.is_file() or not os.access(path, os.W_OK):
            return [f"{path} is not a file this user may write"]
        fault = fault_of(path) if database else None
        return [f"{path} is no sound database ({fault}); a start would set it aside"] if fault else []
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        return [f"{path} cannot be made: {folder} is not a folder this user may write"]
    return []
