"""What the installed socket unit holds of a configuration's listeners."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.cli import _units
from streamd.config import Config
from streamd.core.settings import Address, parse_address
from streamd.sources._listen import place_of, try_bound_socket

_TYPES = {"ListenDatagram": "udp", "ListenStream": "tcp"}
_Key = tuple[str, Address]


@dataclass(frozen=True, slots=True)
class SocketUnit:
    """`held` and `missing` are listeners of the configuration, `unused` what no source listens on."""

    held: list[_units.Listener]
    missing: list[_units.Listener]
    unused: list[_Key]

    def holds(self, type_: str, address: Address | str) -> bool:
        """Whether systemd has bound the address, so that nobody else can."""
        return any((one.type, str(one.address)) == (type_, str(address)) for one in self.held)

    def describe(self) -> dict[str, Any]:
        """For programs."""
        return {
            "path": str(_units.SOCKET),
            "held": {one.source: str(one.address) for one in self.held},
            "missing": {one.source: str(one.address) for one in self.missing},
            "unused": [f"{type_} {address}" for type_, address in self.unused],
        }

    def lines(self) -> list[str]:
        """For people."""
        again = "`streamd install-service` writes the unit anew"
        text = [f"held by {_units.SOCKET.name}, also while streamd does not run"]
        text += [f"  source {one.source}: {one.type} {one.address}" for one in self.held]
        text += [
            f"  not source {one.source}: {one.type} {one.address}: the service binds it itself; {again}"
            for one in self.missing
        ]
        text += [f"  {type_} {address}: no source listens there; {again}" for type_, address in self.unused]
        return text


def installed(
    config: Config, path: Path, service: Path = _units.SERVICE, unit: Path = _units.SOCKET
) -> SocketUnit | None:
    """The socket unit of the service that runs the configuration at `path`; None where there is none."""
    try:
        runs = f"--config {_units.exec_word(path)}\n" in service.read_text()
        bound = _bound(unit.read_text())
    except OSError:
        return None
    if not runs:
        return None
    wanted = {(one.type, one.address): one for one in _units.listeners(config)}
    return SocketUnit(
        held=[one for key, one in wanted.items() if key in bound],
        missing=[one for key, one in wanted.items() if key not in bound],
        unused=[key for key in bound if key not in wanted],
    )


def _bound(text: str) -> list[_Key]:
    found = []
    for line in text.splitlines():
        name, _, value = line.partition("=")
        if name in _TYPES:
            try:
                address = parse_address(f"[::]:{value}" if value.isdigit() else value)
            except ValueError:  # a unix socket, which no source takes over
                continue
            found.append((_TYPES[name], address))
    return found


class UnitSockets:
    """What the service would find of the addresses: those of the socket unit are handed to it."""

    def __init__(self, unit: SocketUnit) -> None:
        self._unit = unit

    def rehearse(self, listen: Address, kind: socket.SocketKind, owner: str) -> None:
        """Raises what the service would meet."""
        if not self._unit.holds(*place_of(listen, kind)):
            try_bound_socket(listen, kind, owner)

    def take(self, listen: Address, kind: socket.SocketKind, owner: str) -> tuple[socket.socket, Address]:
        """Nobody takes a socket here."""
        raise NotImplementedError

    def give_back(self, listen: Address, kind: socket.SocketKind) -> bool:
        """Nothing was taken."""
        raise NotImplementedError
