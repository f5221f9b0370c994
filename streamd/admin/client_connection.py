"""One connection of the admin server, with limits for the bytes it sends and the time of each part."""

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal, cast

if TYPE_CHECKING:
    from streamd.admin.exchange import Exchange

MAX_REQUEST_BYTES = 16 * 1024
"""The limit for the request line and headers together. A body of up to this size is read and dropped."""
LINGER_S = 1.0
"""How long the client has to close first. A close while it still sends may destroy the answer under way."""
STREAM_BUFFER_BYTES = 8 * 1024
"""The send buffer of a stream, which the kernel doubles. A small one holds few outdated events."""

_PIECE_BYTES = 4096
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nContent-Type: text/plain; charset=utf-8\r\n"
    b"Content-Length: 52\r\nConnection: close\r\n\r\nthe request line and the headers exceed 16384 bytes\n"
)

Parser = tuple[asyncio.Protocol, set[asyncio.Task[None]]]
"""Reads a request and writes the answer. The task that answers is added to the set after the headers."""
MakeParser = Callable[["ClientConnection"], Parser]


class ClientConnection(asyncio.Protocol):
    """Limits one connection and passes its one request to the HTTP parser of a library.

    The parser has no limits for time, for the bytes of a request or for connections, and it closes a socket
    while data still arrives. This class enforces these limits and closes the socket safely.
    """

    def __init__(self, exchange: "Exchange") -> None:
        self.is_stream = False
        """Whether the answer has no end. The client may disconnect at any time."""
        self.is_for_present_clients = False
        """Whether work ends when the client closes its side, though it might still read an answer."""
        self.tasks: set[asyncio.Task[None]] = set()
        self.transport: asyncio.Transport
        self._exchange = exchange
        self._state: Literal["reading", "answering", "written", "sent", "closed"] = "reading"
        self._parser: asyncio.Protocol | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._held = b""
        self._room_bytes = MAX_REQUEST_BYTES
        self._is_parsing = False
        self._is_write_paused = False
        self._has_half_closed = False

    @property
    def is_closing(self) -> bool:
        """Whether the parser must write nothing more."""
        return self._state not in {"reading", "answering"} or self.transport.is_closing()

    def try_stream(self) -> bool:
        """Let the answer have no end. Returns False if there are too many such answers."""
        self.is_stream = self._exchange.has_room_for_a_stream()
        if self.is_stream:
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, STREAM_BUFFER_BYTES)
        return self.is_stream

    def take_time(self) -> None:
        """Let the answer begin later than the server allows otherwise."""
        if self._state == "answering" and not self._is_write_paused:
            self._unlimit()

    def begin(self, make_parser: MakeParser) -> None:
        """Parse the bytes that waited for a parser, and read on."""
        if self._parser is not None or not self._held or self.is_closing:
            return
        self._parser, self.tasks = make_parser(self)
        self._parser.connection_made(_Guarded(self))
        self._limit(self._exchange.timeout_s)
        self.transport.resume_reading()
        self._parse(self._parser, self._held)
        self._held = b""

    def write(self, data: bytes) -> None:
        """Write a part of the answer, for the parser. During a call of the parser it is a refusal."""
        if self.is_closing:
            return
        if self._is_parsing:
            self._refuse()
        elif not self._is_write_paused:
            self._unlimit()
        self.transport.write(data)

    def finish(self) -> None:
        """Close the connection after all data is sent, for the parser."""
        if not self.is_closing:
            self._state = "written"
            if not self._is_write_paused:
                self._half_close()

    def abort(self) -> None:
        """Close at once."""
        self._state = "closed"
        self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's class is not derived from it
        if not self._exchange.admit(self):
            self.abort()
            return
        self.transport.set_write_buffer_limits(high=0)  # so `resume_writing` is called when all data is sent
        self._limit(self._exchange.timeout_s)

    def data_received(self, data: bytes) -> None:
        if self._state != "reading":
            self._drop(len(data))
        elif self._parser is not None:
            self._parse(self._parser, data)
        else:
            self._held = data
            self._unlimit()  # the time of the import does not count for the client
            self.transport.pause_reading()
            self._exchange.begin(self)

    def eof_received(self) -> bool:
        self._has_half_closed = True
        is_open_end = self.is_stream or self.is_for_present_clients
        return self._state == "written" or (self._state == "answering" and not is_open_end)

    def connection_lost(self, exc: Exception | None) -> None:
        self._unlimit()
        if self._state not in {"sent", "closed"} and not self.is_stream:
            self._exchange.refused["closed"] += 1
        self._state = "closed"
        if self._parser is not None:
            self._parser.connection_lost(exc)
            self._parser = None  # breaks a reference cycle
        for task in self.tasks:  # a running request goes on and counts as a connection until it ends
            task.add_done_callback(lambda _: self._exchange.forget(self))
        if not self.tasks:
            self._exchange.forget(self)

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._limit(self._exchange.timeout_s)
        if self._parser is not None:
            self._parser.pause_writing()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._unlimit()
        if self._parser is not None:
            self._parser.resume_writing()
        if self._state == "written":
            self._half_close()

    def _parse(self, parser: asyncio.Protocol, data: bytes) -> None:
        while data and self._state == "reading":
            piece = data[: min(_PIECE_BYTES, self._room_bytes)]
            if not piece:
                self._refuse()
                self.transport.write(_TOO_LARGE)
                self.finish()
                return
            self._room_bytes -= len(piece)
            self._is_parsing = True
            try:
                parser.data_received(piece)
            except Exception:  # noqa: BLE001 - uvicorn fails where it refuses the body of a HEAD
                self._refuse()
                self.finish()
            self._is_parsing = False
            data = data[len(piece) :]
            if self.tasks and self._state == "reading":
                self._state = "answering"
                self._room_bytes = MAX_REQUEST_BYTES
                self._limit(self._exchange.answer_timeout_s)

    def _refuse(self) -> None:
        if self._state == "reading":
            self._state = "answering"
            self._unlimit()
            self._exchange.refused["request"] += 1
            self._cancel_tasks()  # the headers were valid and the body is not: the task has not started yet

    def _half_close(self) -> None:
        self._state = "sent"
        if self._has_half_closed or self.transport.is_closing():
            self.transport.close()
            return
        with suppress(OSError):  # the client has disconnected
            self.transport.write_eof()
        self._room_bytes = MAX_REQUEST_BYTES
        self.transport.resume_reading()
        self._limit(LINGER_S)

    def _drop(self, size: int) -> None:
        self._room_bytes -= size
        if self._room_bytes > 0:
            return
        if self._state == "sent":
            self.abort()
        else:
            self.transport.pause_reading()

    def _limit(self, seconds: float | None) -> None:
        self._unlimit()
        if seconds is not None:
            self._deadline = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _unlimit(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        if self._state != "sent":  # after the answer is sent, a slow client is no refusal
            self._exchange.refused["timeout"] += 1
            self._cancel_tasks()
        self.abort()

    def _cancel_tasks(self) -> None:
        for task in self.tasks:
            task.cancel()


class _Guarded(asyncio.Transport):
    """The transport that the parser uses. It never pauses reading, so that a disconnect is noticed."""

    def __init__(self, connection: ClientConnection) -> None:
        super().__init__()
        self._connection = connection

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._connection.transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._connection.is_closing

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._connection.write(bytes(data))

    def close(self) -> None:
        self._connection.finish()

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass
