"""The listening sockets of several processes, which outlive each of them."""

import socket

from streamd.config import Config
from streamd.core.books import Books
from streamd.core.errors import EnvironmentFault
from streamd.core.settings import Address
from streamd.net.listen import bound_socket, try_bound_socket
from streamd.net.receive_buffer import drops_of
from streamd.net.sockets import Key, ListeningSockets
from streamd.processes.link import Given
from streamd.processes.open_connections import OpenConnections
from streamd.processes.refusals import KINDS
from streamd.processes.share import received_by_all


class Listeners:
    """The sockets for all processes and addresses.

    All processes accept connections from one socket, each about the same number (`OpenConnections`). For
    datagrams each process has a socket of its own, and the kernel spreads the senders over them. A process
    that replaces another one gets the same sockets, with the datagrams that wait in them. Sockets of systemd
    (`inherited`) cannot be doubled: only the first process reads datagrams from one, because two readers
    would mix up its counts.
    """

    def __init__(self, inherited: list[socket.socket], count: int) -> None:
        self._inherited = inherited
        self._count = count
        self._made: dict[Key, list[socket.socket]] = {}
        self.alone: set[str] = set()
        """The sources whose datagrams only the first process can read."""
        self.connections = OpenConnections((), count)
        """The open connections of each process, by address."""
        self._drops: dict[int, dict[str, int]] = {number: {} for number in range(count)}

    def open(self, config: Config) -> None:
        """Bind every address. Raises `EnvironmentFault`."""
        known = ListeningSockets(self._inherited)
        wanted = _wanted(config)
        self.connections.close()
        self.connections = OpenConnections(
            [at for at, kind in wanted if kind == socket.SOCK_STREAM], self._count
        )
        for key, name in wanted.items():
            owner = f"source {name}"
            shared = known.inherited(*key, owner)
            if shared is None:
                self._made[key] = self._bound(*key, owner)
            elif key[1] == socket.SOCK_DGRAM:
                self.alone.add(name)
            if key[1] == socket.SOCK_DGRAM:
                for number, sock in enumerate(self._made[key] if shared is None else [shared]):
                    self._drops[number][name] = drops_of(sock)

    def refuse_new(self, config: Config) -> None:
        """Raises `EnvironmentFault` for an address that is not bound: a process cannot get it later."""
        known = ListeningSockets(self._inherited)
        for key, name in _wanted(config).items():
            if key not in self._made and known.inherited(*key, f"source {name}") is None:
                raise EnvironmentFault(
                    f"source {name}: {key[0]} is a new address, and with several processes only a restart"
                    " binds one"
                )

    def given(self, number: int) -> tuple[Given, ...]:
        """The sockets of one process."""
        return tuple(
            Given(*key, sockets[number % len(sockets)].fileno()) for key, sockets in self._made.items()
        )

    def counted_drops(self, number: int) -> dict[str, int]:
        """For each source of datagrams, the drops of the process's socket that are counted already."""
        return dict(self._drops[number])

    def count_drops(self, number: int, books: Books) -> None:
        """Note what the process that has ended had counted, so that the next one counts the others."""
        drops = self._drops[number]
        for name in drops:
            if (book := books.frames.get(name)) is not None:
                drops[name] = (drops[name] + book.counters["kernel_dropped", ""]) % 2**32

    def inherited(self, number: int) -> tuple[int, ...]:
        """The descriptors of systemd's sockets that a process gets: only the first one reads datagrams."""
        return tuple(
            sock.fileno() for sock in self._inherited if number == 0 or sock.type == socket.SOCK_STREAM
        )

    def close(self) -> None:
        """Close the sockets made here. A process that still has one is the last that reads it."""
        for sockets in self._made.values():
            for sock in sockets:
                sock.close()
        self._made = {}
        self.connections.close()

    def _bound(self, listen: Address, kind: socket.SocketKind, owner: str) -> list[socket.socket]:
        if kind == socket.SOCK_STREAM:
            return [bound_socket(listen, kind, owner)[0]]
        if listen.port:  # a shared socket could be bound beside those of another daemon, unnoticed
            try_bound_socket(listen, kind, owner)
        first, address = bound_socket(listen, kind, owner, shared=True)
        at = Address(listen.host, address.port)
        return [first, *(bound_socket(at, kind, owner, shared=True)[0] for _ in range(self._count - 1))]


def _wanted(config: Config) -> dict[Key, str]:
    """The addresses of the sources for which every process receives, with the name of the source."""
    return {
        (endpoint.at, KINDS[endpoint.kind]): name
        for name, source in config.sources.items()
        if name in received_by_all(config)
        for endpoint in source.endpoints
        if isinstance(endpoint.at, Address)
    }
