"""Checks whether the places of listeners are free, or held by the daemon or its socket unit."""

import os
import socket
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Literal

from streamd.admin import own_socket
from streamd.config import Loaded
from streamd.core.errors import EnvironmentFault, Taken
from streamd.core.settings import Address
from streamd.host import units
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.running import Running, running
from streamd.host.socket_unit import first_unprivileged_port
from streamd.net.listen import bound_socket, privileged
from streamd.net.unix_socket import UnixSocket

CHECK = "ports"
Holder = Literal["free", "daemon", "socket_unit", "other"]
_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding for each listener. An address is bound and released at once; a unix socket is not made."""
    config = loaded.config
    daemon = running(loaded)
    unit = host.socket_unit(config)
    for name, source in config.sources.items():
        for endpoint in source.endpoints:
            kind, address = endpoint.kind, endpoint.at
            if unit is not None and unit.holds(kind, address):
                yield judge(f"sources.{name}", f"{kind} {address}", "socket_unit", None)
                continue
            if not isinstance(address, Address):
                path, group = _absolute(loaded.state_dir, address), getattr(source, "group", None)
                yield _socket(
                    f"sources.{name}", path, partial(_try_source, name, path, group, loaded), daemon, host
                )
                continue
            fault = _fault(address, _KINDS[kind], f"source {name}")
            is_private = 0 < address.port < first_unprivileged_port()
            if is_private and host.is_service and not host.may_bind_every_port:
                fault = str(privileged(address, _KINDS[kind], f"source {name}"))
            holder: Holder = "free" if fault is None else "other"
            if holder == "other" and daemon.holds((kind, str(address))):
                holder = "daemon"
            yield judge(f"sources.{name}", f"{kind} {address}", holder, fault)
    if isinstance(config.admin.listen, Address):
        fault = _fault(config.admin.listen, socket.SOCK_STREAM, "[admin]")
        held = daemon.holds(("tcp", str(config.admin.listen)))
        holder = "free" if fault is None else "daemon" if held else "other"
        yield judge("[admin]", f"tcp {config.admin.listen}", holder, fault)
    elif config.admin.socket_path is not None:
        path, group = _absolute(loaded.state_dir, config.admin.socket_path), config.admin.group
        yield _socket("[admin]", path, partial(own_socket.rehearse, path, group, "[admin]"), daemon, host)


def judge(owner: str, address: str, holder: Holder, fault: str | None) -> Finding:
    """Judge the holder of an address. `fault` is the reason if it could not be bound."""
    match holder:
        case "daemon":
            return Finding("fine", CHECK, f"{owner}: {address} is held by the running daemon")
        case "socket_unit":
            return Finding("fine", CHECK, f"{owner}: {address} is held by {units.SOCKET.name}")
        case "free":
            return Finding("fine", CHECK, f"{owner}: {address} is free")
    kind, _, at = address.partition(" ")
    command = (
        f"ss -lxp src {quote(at)}" if kind == "unix" else f"ss -lnptu 'sport = :{at.rpartition(':')[2]}'"
    )
    return Finding("problem", CHECK, fault or address, (command,))


def _socket(owner: str, path: Path, rehearse: Callable[[], None], daemon: Running, host: Host) -> Finding:
    """Judge a unix socket, which `rehearse` would refuse to make."""
    try:
        rehearse()
    except Taken as taken:
        holder: Holder = "daemon" if daemon.holds(taken.place) else "other"
        return judge(owner, f"unix {path}", holder, str(taken))
    except EnvironmentFault as fault:
        if host.is_service and os.geteuid() != 0:
            return Finding("unknown", CHECK, f"{fault}; run as root to judge what the service's user may do")
        return Finding("problem", CHECK, str(fault))
    return judge(owner, f"unix {path}", "free", None)


def _try_source(name: str, path: Path, group: str | None, loaded: Loaded) -> None:
    """Raises what making the socket of a source would. The daemon makes no other folder than its own."""
    UnixSocket.rehearse(
        path,
        socket.SOCK_STREAM,
        group=group,
        owner=f"source {name}",
        made_folder=path.parent == _absolute(loaded.state_dir, ""),
    )


def _absolute(state_dir: Path, path: str) -> Path:
    return Path(os.path.abspath(state_dir / path))  # noqa: PTH100 - pathlib's would follow links


def _fault(address: Address, kind: socket.SocketKind, owner: str) -> str | None:
    try:
        sock, _ = bound_socket(address, kind, owner)
    except EnvironmentFault as fault:
        return str(fault)
    sock.close()
    return None
