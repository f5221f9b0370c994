"""Also about `net/source_unix_socket.py` and `net/unix_socket.py`."""

import array
import asyncio
import contextlib
import errno
import grp
import os
import socket
import stat
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import EnvironmentFault
from streamd.core.frames import FlaggedFrame
from streamd.sources.unix import Unix

Until = Callable[[Callable[[], bool]], Awaitable[None]]
ME = f"pid={os.getpid()},uid={os.getuid()},gid={os.getgid()}"
MODES = ["stream", "datagram"]


def unix(folder: Path, **options: Any) -> Unix:
    config = Unix.Config.model_validate({"type": "unix", "path": "in.sock"} | options)
    return Unix(config, SourceContext("local", Counters(), framers(config.cut_by), folder, folder))


def connected(source: Unix) -> socket.socket:
    kind = socket.SOCK_STREAM if source.config.mode == "stream" else socket.SOCK_DGRAM
    sock = socket.socket(socket.AF_UNIX, kind)
    sock.settimeout(60)
    sock.connect(str(source.address))
    return sock


async def test_lines_of_a_stream_carry_the_process_that_connected(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = unix(tmp_path)
    await source.open(capture)
    with connected(source) as sender:
        sender.sendall(b"a\nb\nhalf")
        await until(lambda: capture.payloads == [b"a", b"b"])
        assert source.open_connections == 1
    await until(lambda: len(capture.payloads) == 3)
    assert capture.peers == [ME] * 3
    assert capture.payloads[2].flag == "unterminated"
    assert source.context.counters["connections", ""] == 1
    await source.stop()


async def test_each_datagram_is_a_frame_with_the_process_that_sent_it(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = unix(tmp_path, mode="datagram")
    await source.open(capture)
    with connected(source) as sender:
        for payload in (b"a\nb\n", b"", b"\xff\0"):
            sender.send(payload)
        await until(lambda: len(capture.payloads) == 3)
    assert capture.payloads == [b"a\nb\n", b"", b"\xff\0"]
    assert capture.peers == [ME] * 3
    await source.stop()


async def test_datagrams_of_two_processes_are_told_apart(capture: Any, until: Until, tmp_path: Path) -> None:
    source = unix(tmp_path, mode="datagram")
    await source.open(capture)
    code = f"import socket; s = socket.socket(1, 2); s.connect({source.address!r}); s.send(b'theirs')"
    process = await asyncio.create_subprocess_exec("/usr/bin/env", "python3", "-c", code)
    assert await process.wait() == 0
    with connected(source) as sender:
        sender.send(b"ours")
        await until(lambda: len(capture.payloads) == 2)
    by_payload = dict(zip(capture.payloads, capture.peers, strict=True))
    assert by_payload[b"ours"] == ME
    assert by_payload[b"theirs"] == f"pid={process.pid},uid={os.getuid()},gid={os.getgid()}"
    await source.stop()


@pytest.mark.parametrize("mode", MODES)
async def test_the_file_has_the_permissions_asked_for_and_is_removed_at_the_stop(
    capture: Any, tmp_path: Path, mode: str
) -> None:
    source = unix(tmp_path, mode=mode, permissions="0606", group=_own_group())
    await source.open(capture)
    path = tmp_path / "in.sock"
    assert stat.S_IMODE(path.stat().st_mode) == 0o606
    await source.stop()
    assert not path.exists()
    await source.stop()


def _open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _own_group() -> str:
    return grp.getgrgid(os.getgid()).gr_name


@pytest.mark.parametrize("mode", MODES)
async def test_a_dead_socket_is_replaced_and_a_living_one_is_not(
    capture: Any, tmp_path: Path, mode: str
) -> None:
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    dead.bind(str(tmp_path / "in.sock"))
    dead.close()
    source = unix(tmp_path, mode=mode)
    await source.open(capture)
    for other in MODES:
        with pytest.raises(EnvironmentFault, match="it is taken: is another streamd running"):
            await unix(tmp_path, mode=other).open(capture)
    connected(source).close()
    await source.stop()


async def test_what_is_no_socket_is_left_alone(capture: Any, tmp_path: Path) -> None:
    precious = tmp_path / "in.sock"
    precious.write_text("precious")
    with pytest.raises(EnvironmentFault, match="a file that is no socket"):
        await unix(tmp_path).open(capture)
    assert precious.read_text() == "precious"


async def test_a_file_somebody_else_put_there_meanwhile_is_not_removed(capture: Any, tmp_path: Path) -> None:
    source = unix(tmp_path)
    await source.open(capture)
    path = tmp_path / "in.sock"
    path.unlink()
    path.write_text("new")
    await source.stop()
    assert path.read_text() == "new"


@pytest.mark.parametrize(
    ("path", "options", "says"),
    [
        ("no/such/folder.sock", {}, "make its folder"),
        ("x" * 108, {}, "longer than 107 bytes"),
        ("in.sock", {"group": "no-such-group"}, "there is no group"),
    ],
)
async def test_what_cannot_be_made_is_a_fault_that_says_what_to_do(
    capture: Any, tmp_path: Path, path: str, options: dict[str, Any], says: str
) -> None:
    with pytest.raises(EnvironmentFault, match=says):
        await unix(tmp_path, path=path, **options).open(capture)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - a folder in memory


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"permissions": "0999"}, "permissions"),
        ({"permissions": 660}, "permissions"),
        ({"path": ""}, "path"),
        ({"path": "a\0b"}, "path"),
        ({"mode": "datagram", "frame_timeout": "1s"}, "there is no connection"),
        ({"mode": "datagram", "framing": "newline", "oversize": "close"}, "there is no connection"),
        ({"mode": "datagram", "oversize": "close"}, "there is no connection"),
        ({"mode": "seqpacket"}, "mode"),
    ],
)
def test_wrong_options_are_refused(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        unix(tmp_path, **options)


def test_a_full_buffer_makes_streams_wait_and_datagrams_drop_unless_the_configuration_says_otherwise(
    tmp_path: Path,
) -> None:
    assert unix(tmp_path).config.when_full == "block"
    assert unix(tmp_path, mode="datagram").config.when_full == "drop_oldest"
    assert unix(tmp_path, mode="datagram", buffer={"when_full": "block"}).config.when_full == "block"


@pytest.mark.parametrize("oversize", ["truncate", "drop"])
async def test_an_overlong_datagram_is_cut_or_dropped_and_counted(
    capture: Any, until: Until, tmp_path: Path, oversize: str
) -> None:
    source = unix(tmp_path, mode="datagram", max_frame="16B", oversize=oversize)
    await source.open(capture)
    with connected(source) as sender:
        for payload in (b"x" * 16, b"y" * 1000, b"end"):
            sender.send(payload)
        await until(lambda: b"end" in capture.payloads)
    counters = source.context.counters
    if oversize == "truncate":
        assert capture.payloads == [b"x" * 16, b"y" * 16, b"end"]
        assert isinstance(capture.payloads[1], FlaggedFrame)
        assert counters["truncated", ""] == 1
    else:
        assert capture.payloads == [b"x" * 16, b"end"]
        assert capture.refused == {"oversize": 1}
    await source.stop()


async def test_a_framing_cuts_datagrams_and_the_limit_holds_for_each_line(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = unix(tmp_path, mode="datagram", framing="newline", max_frame="16B")
    await source.open(capture)
    with connected(source) as sender:
        for payload in (b"a\nb\n", b"", b"x" * 16 + b"\n" + b"y" * 20 + b"\nlast", b"end"):
            sender.send(payload)
        await until(lambda: b"end" in capture.payloads)
    assert capture.payloads == [b"a", b"b", b"", b"x" * 16, b"y" * 16, b"last", b"end"]
    assert [type(payload) is FlaggedFrame for payload in capture.payloads].index(True) == 4
    assert [frames.flagged for frames in capture.offered].count(True) == 1
    assert capture.peers == [ME] * 7
    assert dict(source.context.counters) == {("truncated", ""): 1, ("discarded_bytes", ""): 4}
    await source.stop()


async def test_a_framed_datagram_longer_than_is_read_is_flagged_where_it_was_cut(
    capture: Any, until: Until, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamd.net.unix_datagrams.MOST_BYTES", 10)
    source = unix(tmp_path, mode="datagram", framing="newline", max_frame="8B", oversize="drop")
    await source.open(capture)
    with connected(source) as sender:
        sender.send(b"one\ntwo\nthree\nfour\n")
        await until(lambda: len(capture.payloads) == 3)
    assert capture.payloads == [b"one", b"two", b"th"]
    assert capture.payloads[2].flag == "truncated"
    assert capture.offered[0].flagged
    assert source.context.counters["truncated", ""] == 1
    await source.stop()


async def test_descriptors_a_sender_passes_along_are_not_kept(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = unix(tmp_path, mode="datagram")
    await source.open(capture)
    with connected(source) as sender:
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2] * 20))]
        before = _open_files()
        for _ in range(5):
            sender.sendmsg([b"here"], rights)
        await until(lambda: len(capture.payloads) == 5)
        assert _open_files() == before
    assert capture.peers == [ME] * 5
    await source.stop()


async def test_a_full_buffer_makes_datagram_senders_wait_and_nothing_is_lost(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = unix(tmp_path, mode="datagram")
    await source.open(capture)
    capture.accepting = False
    count = 2000

    def send() -> None:
        with connected(source) as sender:
            for n in range(count):
                sender.send(b"%d" % n)

    thread = threading.Thread(target=send)
    thread.start()
    while len(capture.payloads) < count:
        before = len(capture.payloads)
        capture.resume()
        await until(lambda held=before: len(capture.payloads) > held)  # type: ignore[misc]  # bound now
    await asyncio.to_thread(thread.join)
    assert capture.payloads == [b"%d" % n for n in range(count)]
    await source.stop()


async def test_a_stream_is_stopped_at_every_full_buffer_and_read_on_after_it(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    source = unix(tmp_path, buffer={"when_full": "block"})
    await source.open(capture)
    sent = bytearray()
    lines, end = b"waits\n" * 1000, b"end\n"

    def all_read() -> bool:
        return b"".join(payload + b"\n" for payload in capture.payloads) == sent

    with connected(source) as sender:
        sender.setblocking(False)
        for cycle in range(4):
            capture.accepting = False
            line = b"full %d\n" % cycle
            sent += line[: sender.send(line)]
            await until(all_read)
            offered = len(capture.offered)
            with contextlib.suppress(BlockingIOError):  # then the sender has to wait: nobody reads
                while len(sent) < 10_000_000:
                    sent += lines[: sender.send(lines)]
                    await asyncio.sleep(0)
            assert len(sent) < 10_000_000
            assert len(capture.offered) == offered
            capture.accepting = True
            capture.resume()
            await until(lambda: len(capture.payloads) == bytes(sent).count(b"\n"))  # noqa: B023
            sent += end[: sender.send(end)]  # of the last line, which may have been taken in part
            await until(all_read)
            for n in range(3):  # each in a read of its own
                line = b"%d after %d\n" % (n, cycle)
                sent += line[: sender.send(line)]
                await until(all_read)
    await source.stop()


@pytest.mark.parametrize("framing", [{}, {"framing": "newline"}])
async def test_datagrams_are_read_on_after_every_full_buffer(
    capture: Any, until: Until, tmp_path: Path, framing: dict[str, Any]
) -> None:
    source = unix(tmp_path, mode="datagram", buffer={"when_full": "block"}, **framing)
    await source.open(capture)
    sent: list[bytes] = []
    with connected(source) as sender:
        for cycle in range(4):
            capture.accepting = False
            sent.append(b"full %d" % cycle)
            sender.send(sent[-1])
            await until(lambda: capture.payloads == sent)
            sender.send(b"waits")
            for _ in range(10):  # turns of the loop in which it could be read
                await asyncio.sleep(0)
            assert capture.payloads == sent
            sent.append(b"waits")
            capture.accepting = True
            capture.resume()
            await until(lambda: capture.payloads == sent)
            for n in range(3):  # each in a read of its own
                sent.append(b"%d after %d" % (n, cycle))
                sender.send(sent[-1])
                await until(lambda: capture.payloads == sent)
    await source.stop()


@pytest.mark.parametrize("framing", [{}, {"framing": "newline"}])
async def test_datagrams_of_two_processes_are_told_apart_in_one_read(
    capture: Any, until: Until, tmp_path: Path, framing: dict[str, Any]
) -> None:
    source = unix(tmp_path, mode="datagram", **framing)
    await source.open(capture)
    capture.accepting = False
    code = f"import socket; s = socket.socket(1, 2); s.connect({source.address!r}); s.send(b'theirs')"
    with connected(source) as sender:
        sender.send(b"full")
        await until(lambda: capture.payloads == [b"full"])
        sender.send(b"first")
        process = await asyncio.create_subprocess_exec("/usr/bin/env", "python3", "-c", code)
        assert await process.wait() == 0
        sender.send(b"last")
        capture.accepting = True
        capture.resume()
        await until(lambda: len(capture.payloads) == 4)
    theirs = f"pid={process.pid},uid={os.getuid()},gid={os.getgid()}"
    assert capture.payloads == [b"full", b"first", b"theirs", b"last"]
    assert capture.peers == [ME, ME, theirs, ME]
    await source.stop()


async def test_what_is_sent_during_the_stop_is_refused_and_does_not_prolong_it(
    capture: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = unix(tmp_path, mode="datagram")
    await source.open(capture)
    refused: list[OSError] = []
    offer = capture.offer

    with connected(source) as sender:

        def offer_and_send(frames: Any) -> bool:
            accepted: bool = offer(frames)
            try:
                if len(capture.offered) < 5:
                    sender.send(b"late")
            except OSError as error:
                refused.append(error)
            return accepted

        monkeypatch.setattr(capture, "offer", offer_and_send)
        sender.send(b"in time")
        await source.stop()
    assert capture.payloads == [b"in time"]
    assert [error.errno for error in refused] == [errno.EPIPE]


async def test_stop_offers_the_datagrams_the_kernel_holds_and_refuses_more(
    capture: Any, tmp_path: Path
) -> None:
    source = unix(tmp_path, mode="datagram")
    await source.open(capture)
    with connected(source) as sender:
        for n in range(5):
            sender.send(b"%d" % n)
        await source.stop()
        assert capture.payloads == [b"0", b"1", b"2", b"3", b"4"]
        with pytest.raises(OSError, match=r"refused|Broken pipe|not connected"):
            sender.send(b"late")


async def test_connections_over_the_cap_are_refused(capture: Any, until: Until, tmp_path: Path) -> None:
    source = unix(tmp_path, max_connections=1)
    await source.open(capture)
    with connected(source):
        await until(lambda: source.open_connections == 1)
        with connected(source) as late:
            await until(lambda: source.context.counters["connections_refused", "max_connections"] == 1)
            assert await asyncio.to_thread(late.recv, 1) == b""
    await source.stop()
