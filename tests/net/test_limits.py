import asyncio
import contextlib
import errno
import os
import resource
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.now import Now
from streamd.net import acceptor, limits
from streamd.net import stream_source as stream
from streamd.net.limits import ConnectionLimits, SenderRates, TokenBucket
from streamd.sources.tcp import Tcp
from streamd.sources.udp import Udp
from streamd.sources.unix import Unix

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def context_of(name: str, config: Any = None) -> SourceContext:
    return SourceContext(name, Counters(), None if config is None else framers(config.cut_by))


def tcp(**options: Any) -> Tcp:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0"} | options)
    return Tcp(config, context_of("floor", config))


def udp(**options: Any) -> Udp:
    options = {"type": "udp", "listen": "127.0.0.1:0", "receive_buffer": "256KiB"} | options
    return Udp(Udp.Config.model_validate(options), context_of("lab"))


def noted(source: Any, counter: str) -> dict[str, int]:
    notes = source.context.counters
    return {reason: n for (name, reason), n in notes.items() if name == counter}


def connect(source: Any, address: str = "127.0.0.1") -> socket.socket:
    sock = socket.socket()
    sock.bind((address, 0))
    sock.connect(tuple(source.address))
    return sock


def test_a_bucket_gives_a_second_at_once_and_then_its_rate() -> None:
    bucket = TokenBucket(10, 100.0)
    assert bucket.take(25, 100.0) == 10
    assert bucket.take(1, 100.05) == 0
    assert bucket.take(5, 100.25) == 2
    assert bucket.take(100, 1000.0) == 10
    taken = sum(bucket.take(1, 1000.0 + n / 100) for n in range(1, 1001))
    assert taken in (99, 100)


def test_senders_have_a_bucket_each_and_the_one_not_heard_of_for_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_SENDERS", 2)
    rates = SenderRates(5)
    assert rates.take("a", 9, 0.0) == 5
    assert rates.take("b", 9, 0.0) == 5
    assert rates.take("a", 1, 0.1) == 0
    assert rates.take("c", 9, 0.1) == 5
    assert rates.take("a", 1, 0.1) == 0
    assert rates.take("b", 9, 0.1) == 5
    for n in range(1000):
        rates.take(str(n), 1, 0.2)
    assert len(rates._buckets) == 2


def test_of_connections_only_those_that_are_open_are_remembered() -> None:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0"})
    limits = ConnectionLimits(config, 0.0)
    for n in range(1000):
        assert limits.enter(str(n), 0.0) is None
    for n in range(1000):
        limits.leave(str(n))
    assert (limits._total, dict(limits._open)) == (0, {})


def limits_of(**options: Any) -> Any:
    return Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0"} | options)


def test_each_limit_of_connections_is_reached_and_not_passed() -> None:
    limits = ConnectionLimits(limits_of(max_connections=3, max_connections_per_sender=2), 0.0)
    assert [limits.enter(sender, 0.0) for sender in "aaabb"] == [
        None, None, "max_connections_per_sender", None, "max_connections",
    ]  # fmt: skip
    limits.leave("a")
    assert [limits.enter(sender, 0.0) for sender in "bb"] == [None, "max_connections_per_sender"]


def test_a_reload_that_leaves_the_accept_rate_alone_gives_no_new_burst() -> None:
    config = limits_of(max_accept_rate=2)
    limits = ConnectionLimits(config, 0.0)
    assert [limits.enter("a", 0.0) for _ in range(3)] == [None, None, "max_accept_rate"]
    limits.become(config, 0.0)
    assert limits.enter("a", 0.0) == "max_accept_rate"
    limits.become(limits_of(max_accept_rate=1), 0.0)
    assert [limits.enter("a", 0.0) for _ in range(2)] == [None, "max_accept_rate"]
    limits.become(limits_of(), 0.0)
    assert [limits.enter("a", 0.0) for _ in range(9)] == [None] * 9


async def test_a_stop_leaves_no_timer_and_no_connection_behind(capture: Any, until: Until) -> None:
    source = tcp()
    await source.open(capture)
    with connect(source) as sock:
        await until(lambda: source.open_connections == 1)
        sweeper = source._sweeper
        assert sweeper is not None
        await source.stop()
        assert sweeper.cancelled()
        with contextlib.suppress(ConnectionResetError):
            assert sock.recv(1) == b""
    assert source.open_connections == 0


async def test_a_connection_keeps_its_framing_through_a_reload_and_a_new_one_has_the_new(
    capture: Any, until: Until
) -> None:
    source = tcp()
    await source.open(capture)
    with connect(source) as before:
        before.sendall(b"a")
        await until(lambda: source.open_connections == 1)
        config = tcp(framing="octet_counting", listen=str(source.address)).config
        source.become(config, context_of("floor", config))
        with connect(source) as after:
            after.sendall(b"3 b\nc")
            await until(lambda: capture.payloads == [b"b\nc"])
            before.sendall(b"\n")
            await until(lambda: capture.payloads == [b"b\nc", b"a"])
    await source.stop()


async def test_one_sender_may_not_take_all_connections(capture: Any, until: Until) -> None:
    source = tcp(max_connections_per_sender=2)
    await source.open(capture)
    with contextlib.ExitStack() as held:
        greedy = [held.enter_context(connect(source)) for _ in range(5)]
        await until(lambda: noted(source, "connections_refused") == {"max_connections_per_sender": 3})
        other = held.enter_context(connect(source, "127.0.0.2"))
        other.sendall(b"other\n")
        await until(lambda: capture.payloads == [b"other"])
        greedy[0].close()
        await until(lambda: source.open_connections == 2)
        again = held.enter_context(connect(source))
        again.sendall(b"again\n")
        await until(lambda: capture.payloads == [b"other", b"again"])
    await source.stop()
    assert source.open_connections == 0
    assert source.limits._total == 0


async def test_a_user_of_a_unix_socket_is_one_sender_whatever_its_processes(
    capture: Any, until: Until, tmp_path: Path
) -> None:
    config = Unix.Config.model_validate(
        {"type": "unix", "path": str(tmp_path / "s"), "max_connections_per_sender": 1}
    )
    source = Unix(config, context_of("log", config))
    await source.open(capture)
    with socket.socket(socket.AF_UNIX) as first, socket.socket(socket.AF_UNIX) as second:
        first.connect(str(source.address))
        second.connect(str(source.address))
        await until(lambda: noted(source, "connections_refused") == {"max_connections_per_sender": 1})
        first.sendall(b"mine\n")
        await until(lambda: capture.payloads == [b"mine"])
    await source.stop()
    assert f"uid={os.getuid()}" in capture.peers[0]


async def test_beyond_the_accept_rate_connections_are_closed_and_nobody_who_has_one_suffers(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(stream, "read_clock", lambda: Now(0.0, now[0]))
    source = tcp(max_accept_rate=3)
    await source.open(capture)
    with contextlib.ExitStack() as held:
        storm = [held.enter_context(connect(source)) for _ in range(10)]
        await until(lambda: noted(source, "connections_refused") == {"max_accept_rate": 7})
        storm[0].sendall(b"first\n")
        await until(lambda: capture.payloads == [b"first"])
        now[0] += 0.4
        held.enter_context(connect(source)).sendall(b"next\n")
        held.enter_context(connect(source))
        await until(lambda: noted(source, "connections_refused") == {"max_accept_rate": 8})
        await until(lambda: capture.payloads == [b"first", b"next"])
    await source.stop()


async def test_strangers_and_the_greedy_use_up_no_accept_rate(capture: Any, until: Until) -> None:
    source = tcp(max_accept_rate=2, max_connections_per_sender=1, allow=["127.0.0.1", "127.0.0.2"])
    await source.open(capture)
    with contextlib.ExitStack() as held:
        for address in ["127.0.0.1"] * 4 + ["127.0.0.3"] * 4 + ["127.0.0.2"]:
            held.enter_context(connect(source, address))
        await until(
            lambda: (
                noted(source, "connections_refused") == {"max_connections_per_sender": 3, "not_allowed": 4}
            )
        )
        await until(lambda: source.open_connections == 2)
    await source.stop()


async def test_an_idle_connection_is_closed_and_one_that_sends_is_not(capture: Any, until: Until) -> None:
    source = tcp(idle_timeout="10s")
    await source.open(capture)
    with connect(source) as idle, connect(source, "127.0.0.2") as busy:
        idle.sendall(b"once\n")
        busy.sendall(b"once\n")
        await until(lambda: len(capture.payloads) == 2)
        by_peer = {connection.sender: connection for connection in source.connections}
        for now_s in range(100, 130):
            if "127.0.0.1" in {connection.sender for connection in source.connections}:
                by_peer["127.0.0.1"].check_timeouts(float(now_s))
            by_peer["127.0.0.2"].check_timeouts(float(now_s))
            if now_s % 5 == 0:
                count = len(capture.payloads)
                busy.sendall(b"more\n")
                await until(lambda had=count: len(capture.payloads) == had + 1)  # type: ignore[misc]  # bound now
        assert noted(source, "connections_closed") == {"idle_timeout": 1}
        assert [connection.sender for connection in source.connections] == ["127.0.0.2"]
    await source.stop()


async def test_time_in_which_we_did_not_read_makes_nobody_idle(capture: Any, until: Until) -> None:
    source = tcp(idle_timeout="10s")
    await source.open(capture)
    with connect(source) as sock:
        sock.sendall(b"x\n")
        await until(lambda: capture.payloads == [b"x"])
        (connection,) = source.connections
        connection.check_timeouts(100.0)
        connection.pause()
        connection.resume(1000.0)
        connection.check_timeouts(1000.0)
        connection.check_timeouts(1009.0)
        assert noted(source, "connections_closed") == {}
        connection.check_timeouts(1010.0)
        assert noted(source, "connections_closed") == {"idle_timeout": 1}
    await source.stop()


async def test_limits_follow_a_reload_and_what_is_open_counts_from_its_beginning(
    capture: Any, until: Until
) -> None:
    source = tcp()
    await source.open(capture)
    with contextlib.ExitStack() as held:
        for _ in range(3):
            held.enter_context(connect(source))
        await until(lambda: source.open_connections == 3)
        stricter = tcp(max_connections_per_sender=3, max_accept_rate=1)
        source.become(stricter.config, source.context)
        held.enter_context(connect(source))
        await until(lambda: noted(source, "connections_refused") == {"max_connections_per_sender": 1})
        held.enter_context(connect(source, "127.0.0.2"))
        held.enter_context(connect(source, "127.0.0.2"))
        await until(lambda: noted(source, "connections_refused").get("max_accept_rate") == 1)
        source.become(tcp().config, source.context)
        for _ in range(5):
            held.enter_context(connect(source))
        await until(lambda: source.open_connections == 9)
    await source.stop()


@pytest.fixture
def few_files() -> Iterator[int]:
    """A limit of 300 files beyond those that are open now."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all there is
    resource.setrlimit(resource.RLIMIT_NOFILE, (used + 300, hard))
    yield used + 300
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def test_connections_leave_descriptors_for_the_rest_and_what_is_refused_is_counted(
    capture: Any, until: Until, few_files: int
) -> None:
    source = tcp()
    await source.open(capture)
    most = few_files - min(acceptor.RESERVE, few_files // acceptor.RESERVE_FRACTION)
    with contextlib.ExitStack() as held:
        fd = 0
        while fd < most - 18:  # room for both ends of some connections
            fd = os.open(os.devnull, os.O_RDONLY)
            held.callback(os.close, fd)
        clients = [held.enter_context(connect(source)) for _ in range(12)]
        await until(
            lambda: (
                source.open_connections + noted(source, "connections_refused").get("no_descriptors", 0) == 12
            )
        )
        assert 0 < source.open_connections < 12
        for client in clients:
            client.close()
        await until(lambda: source.open_connections == 0)
        held.enter_context(connect(source)).sendall(b"after\n")
        await until(lambda: capture.payloads == [b"after"])
    await source.stop()


async def test_without_any_descriptor_it_rests_and_then_takes_who_waited(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(acceptor, "REST_S", 0.05)
    source = tcp()
    await source.open(capture)
    tries = []

    class Short:
        """The listening socket, when the system gives no descriptor three times."""

        def __init__(self, sock: socket.socket) -> None:
            self.fileno = sock.fileno
            self.close = sock.close
            self._sock = sock

        def accept(self) -> Any:
            tries.append(asyncio.get_running_loop().time())
            if len(tries) <= 3:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            return self._sock.accept()

    assert source._acceptor is not None
    monkeypatch.setattr(source._acceptor, "_socket", Short(source._acceptor._socket))
    with connect(source) as sock:
        sock.sendall(b"waited\n")
        await until(lambda: capture.payloads == [b"waited"])
    assert tries[3] - tries[0] > 0.12
    await source.stop()


async def test_datagrams_over_the_rate_of_their_sender_are_counted_and_the_others_stay(
    capture: Any, until: Until
) -> None:
    source = udp(max_rate_per_sender=10)
    await source.open(capture)
    source._pause()
    with contextlib.ExitStack() as senders:
        socks = {}
        for address, port in (("127.0.0.1", 0), ("127.0.0.1", 1), ("127.0.0.2", 0)):
            sock = senders.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((address, 0))
            socks[address, port] = sock
        for n in range(20):
            for (address, port), sock in socks.items():
                if address == "127.0.0.1" or n < 5:
                    sock.sendto(b"%s %d %d" % (address.encode(), port, n), tuple(source.address))
        source._resume()
        await until(lambda: capture.refused["rate_limited"] >= 30)
    assert capture.refused == {"rate_limited": 30}
    assert len(capture.payloads) == 15
    assert [p for p in capture.payloads if p.startswith(b"127.0.0.1 ")] == [
        b"127.0.0.1 %d %d" % (port, n) for n in range(5) for port in (0, 1)
    ]
    assert all(
        payload.startswith(peer.rpartition(":")[0].encode())
        for payload, peer in zip(capture.payloads, capture.peers, strict=True)
    )
    assert capture.offered[0].size_bytes == sum(len(p) + 48 for p in capture.offered[0].payloads)
    await source.stop()


async def test_one_flooding_sender_alone_gets_its_rate(capture: Any, until: Until) -> None:
    source = udp(max_rate_per_sender=50)
    await source.open(capture)
    source._pause()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for n in range(200):
            sock.sendto(b"%d" % n, tuple(source.address))
        source._resume()
        await until(lambda: len(capture.payloads) + capture.refused["rate_limited"] == 200)
    assert capture.payloads[:50] == [b"%d" % n for n in range(50)]
    assert len(capture.payloads) <= 52
    await source.stop()


async def test_the_rate_of_senders_follows_a_reload_and_one_that_stays_gives_no_new_burst() -> None:
    source = udp(max_rate_per_sender=10)
    assert source._rates is not None
    before = source._rates
    source.become(udp(max_rate_per_sender=10, allow=["127.0.0.0/8"]).config, source.context)
    assert source._rates is before
    source.become(udp(max_rate_per_sender=11).config, source.context)
    assert source._rates is not None
    assert source._rates.rate == 11
    source.become(udp().config, source.context)
    assert source._rates is None
