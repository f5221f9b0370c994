"""Sinks that send to a unix socket, made from the settings of the sink `unix`."""

import errno
import os
import socket
import stat
from pathlib import Path
from typing import Any, ClassVar

from streamd.core.contracts import SinkContext
from streamd.core.errors import EnvironmentFault
from streamd.net.confirmed_connection import Broken, ConfirmedConnection
from streamd.net.unix_socket import PATH_BYTES
from streamd.sending.datagram_sink import DatagramSink
from streamd.sending.stream_sink import StreamSink

_MODES = {socket.SOCK_STREAM: "stream", socket.SOCK_DGRAM: "datagram"}
_ADVICE = {
    errno.EACCES: "this user must be allowed to write to it and to enter its folders",
    errno.ENOTDIR: "a part of its folder's path is a file: check the path",
    errno.ELOOP: "its links lead in a circle: check the path",
}


class _ToUnixSocket:
    """What both sinks do with the path."""

    config: Any
    context: SinkContext
    kind: ClassVar[socket.SocketKind]

    @property
    def receiver(self) -> str:
        """The absolute path of the socket."""
        return path_of(self.config, self.context)

    async def open(self) -> None:
        """Check the path. Raises `EnvironmentFault`. The receiver need not be there yet."""
        self.rehearse()

    def rehearse(self) -> list[str]:
        """Check the path. Raises `EnvironmentFault`."""
        check(self.receiver, self.kind, self.context.name)
        return []


class UnixStreamSink(_ToUnixSocket, StreamSink[Any]):
    """Sends over connections to a unix socket."""

    kind = socket.SOCK_STREAM

    async def connect(self) -> ConfirmedConnection:
        """A new connection, made at once or not at all. Raises `Broken`."""
        try:
            return ConfirmedConnection(_connected(self.receiver, self.kind))
        except BlockingIOError:
            raise Broken("connect", "it has not accepted the connections before this one") from None
        except OSError as error:
            raise Broken("connect", error.strerror or str(error)) from None


class UnixDatagramSink(_ToUnixSocket, DatagramSink[Any]):
    """Sends datagrams to a unix socket."""

    kind = socket.SOCK_DGRAM

    async def connect(self) -> socket.socket:
        """A connected socket. Raises `SinkError`."""
        try:
            return _connected(self.receiver, self.kind)
        except OSError as error:
            raise self.fault(error) from None


def path_of(config: Any, context: SinkContext) -> str:
    """The absolute path of the receiver's socket, without following links."""
    path: str = config.path
    return os.path.abspath(context.state_dir / path)  # noqa: PTH100 - pathlib's would follow links


def check(path: str, kind: socket.SocketKind, sink: str) -> None:
    """Raise `EnvironmentFault` if the sink can never send to the path as it is.

    A path without a file or listener is no fault, because the receiver may be started later. The receiver
    sees no connection and no datagram.
    """
    if len(os.fsencode(path)) > PATH_BYTES:
        raise _fault(path, sink, f"its path is longer than {PATH_BYTES} bytes", "choose a shorter one")
    try:
        if not stat.S_ISSOCK(Path(path).stat().st_mode):
            raise _fault(path, sink, "there is a file that is no socket", "check the path")
        found = _kind_of(path)
    except FileNotFoundError:
        return
    except OSError as error:
        advice = _ADVICE.get(error.errno or 0, "check the path")
        raise _fault(path, sink, error.strerror or str(error), advice) from None
    if found not in (None, kind):
        what = f"its receiver has a socket of the kind {_MODES[found]}"
        raise _fault(path, sink, what, f'set mode = "{_MODES[found]}"')


def _kind_of(path: str) -> socket.SocketKind | None:
    """The kind of socket that a process has bound there; None without one. Raises `OSError`.

    A socket for datagrams is tried: a listener for streams refuses it without noticing a connection.
    """
    try:
        _connected(path, socket.SOCK_DGRAM).close()
    except ConnectionRefusedError:
        return None
    except OSError as error:
        if error.errno == errno.EPROTOTYPE:
            return socket.SOCK_STREAM
        raise
    return socket.SOCK_DGRAM


def _connected(path: str, kind: socket.SocketKind) -> socket.socket:
    """Raises `OSError`; `BlockingIOError` if the receiver's queue of connections is full."""
    made = socket.socket(socket.AF_UNIX, kind)
    try:
        made.setblocking(False)
        made.connect(path)
    except OSError:
        made.close()
        raise
    return made


def _fault(path: str, sink: str, what: str, advice: str) -> EnvironmentFault:
    return EnvironmentFault(f"sink {sink}: cannot send to {path}: {what}: {advice}")
