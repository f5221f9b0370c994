"""The link of one process to the leading process: what it is given at its start, and what it reports."""

import asyncio
import os
import pickle
import socket
import struct
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from streamd.admin.view import View
from streamd.config import Loaded
from streamd.core.books import Books
from streamd.core.errors import ConfigError, EnvironmentFault, StreamdError
from streamd.core.even_share import EvenShare
from streamd.core.settings import Address
from streamd.net.sockets import ListeningSockets, passed
from streamd.processes.alone import Alone
from streamd.processes.open_connections import OpenConnections
from streamd.processes.read_notes import SharedReadNotes, notes_in
from streamd.processes.share import share_of
from streamd.processes.shared_books import SharedBooks
from streamd.processes.shared_numbers import SharedNumbers
from streamd.processes.snapshot import ProcessSnapshot, taken
from streamd.reload.changes import Changes
from streamd.service.announcer import Announcer

log = structlog.get_logger()

VARIABLE = "STREAMD_LINK"
"""The environment variable with the descriptor of the link."""
REPORT_S = 0.25
"""Time between two reports."""
PATIENCE_S = 30.0
"""How long a part of a process may make no progress before it reports that it has stalled."""
_LENGTH = struct.Struct("!Q")


@dataclass(slots=True, frozen=True)
class Given:
    """A listening socket: one of this process alone for datagrams, one of all processes for connections."""

    listen: Address
    kind: socket.SocketKind
    fd: int


@dataclass(slots=True, frozen=True)
class Assignment:
    """The number and the sockets that the leading process gives to a process at its start."""

    number: int
    count: int
    run_id: str
    given: tuple[Given, ...] = ()
    inherited: tuple[int, ...] = ()
    """Descriptors of sockets that systemd holds and all processes share."""
    alone: frozenset[str] = frozenset()
    """Sources that only the first process can read here, although others of their type can be shared."""
    numbers: int | None = None
    """The descriptor of the memory for the numbers of the books, which outlives the process."""
    connections: int | None = None
    """The descriptor of the memory with the open connections of all processes."""
    addresses: tuple[Address, ...] = ()
    """The addresses in that memory."""
    counted_drops: Mapping[str, int] = field(default_factory=dict)
    """For each source of datagrams, how many drops of its socket earlier processes have counted."""


@dataclass(slots=True, frozen=True)
class ReloadRequest:
    """To a process: reload, or only say what a reload would change."""

    dry_run: bool


@dataclass(slots=True, frozen=True)
class StopRequest:
    """To a process: drain and end. `is_last`: no other process will take over its sockets."""

    is_last: bool


@dataclass(slots=True, frozen=True)
class Reloaded:
    """From a process: the changes, or why there are none."""

    changes: Changes = field(default_factory=Changes)
    refusal: str | None = None
    is_config: bool = False
    """Whether the configuration is wrong, and not the host."""


@dataclass(slots=True, frozen=True)
class Report:
    """From a process: its snapshot. The last one has the books after the drain."""

    snapshot: ProcessSnapshot
    is_last: bool = False


def encoded(message: Any) -> bytes:
    """The bytes of a message. Both sides run the same code, so a message is pickled."""
    data = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return _LENGTH.pack(len(data)) + data


async def received(reader: asyncio.StreamReader) -> Any:
    """The next message; None at the end of the link."""
    try:
        (size_bytes,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        data = await reader.readexactly(size_bytes)
    except (asyncio.IncompleteReadError, OSError):
        return None
    return pickle.loads(data)  # noqa: S301 - from a socket pair with a process of the same program


def assigned(environ: MutableMapping[str, str]) -> "Process | None":
    """The link of this process, if it is one of several; None if it runs the whole configuration."""
    fd = environ.pop(VARIABLE, "")
    if not fd.isdecimal():
        return None
    os.set_inheritable(int(fd), False)
    link = socket.socket(fileno=int(fd))
    try:
        (size_bytes,) = _LENGTH.unpack(_exactly(link, _LENGTH.size))
        assignment = pickle.loads(_exactly(link, size_bytes))  # noqa: S301 - as in `received`
    except EnvironmentFault:
        link.close()
        raise
    return Process(link, assignment)


def _exactly(link: socket.socket, size_bytes: int) -> bytes:
    """So many bytes, and none of a message that follows. Raises `EnvironmentFault` at the end of the link."""
    data = bytearray()
    while len(data) < size_bytes:
        part = link.recv(size_bytes - len(data))
        if not part:
            raise EnvironmentFault("the leading process has ended")
        data += part
    return bytes(data)


class Process(Alone):
    """One of several processes. It obeys the leading process, and reports to it until the end."""

    has_others = True
    obeys_hangup = False

    def __init__(self, link: socket.socket, assignment: Assignment) -> None:
        self.number = assignment.number
        self.run_id = assignment.run_id
        self.watchdog_s = PATIENCE_S
        self.keeps_state = self.number == 0  # steps with state get records in one process only
        self._assignment = assignment
        self._numbers = None if assignment.numbers is None else SharedNumbers(assignment.numbers)
        self._connections = (
            None
            if assignment.connections is None
            else OpenConnections(assignment.addresses, assignment.count, assignment.connections)
        )
        self._books = Books()
        self._known_notes: dict[str, SharedReadNotes | None] = {}
        self._link = link
        self._due = asyncio.Event()
        self._view: View | None = None
        self._announcer: Announcer | None = None
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    def books(self) -> Books:
        """Books whose numbers the leading process can read after the end of this one, however it ends."""
        self._books = super().books() if self._numbers is None else SharedBooks(self._numbers)
        return self._books

    def share(self, loaded: Loaded) -> Loaded:
        """The part of a configuration that this process runs."""
        return share_of(loaded, self.number, self._assignment.count, self._assignment.alone)

    def sockets(self) -> ListeningSockets:
        """The listening sockets that were made for this process."""
        given = {}
        for one in self._assignment.given:
            sock = socket.socket(fileno=one.fd)
            sock.set_inheritable(False)
            sock.setblocking(False)
            given[one.listen, one.kind] = sock
        return ListeningSockets(passed(self._assignment.inherited), given, self._notes, self._share_of)

    def _share_of(self, listen: Address) -> EvenShare | None:
        return None if self._connections is None else self._connections.share(listen, self.number)

    def _notes(self, source: str) -> SharedReadNotes | None:
        if self._numbers is None:
            return None
        if source in self._known_notes:  # a reload has opened it anew: this process has counted meanwhile
            notes = self._known_notes[source]
            if notes is not None:
                notes.counted_drops = None
            return notes
        counted_drops = self._assignment.counted_drops.get(source)
        notes = notes_in(self._numbers, self._books.source(source), counted_drops)
        self._known_notes[source] = notes
        return notes

    def runs_beside(self, run_id: str) -> bool:
        """Whether a run of the ledger belongs to another process that may still be alive."""
        family, _, place = run_id.partition("-")
        own_family, _, _ = self.run_id.partition("-")
        return family == own_family and place.partition(".")[0] not in {"", str(self.number)}

    async def attach(self, view: View, announcer: Announcer) -> None:
        """Begin to report what `view` shows."""
        self._view, self._announcer = view, announcer
        self._reader, self._writer = await asyncio.open_connection(sock=self._link)

    def say_ready(self, view: View) -> None:
        """Everything is open: report that at once."""
        log.info("process_ready", run_id=view.run_id, pid=os.getpid())
        self._due.set()

    async def run(self, reload: Callable[[bool], Awaitable[Changes]], stop: Callable[[bool], None]) -> None:
        """Report and obey until cancelled. Without the leading process this one stops too."""
        reporting = asyncio.create_task(self._report())
        try:
            assert self._reader is not None  # noqa: S101 - `attach` comes first
            while (message := await received(self._reader)) is not None:
                if isinstance(message, StopRequest):
                    stop(message.is_last)
                elif isinstance(message, ReloadRequest):
                    self._send(await _outcome(reload, message.dry_run))
            log.error("leader_gone", hint="the leading process has ended: this one stops too")
            stop(True)
            await asyncio.Event().wait()
        finally:
            reporting.cancel()

    async def finish(self, view: View) -> None:
        """Report the books after the end, and close the link."""
        del view
        if self._view is None or self._writer is None:
            return
        self._send(Report(self._snapshot(), is_last=True))
        with suppress(OSError):
            await self._writer.drain()
            self._writer.close()
            await self._writer.wait_closed()

    async def _report(self) -> None:
        while True:
            self._send(Report(self._snapshot()))
            self._due.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(REPORT_S):
                    await self._due.wait()

    def _snapshot(self) -> ProcessSnapshot:
        assert self._view is not None  # noqa: S101 - `attach` comes first
        assert self._announcer is not None  # noqa: S101 - as above
        return taken(self._view, self._announcer.stalled)

    def _send(self, message: Any) -> None:
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encoded(message))


async def _outcome(reload: Callable[[bool], Awaitable[Changes]], dry_run: bool) -> Reloaded:
    try:
        return Reloaded(await reload(dry_run))
    except StreamdError as error:
        return Reloaded(refusal=str(error), is_config=isinstance(error, ConfigError))
