"""The installed socket unit, compared with the listeners of a configuration."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.config import Config
from streamd.core.settings import Address, parse_address
from streamd.host import units
from streamd.net.listen import OwnSockets, place_of

_TYPES = {"ListenDatagram": "udp", "ListenStream": "tcp"}
_Key = tuple[str, Address]


@dataclass(frozen=True, slots=True)
class SocketUnit:
    """`held` and `missing` are listeners of the configuration. `unused` are addresses without a source."""

    held: list[units.Listener]
    missing: list[units.Listener]
    unused: list[_Key]

    def holds(self, type_: str, address: Address | str) -> bool:
        """Whether systemd has bound the address, so that no other process can."""
        return any((one.type, str(one.address)) == (type_, str(address)) for one in self.held)

    def describe(self) -> dict[str, Any]:
        """The comparison as values for JSON."""
        return {
            "path": str(units.SOCKET),
            "held": {one.source: str(one.address) for one in self.held},
            "missing": {one.source: str(one.address) for one in self.missing},
            "unused": [f"{type_} {address}" for type_, address in self.unused],
        }

    def lines(self) -> list[str]:
        """The comparison as lines for people."""
        again = "`streamd install-service` rewrites the unit"
        text = [f"held by {units.SOCKET.name}, also while streamd does not run"]
        text += [f"  source {one.source}: {one.type} {one.address}" for one in self.held]
        text += [
            f"  not source {one.source}: {one.type} {one.address}: {_who_binds(one.address)}; {again}"
            for one in self.missing
        ]
        text += [f"  {type_} {address}: no source listens there; {again}" for type_, address in self.unused]
        return text


def _who_binds(address: Address) -> str:
    if address.port >= first_unprivileged_port():
        return "the service binds it itself"
    return "the service may not bind it, because its port is privileged"


def first_unprivileged_port() -> int:
    """The lowest port that any user may bind."""
    try:
        return int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text())
    except (OSError, ValueError):
        return 1024


def installed(
    config: Config, path: Path, service: Path = units.SERVICE, unit: Path = units.SOCKET
) -> SocketUnit | None:
    """The socket unit of the service that runs the configuration at `path`, or None."""
    if not unit.exists() or f"--config {units.exec_word(path)}\n" not in _text(service):
        return None
    bound = _bound(_text(unit))
    wanted = {(one.type, one.address): one for one in units.listeners(config)}
    return SocketUnit(
        held=[one for key, one in wanted.items() if key in bound],
        missing=[one for key, one in wanted.items() if key not in bound],
        unused=[key for key in bound if key not in wanted],
    )


def _text(unit: Path) -> str:
    return units.unit_text(unit, units.IN_RUN / unit.name)


def _bound(text: str) -> list[_Key]:
    found: list[_Key] = []
    for line in text.splitlines():
        name, _, value = line.partition("=")
        value = value.strip()
        if name in _TYPES and not value:  # removes the addresses before it, of all types
            found.clear()
        elif name in _TYPES:
            try:
                address = parse_address(f"[::]:{value}" if value.isdigit() else value)
            except ValueError:  # a unix socket: no source uses one from systemd
                continue
            found.append((_TYPES[name], address))
    return found


class UnitSockets(OwnSockets):
    """Rehearses listeners as the service would open them. It gets some sockets from the socket unit."""

    def __init__(self, unit: SocketUnit) -> None:
        self._unit = unit

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raises the errors that `take` would raise in the service."""
        if not self._unit.holds(*place_of(listen, kind)):
            super().rehearse(listen, kind, owner)
