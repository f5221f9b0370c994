import asyncio
import contextlib
import fcntl
import socket
import sys
import termios
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.frames import FlaggedFrame
from streamd.core.now import Now
from streamd.net import stream_source as stream
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def tcp(**options: Any) -> Tcp:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0"} | options)
    return Tcp(config, SourceContext("floor", Counters(), framers(config.cut_by)))


async def connect(source: Tcp) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection(*source.address)


async def closed(reader: asyncio.StreamReader) -> bool:
    async with asyncio.timeout(30):
        try:
            return await reader.read() == b""
        except ConnectionResetError:
            return True


def stays_open(source: Tcp) -> bool:
    """Whether no timeout has closed a connection; a close shows here at once, in the source a turn later."""
    closed_any = any(counter == "connections_closed" for counter, _ in source.context.counters)
    return bool(source.connections) and not closed_any


def kernel_bytes(connection: Any) -> int:
    """What has come for the connection and was not read yet."""
    count = bytearray(4)
    fcntl.ioctl(connection._transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


async def test_lines_of_several_connections(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, one = await connect(source)
    _, two = await connect(source)
    one.write(b"a\nb\r\nhalf")
    two.write(b"c\n")
    await until(lambda: len(capture.payloads) == 3)
    one.write(b" a line\n")
    await until(lambda: len(capture.payloads) == 4)
    assert sorted(capture.payloads) == [b"a", b"b", b"c", b"half a line"]
    by_frame = dict(zip(capture.payloads, capture.peers, strict=True))
    host, port = one.get_extra_info("sockname")
    assert by_frame[b"half a line"] == f"{host}:{port}"
    assert source.context.counters["connections", ""] == 2
    one.close()
    two.close()
    await source.stop()


async def test_an_urgent_byte_stays_where_it_was_sent(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    with socket.create_connection(source.address) as sock:
        sock.sendall(b"ab")
        sock.send(b"!", socket.MSG_OOB)
        sock.sendall(b"cd\n")
        await until(lambda: capture.payloads == [b"ab!cd"])
    await source.stop()


async def test_an_unfinished_line_is_delivered_and_flagged_at_eof_at_reset_and_at_stop(
    capture: Any, until: Until
) -> None:
    source = tcp()
    await source.open(capture)
    _, polite = await connect(source)
    polite.write(b"eof")
    polite.write_eof()
    await until(lambda: capture.payloads == [b"eof"])
    _, rude = await connect(source)
    rude.write(b"reset")
    await until(lambda: any(c._framer and c._framer.waiting_bytes for c in source.connections))
    linger = b"\1\0\0\0\0\0\0\0"
    rude.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    rude.transport.abort()
    await until(lambda: capture.payloads == [b"eof", b"reset"])
    _, cut = await connect(source)
    cut.write(b"stop")
    await until(lambda: any(c._framer and c._framer.waiting_bytes for c in source.connections))
    await source.stop()
    assert capture.payloads == [b"eof", b"reset", b"stop"]
    assert all(isinstance(p, FlaggedFrame) and p.flag == "unterminated" for p in capture.payloads)
    assert all(frames.flagged for frames in capture.offered)
    assert source.context.counters["unterminated", ""] == 3
    for writer in (polite, cut):
        writer.close()


async def test_a_full_buffer_stops_every_connection_at_once(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    writers = [(await connect(source))[1] for _ in range(5)]
    await until(lambda: len(source.connections) == 5)
    capture.accepting = False
    writers[0].write(b"x\n")
    await until(lambda: source.paused)
    assert not any(c._transport.is_reading() for c in source.connections if c._transport)
    late = (await connect(source))[1]
    await until(lambda: len(source.connections) == 6)
    await until(lambda: not any(c._transport.is_reading() for c in source.connections if c._transport))
    for writer in [*writers, late]:
        writer.write(b"y\n")
    await until(lambda: [kernel_bytes(c) for c in source.connections] == [2] * 6)
    assert capture.payloads == [b"x"]
    capture.accepting = True
    capture.resume()
    await until(lambda: capture.payloads == [b"x"] + [b"y"] * 6)
    for writer in [*writers, late]:
        writer.close()
    await source.stop()


async def test_every_connection_is_stopped_at_every_full_buffer_and_read_on_after_it(
    capture: Any, until: Until
) -> None:
    source = tcp(buffer={"when_full": "block"})
    await source.open(capture)
    writers = [(await connect(source))[1] for _ in range(2)]
    await until(lambda: len(source.connections) == 2)
    for cycle in range(4):
        before = len(capture.payloads)
        capture.accepting = False
        writers[cycle % 2].write(b"full %d\n" % cycle)
        await until(lambda: source.paused)
        for writer in writers:
            writer.write(b"waits\n")
        await until(lambda: [kernel_bytes(c) for c in source.connections] == [6, 6])
        assert capture.payloads[before:] == [b"full %d" % cycle]
        capture.accepting = True
        capture.resume()
        expected = [b"full %d" % cycle, b"waits", b"waits"]
        await until(lambda: capture.payloads[before:] == expected)  # noqa: B023
        for n in range(3):  # each in a read of its own
            for writer in writers:
                writer.write(b"%d after\n" % n)
                expected.append(b"%d after" % n)
                await until(lambda: capture.payloads[before:] == expected)  # noqa: B023
    for writer in writers:
        writer.close()
    await source.stop()


async def test_what_the_kernel_holds_of_a_sender_at_the_stop_is_counted(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, writer = await connect(source)
    await until(lambda: len(source.connections) == 1)
    capture.accepting = False
    writer.write(b"x\n")
    await until(lambda: source.paused)
    (connection,) = source.connections
    writer.write(b"y\n" * 500)
    await until(lambda: connection.unread_bytes == 1000)
    await source.stop()
    assert source.context.counters["unread_bytes", ""] == 1000
    assert capture.payloads == [b"x"]
    writer.close()


async def test_connections_over_the_cap_are_closed_at_once_and_counted(capture: Any, until: Until) -> None:
    source = tcp(max_connections=3)
    await source.open(capture)
    held = [await connect(source) for _ in range(3)]
    await until(lambda: len(source.connections) == 3)
    refused = [await connect(source) for _ in range(4)]
    for reader, _ in refused:
        assert await closed(reader)
    assert source.context.counters["connections_refused", "max_connections"] == 4
    held[0][1].close()
    await until(lambda: len(source.connections) == 2)
    _, writer = await connect(source)
    writer.write(b"in\n")
    await until(lambda: capture.payloads == [b"in"])
    for _, w in [*held, *refused]:
        w.close()
    writer.close()
    await source.stop()


async def test_peers_outside_the_allowed_networks_are_closed_and_counted(capture: Any) -> None:
    source = tcp(allow=["127.0.0.2/32"])
    await source.open(capture)
    reader, writer = await connect(source)
    assert await closed(reader)
    assert source.context.counters["connections_refused", "not_allowed"] == 1
    writer.close()
    await source.stop()


async def test_broken_framing_closes_the_connection_and_keeps_earlier_frames(capture: Any) -> None:
    source = tcp(framing="octet_counting")
    await source.open(capture)
    reader, writer = await connect(source)
    writer.write(b"5 hello" + b"garbage without a count")
    assert await closed(reader)
    assert capture.payloads == [b"hello"]
    counters = source.context.counters
    assert sum(n for (counter, _), n in counters.items() if counter == "framing_errors") == 1
    assert counters["discarded_bytes", ""] > 0
    writer.close()
    await source.stop()


async def test_frames_the_framing_dropped_are_refused(capture: Any, until: Until) -> None:
    source = tcp(max_frame="16B", oversize="drop")
    await source.open(capture)
    _, writer = await connect(source)
    writer.write(b"short\n" + b"long" * 20 + b"\nshort\n")
    await until(lambda: capture.payloads == [b"short", b"short"])
    assert capture.refused == {"oversize": 1}
    writer.close()
    await source.stop()


async def test_a_silent_connection_is_closed_after_the_first_byte_timeout(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "SWEEP_S", 0.01)
    source = tcp(first_byte_timeout="50ms")
    await source.open(capture)
    reader, writer = await connect(source)
    assert await closed(reader)
    assert source.context.counters["connections_closed", "first_byte_timeout"] == 1
    writer.close()
    await source.stop()


async def test_a_frame_that_trickles_is_closed_although_bytes_keep_coming(capture: Any, until: Until) -> None:
    source = tcp(frame_timeout="10s")
    await source.open(capture)
    _, writer = await connect(source)
    writer.write(b"whole\nbeg")
    await until(lambda: capture.payloads == [b"whole"])
    connection = next(iter(source.connections))
    begun = connection._since_mono_s
    writer.write(b"i")
    await until(lambda: connection._framer is not None and connection._framer.waiting_bytes == 4)
    assert connection._since_mono_s == begun
    connection.check_timeouts(begun + 9.9)
    assert stays_open(source)
    connection.check_timeouts(begun + 10)
    await until(lambda: not source.connections)
    assert capture.payloads == [b"whole", b"begi"]
    assert source.context.counters["connections_closed", "frame_timeout"] == 1
    writer.close()
    await source.stop()


async def test_a_line_without_an_end_is_closed_while_its_rest_is_skipped(capture: Any, until: Until) -> None:
    source = tcp(frame_timeout="10s", max_frame="16B")
    await source.open(capture)
    _, writer = await connect(source)
    writer.write(b"a" * 20)
    await until(lambda: capture.payloads == [b"a" * 16])
    connection = next(iter(source.connections))
    begun = connection._since_mono_s
    writer.write(b"b" * 20)
    await until(lambda: source.context.counters["discarded_bytes", ""] == 24)
    connection.check_timeouts(begun + 10)
    await until(lambda: not source.connections)
    assert source.context.counters["connections_closed", "frame_timeout"] == 1
    writer.close()
    await source.stop()


async def test_lost_and_empty_frames_that_end_in_time_close_no_connection(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(stream, "read_clock", lambda: Now(0.0, now[0]))
    source = tcp(frame_timeout="10s", max_frame="16B", oversize="drop")
    await source.open(capture)
    _, writer = await connect(source)
    for turn in range(1, 4):
        writer.write(b"a" * 20 + b"\n" + b"b" * 20)
        await until(lambda lost=turn + 1: capture.refused["oversize"] == lost)  # type: ignore[misc]  # bound now
        now[0] += 6
        next(iter(source.connections)).check_timeouts(now[0])
    assert stays_open(source)
    writer.close()
    await source.stop()


async def test_a_quiet_connection_between_frames_is_never_closed(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, writer = await connect(source)
    writer.write(b"whole\n")
    await until(lambda: capture.payloads == [b"whole"])
    next(iter(source.connections)).check_timeouts(1e12)
    assert stays_open(source)
    writer.close()
    await source.stop()


async def test_time_in_which_we_did_not_read_counts_against_no_timeout(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A connection that has begun a frame and one that has sent nothing, while a full buffer stops both."""
    now = [100.0]
    monkeypatch.setattr(stream, "read_clock", lambda: Now(0.0, now[0]))
    source = tcp(frame_timeout="10s", first_byte_timeout="10s")
    await source.open(capture)
    writers = [(await connect(source))[1] for _ in range(3)]
    writers[0].write(b"beg")
    await until(lambda: any(c._framer and c._framer.waiting_bytes for c in source.connections))
    await until(lambda: len(source.connections) == 3)

    def sweep() -> None:
        if source._sweeper is not None:
            source._sweeper.cancel()
        source._sweep()

    for _ in range(3):  # each time another pause
        now[0] += 4
        sweep()
        capture.accepting = False
        writers[2].write(b"full\n")
        full = capture.payloads.count(b"full")
        await until(lambda before=full: capture.payloads.count(b"full") > before)  # type: ignore[misc]  # bound now
        now[0] += 1000
        sweep()
        capture.accepting = True
        capture.resume()
        now[0] += 4
        sweep()
        assert stays_open(source)
    writers[0].write(b"in\n")
    writers[1].write(b"first\n")
    await until(lambda: {b"begin", b"first"} <= set(capture.payloads))
    for writer in writers:
        writer.close()
    await source.stop()


async def test_after_a_pause_the_timeouts_begin_anew_and_hold(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(stream, "read_clock", lambda: Now(0.0, now[0]))
    source = tcp(frame_timeout="10s", first_byte_timeout="20s")
    await source.open(capture)
    (_, begun), (_, silent) = [await connect(source) for _ in range(2)]
    capture.accepting = False
    begun.write(b"full\nbeg")
    await until(lambda: capture.payloads == [b"full"])
    await until(lambda: len(source.connections) == 2)
    now[0] += 1000
    capture.resume()
    for elapsed_s, reason in ((10, "frame_timeout"), (20, "first_byte_timeout")):
        for connection in list(source.connections):
            connection.check_timeouts(now[0] + elapsed_s)
        await until(
            lambda reason=reason: source.context.counters["connections_closed", reason] == 1  # type: ignore[misc]  # bound now
        )
    await until(lambda: not source.connections)
    begun.close()
    silent.close()
    await source.stop()


@pytest.mark.parametrize("turns", range(6))
async def test_a_connection_that_waits_or_is_being_accepted_at_the_stop_is_closed_and_counted(
    capture: Any, turns: int
) -> None:
    loop = asyncio.get_running_loop()
    source = tcp()
    await source.open(capture)
    senders = [socket.create_connection(source.address, timeout=30) for _ in range(20)]
    for sender in senders:
        sender.sendall(b"line\n")
    for _ in range(turns):
        await asyncio.sleep(0)
    await source.stop()
    assert not source.connections
    notes = source.context.counters
    assert notes["connections", ""] + notes["connections_refused", "stopping"] == 20
    for sender in senders:
        with contextlib.suppress(ConnectionResetError):
            assert await loop.run_in_executor(None, sender.recv, 1) == b""
        sender.close()


async def test_ipv6(capture: Any, until: Until) -> None:
    source = tcp(listen="[::1]:0")
    await source.open(capture)
    _, writer = await connect(source)
    writer.write(b"six\n")
    await until(lambda: capture.payloads == [b"six"])
    assert capture.peers[0].startswith("[::1]:")
    writer.close()
    await source.stop()


async def test_frames_weigh_their_bytes_and_what_waits_behind_them_weighs_nothing_yet(
    capture: Any, until: Until
) -> None:
    source = tcp()
    await source.open(capture)
    _, writer = await connect(source)
    for data, count in ((b"abc\nde", 1), (b"f\n", 2), (b"g\n\nh\nijk", 4)):
        writer.write(data)
        await until(lambda count=count: len(capture.payloads) == count)  # type: ignore[misc]  # bound now
    assert capture.payloads == [b"abc", b"def", b"g", b"h"]
    assert [frames.size_bytes for frames in capture.offered] == [4 + 48, 4 + 48, 5 + 2 * 48]
    writer.close()
    await source.stop()
    assert capture.offered[-1].size_bytes == 3 + 48


async def test_a_frame_that_came_in_pieces_weighs_what_it_is(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    _, writer = await connect(source)
    await until(lambda: len(source.connections) == 1)
    framer = next(iter(source.connections))._framer
    assert framer is not None
    for piece in range(1, 11):
        writer.write(b"x" * 1000)
        await until(lambda wanted=piece * 1000: framer.waiting_bytes == wanted)  # type: ignore[misc]  # no lambda's default has a type
    writer.write(b"\n")
    await until(lambda: bool(capture.offered))
    assert capture.offered[0].size_bytes >= 10_000
    writer.close()
    await source.stop()
