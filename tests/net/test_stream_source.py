"""What a source that accepts connections does with each; the sources of these tests are of TCP."""

import asyncio
import errno
import socket
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.framing.newline import Newline
from streamd.net import stream_connection
from streamd.net import stream_source as stream
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def tcp(framing: type[Newline] = Newline, **options: Any) -> Tcp:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0"} | options)

    def new_framer() -> Newline:
        return framing(framing.Config(), config.max_frame, config.oversize)

    return Tcp(config, SourceContext("floor", Counters(), new_framer))


def connect(source: Any) -> socket.socket:
    return socket.create_connection(source.address, timeout=30)


def noted(source: Tcp, counter: str) -> dict[str, int]:
    return {reason: n for (name, reason), n in source.context.counters.items() if name == counter}


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The monotonic clock of every connection."""
    now_mono_s = [100.0]
    for module in (stream, stream_connection):
        monkeypatch.setattr(module, "read_clock", lambda: Now(0.0, now_mono_s[0]))
    monkeypatch.setattr(stream, "SWEEP_S", 3600.0)
    return now_mono_s


def overdue_at(source: Tcp, now_mono_s: float) -> str | None:
    """The timeout by which the only connection would be closed then."""
    (connection,) = source.connections
    return connection._overdue(now_mono_s)


async def test_a_connection_that_gets_no_transport_is_counted_closed_and_forgotten(
    capture: Any, until: Until
) -> None:
    source = tcp(max_connections=1, max_connections_per_sender=1)
    await source.open(capture)
    loop = source._loop

    class OutOfMemory:
        """The loop, while the kernel has no room for another connection."""

        def __getattr__(self, name: str) -> Any:
            return getattr(loop, name)

        async def connect_accepted_socket(self, *_: Any) -> Any:
            raise OSError(errno.ENOBUFS, "no buffer space")

    source._loop = OutOfMemory()  # type: ignore[assignment]  # a loop in all that is used of it
    for count in (1, 2):
        with connect(source) as sock:
            await until(lambda failed=count: noted(source, "connections_refused") == {"failed": failed})  # type: ignore[misc]  # bound now
            assert await asyncio.to_thread(sock.recv, 1) == b""
    source._loop = loop
    with connect(source) as sock:
        sock.sendall(b"in\n")
        await until(lambda: capture.payloads == [b"in"])
    await until(lambda: source.open_connections == 0)
    assert noted(source, "connections_refused") == {"failed": 2}
    await source.stop()


async def test_each_frame_has_the_whole_time_from_its_own_beginning(
    capture: Any, until: Until, now: list[float]
) -> None:
    source = tcp(frame_timeout="10s")
    await source.open(capture)
    with connect(source) as sock:
        for number, data in enumerate((b"be", b"gin\nne", b"xt\n\nla", b"st\nend"), 1):
            sock.sendall(data)
            await until(lambda lines=number - 1: len(capture.payloads) == lines and bool(source.connections))  # type: ignore[misc]  # bound now
            (connection,) = source.connections
            await until(lambda: connection._framer is not None and not connection._framer.between_frames)  # noqa: B023
            assert overdue_at(source, now[0] + 9.9) is None
            assert overdue_at(source, now[0] + 10.0) == "frame_timeout"
            now[0] += 9.0
    await source.stop()
    assert capture.payloads == [b"begin", b"next", b"last", b"end"]


async def test_the_first_frame_has_the_whole_time_from_the_first_byte(
    capture: Any, until: Until, now: list[float]
) -> None:
    source = tcp(frame_timeout="10s", first_byte_timeout="20s")
    await source.open(capture)
    with connect(source) as sock:
        await until(lambda: source.open_connections == 1)
        (connection,) = source.connections
        now[0] += 19.9
        assert overdue_at(source, now[0]) is None
        assert overdue_at(source, now[0] + 0.1) == "first_byte_timeout"
        sock.sendall(b"beg")
        await until(lambda: connection._framer is not None and connection._framer.waiting_bytes == 3)
        assert overdue_at(source, now[0] + 9.9) is None
        now[0] += 9.0
        sock.sendall(b"in")
        await until(lambda: connection._framer is not None and connection._framer.waiting_bytes == 5)
        assert overdue_at(source, now[0] + 1.0) == "frame_timeout"
    await source.stop()


async def test_a_pause_begins_no_frame(capture: Any, until: Until, now: list[float]) -> None:
    source = tcp(frame_timeout="10s", first_byte_timeout="20s")
    await source.open(capture)
    with connect(source) as sock:
        capture.accepting = False
        sock.sendall(b"whole\n")
        await until(lambda: source.paused)
        now[0] += 1000.0
        capture.accepting = True
        capture.resume()
        assert overdue_at(source, now[0] + 1e9) is None
        sock.sendall(b"more\n")
        await until(lambda: capture.payloads == [b"whole", b"more"])
    await source.stop()


async def test_a_connection_that_has_never_sent_has_its_first_byte_timeout_and_is_not_idle(
    capture: Any, until: Until, now: list[float]
) -> None:
    source = tcp(idle_timeout="10s", first_byte_timeout="60s")
    await source.open(capture)
    with connect(source) as sock:
        await until(lambda: source.open_connections == 1)
        (connection,) = source.connections
        for _ in range(59):
            now[0] += 1.0
            assert overdue_at(source, now[0]) is None
        sock.sendall(b"first\n")
        await until(lambda: capture.payloads == [b"first"])
        for _ in range(10):
            assert overdue_at(source, now[0]) is None
            now[0] += 1.0
        connection.check_timeouts(now[0])
        await until(lambda: source.open_connections == 0)
    assert noted(source, "connections_closed") == {"idle_timeout": 1}
    await source.stop()


class OnceEnded(Newline):
    """Its stream ends once."""

    ends = 0

    def feed_eof(self) -> list[bytes]:
        type(self).ends += 1
        return super().feed_eof()


@pytest.mark.parametrize("how", ["shutdown", "close", "stop", "timeout", "framing_error"])
async def test_however_a_connection_ends_its_stream_ends_once(
    capture: Any, until: Until, now: list[float], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr(OnceEnded, "ends", 0)
    source = tcp(OnceEnded, max_frame="16B", oversize="close")
    await source.open(capture)
    with connect(source) as sock:
        sock.sendall(b"whole\nhalf")
        await until(lambda: capture.payloads == [b"whole"])
        (connection,) = source.connections
        match how:
            case "shutdown":
                sock.shutdown(socket.SHUT_WR)
            case "close":
                sock.close()
            case "stop":
                await source.stop()
            case "timeout":
                connection.check_timeouts(now[0] + 60.0)
            case "framing_error":
                sock.sendall(b"x" * 17)
        await until(lambda: source.open_connections == 0)
    await source.stop()
    broken = how == "framing_error"
    assert OnceEnded.ends == int(not broken)
    assert capture.payloads == [b"whole"] + [b"half"] * (not broken)
    assert noted(source, "unterminated") == ({} if broken else {"": 1})


def hidden(_peer: Peer) -> Peer:
    return Peer("hidden:0")


async def test_the_log_shows_a_sender_as_its_source_redacts_it(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr(
        "streamd.net.stream_connection.log.warning", lambda _, **fields: logged.append(fields)
    )
    source = tcp(max_frame="16B", oversize="close")
    source.context = replace(source.context, redact_peer=hidden)
    await source.open(capture)
    with connect(source) as sock:
        sock.sendall(b"whole\n" + b"x" * 17)
        await until(lambda: bool(logged))
    await source.stop()
    assert logged == [{"source": "floor", "peer": "hidden:0", "reason": "oversize"}]
    assert [str(peer).rpartition(":")[0] for peer in capture.peers] == ["127.0.0.1"], "the frames keep theirs"
