"""Checks whether the addresses of listeners are free, or held by the daemon or its socket unit."""

import socket
from collections.abc import Iterator
from typing import Literal

from streamd.config import Loaded
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address
from streamd.host import units
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.running import running
from streamd.host.socket_unit import first_unprivileged_port
from streamd.net.listen import bound_socket, privileged

CHECK = "ports"
Holder = Literal["free", "daemon", "socket_unit", "other"]
_KINDS = {"udp": socket.SOCK_DGRAM, "tcp": socket.SOCK_STREAM}


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding for each listener. Each address is bound and released at once."""
    config = loaded.config
    daemon = running(loaded)
    unit = host.socket_unit(config)
    for name, source in config.sources.items():
        for endpoint in source.endpoints:
            kind, address = endpoint.kind, endpoint.at
            if not isinstance(address, Address):
                continue
            if unit is not None and unit.holds(kind, address):
                yield judge(f"sources.{name}", f"{kind} {address}", "socket_unit", None)
                continue
            fault = _fault(address, _KINDS[kind], f"source {name}")
            is_private = 0 < address.port < first_unprivileged_port()
            if is_private and host.is_service and not host.may_bind_every_port:
                fault = str(privileged(address, _KINDS[kind], f"source {name}"))
            holder: Holder = "free" if fault is None else "other"
            if holder == "other" and daemon.holds((kind, str(address))):
                holder = "daemon"
            yield judge(f"sources.{name}", f"{kind} {address}", holder, fault)
    if config.admin.listen is not None:
        fault = _fault(config.admin.listen, socket.SOCK_STREAM, "[admin]")
        held = daemon.holds(("tcp", str(config.admin.listen)))
        holder = "free" if fault is None else "daemon" if held else "other"
        yield judge("[admin]", f"tcp {config.admin.listen}", holder, fault)


def judge(owner: str, address: str, holder: Holder, fault: str | None) -> Finding:
    """Judge the holder of an address. `fault` is the reason if it could not be bound."""
    match holder:
        case "daemon":
            return Finding("fine", CHECK, f"{owner}: {address} is held by the running daemon")
        case "socket_unit":
            return Finding("fine", CHECK, f"{owner}: {address} is held by {units.SOCKET.name}")
        case "free":
            return Finding("fine", CHECK, f"{owner}: {address} is free")
    port = address.rpartition(":")[2]
    return Finding("problem", CHECK, fault or address, (f"ss -lnptu 'sport = :{port}'",))


def _fault(address: Address, kind: socket.SocketKind, owner: str) -> str | None:
    try:
        sock, _ = bound_socket(address, kind, owner)
    except EnvironmentFault as fault:
        return str(fault)
    sock.close()
    return None
