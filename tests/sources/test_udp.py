import asyncio
import contextlib
import errno
import socket
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import framers
from streamd.core.column import Column
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.errors import EnvironmentFault
from streamd.core.frames import FRAME_OVERHEAD_BYTES
from streamd.core.peer import Peer
from streamd.core.settings import Address
from streamd.net import recvmmsg
from streamd.net.limits import SenderRates
from streamd.net.receive_buffer import SO_RCVBUFFORCE, drops_of
from streamd.net.recvmmsg import HEADERS_BYTES
from streamd.sources import udp as udp_module
from streamd.sources.udp import Udp, peer_text

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def one_by_one(sock: socket.socket, notes: None) -> Any:
    """The receiver where the C library has no call for many datagrams."""
    del notes
    return recvmmsg._one_by_one(sock)


def udp(**options: Any) -> Udp:
    options = {"type": "udp", "listen": "127.0.0.1:0", "receive_buffer": "256KiB"} | options
    config = Udp.Config.model_validate(options)
    return Udp(config, SourceContext("lab", Counters(), framers(config.cut_by)))


def sender(source: Udp, family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect(tuple(source.address))
    return sock


@pytest.mark.parametrize("bulk", [True, False], ids=["recvmmsg", "recvfrom"])
async def test_each_datagram_is_one_frame_with_its_sender(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch, bulk: bool
) -> None:
    if not bulk:
        monkeypatch.setattr("streamd.sources.udp.new_receiver", one_by_one)
    source = udp()
    await source.open(capture)
    sent = [b"a", b"line\nline\n", b"", b"\x00\xff", b"x" * 65507]
    with sender(source) as first, sender(source) as second:
        for payload in sent:
            first.send(payload)
        second.send(b"other")
        await until(lambda: len(capture.payloads) == 6)
        assert capture.payloads == [*sent, b"other"]
        host, port = first.getsockname()
        assert capture.peers[:5] == [f"{host}:{port}"] * 5
        assert capture.peers[5] == f"{host}:{second.getsockname()[1]}"
    await source.stop()


@pytest.mark.parametrize("bulk", [True, False], ids=["recvmmsg", "recvfrom"])
async def test_ipv6(capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch, bulk: bool) -> None:
    if not bulk:
        monkeypatch.setattr("streamd.sources.udp.new_receiver", one_by_one)
    source = udp(listen="[::]:0")
    await source.open(capture)
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as six:
        six.sendto(b"six", ("::1", source.address.port))
        await until(lambda: capture.payloads == [b"six"])
        assert capture.peers == [f"[::1]:{six.getsockname()[1]}"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as four:
        four.sendto(b"four", ("127.0.0.1", source.address.port))
        await until(lambda: capture.payloads == [b"six", b"four"])
        assert capture.peers[1] == f"127.0.0.1:{four.getsockname()[1]}"
    await source.stop()


async def test_every_datagram_the_kernel_saw_is_offered_or_a_kernel_drop(capture: Any) -> None:
    source = udp(receive_buffer="4KiB")
    await source.open(capture)
    source._pause()
    count = 2000
    with sender(source) as sock:
        for n in range(count):
            sock.send(b"%04d" % n * 100)
    await source.stop()
    lost = source.context.counters["kernel_dropped", ""]
    assert lost > 0
    assert len(capture.payloads) + lost == count


async def test_a_full_buffer_stops_reading_until_there_is_room(capture: Any, until: Until) -> None:
    source = udp()
    await source.open(capture)
    capture.accepting = False
    with sender(source) as sock:
        sock.send(b"1")
        await until(lambda: capture.payloads == [b"1"])
        assert not source._reading
        capture.accepting = True
        sock.send(b"2")
        capture.resume()
        await until(lambda: capture.payloads == [b"1", b"2"])
    await source.stop()


@pytest.mark.parametrize("framing", [None, "newline"])
async def test_reading_goes_on_after_every_full_buffer(
    capture: Any, until: Until, framing: str | None
) -> None:
    """Each datagram is a read of its own, so that the rest after a read of few is over in between."""
    source = udp(framing=framing, buffer={"when_full": "block"})
    await source.open(capture)
    sent: list[bytes] = []
    with sender(source) as sock:
        for cycle in range(4):
            capture.accepting = False
            sent.append(b"full %d" % cycle)
            sock.send(sent[-1])
            await until(lambda: capture.payloads == sent)
            assert not source._reading
            capture.accepting = True
            capture.resume()
            for n in range(3):
                sent.append(b"%d after %d" % (n, cycle))
                sock.send(sent[-1])
                await until(lambda: capture.payloads == sent)
    await source.stop()


async def test_nothing_is_read_between_a_full_buffer_and_room_in_it(
    capture: Any, until: Until, stays: Any
) -> None:
    source = udp()
    await source.open(capture)
    capture.accepting = False
    with sender(source) as sock:
        sock.send(b"1")
        await until(lambda: capture.payloads == [b"1"])
        sock.send(b"2")
        await stays(lambda: capture.payloads == [b"1"], 20 * udp_module.REST_S)
        capture.resume()
        await until(lambda: capture.payloads == [b"1", b"2"])
    await source.stop()


async def test_a_framing_cuts_each_datagram_by_itself(capture: Any, until: Until) -> None:
    source = udp(framing="newline", max_frame="8B")
    await source.open(capture)
    with sender(source) as first, sender(source) as second:
        source._pause()
        first.send(b"a\nb")
        second.send(b"c\r\nd\n")
        first.send(b"much too long\nlast\n\0")
        first.send(b"")
        source._resume()
        await until(lambda: len(capture.payloads) == 7)
        one, two = (f"127.0.0.1:{sock.getsockname()[1]}" for sock in (first, second))
    assert capture.payloads == [b"a", b"b", b"c", b"d", b"much too", b"last", b""]
    assert capture.peers == [one, one, two, two, one, one, one]
    assert [frames.flagged for frames in capture.offered] == [True]
    assert dict(source.context.counters) == {("truncated", ""): 1, ("discarded_bytes", ""): 5}
    await source.stop()


async def test_limits_by_sender_count_datagrams_and_not_the_frames_in_them(
    capture: Any, until: Until
) -> None:
    source = udp(framing="newline", max_rate_per_sender=2, allow=["127.0.0.1/32"])
    await source.open(capture)
    source._pause()
    with sender(source) as sock:
        for n in range(4):
            sock.send(b"%d\n%d" % (n, n))
        source._resume()
        await until(lambda: capture.refused["rate_limited"] == 2)
    assert capture.payloads == [b"0", b"0", b"1", b"1"]
    await source.stop()


async def test_all_ports_of_a_host_share_its_rate_however_they_are_read(capture: Any) -> None:
    source = udp()
    await source.open(capture)
    rates = SenderRates(3)
    first, second, other = Peer("10.0.0.1:1"), Peer("10.0.0.1:2"), Peer("10.0.0.2:1")
    for peers, kept in (
        (Column(first), [b"0", b"1"]), (Column(second), [b"0"]), (Column(other), [b"0", b"1"]),
        (Column.each([first, other], first), [b"1"]), (Column.each([second, other], first), []),
    ):  # fmt: skip
        payloads, _ = source._within_rates(rates, [b"0", b"1"], peers, 5.0)
        assert payloads == kept
    assert capture.refused == {"rate_limited": 1 + 1 + 2}
    await source.stop()


async def test_another_framing_by_a_reload_holds_for_the_next_datagram(capture: Any, until: Until) -> None:
    source = udp()
    await source.open(capture)
    with sender(source) as sock:
        sock.send(b"a\nb")
        await until(lambda: capture.payloads == [b"a\nb"])
        other = udp(framing="newline", listen=str(source.config.listen))
        assert source.can_become(other.config)
        source.become(other.config, other.context)
        sock.send(b"a\nb")
        await until(lambda: capture.payloads == [b"a\nb", b"a", b"b"])
    await source.stop()


@pytest.mark.parametrize("option", [{"max_frame": "1KiB"}, {"oversize": "drop"}])
def test_a_limit_of_frames_without_a_framing_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="needs framing"):
        udp(**option)
    udp(framing="newline", **option)


def test_a_datagram_has_no_connection_to_close() -> None:
    with pytest.raises(ValidationError, match="oversize"):
        udp(framing="newline", oversize="close")


async def test_stop_offers_what_the_kernel_holds_and_takes_no_more(capture: Any) -> None:
    source = udp()
    await source.open(capture)
    source._pause()
    with sender(source) as sock:
        for n in range(100):
            sock.send(b"%d" % n)
        await source.stop()
        await source.stop()
        assert capture.payloads == [b"%d" % n for n in range(100)]
        sock.send(b"late")
        with pytest.raises(ConnectionRefusedError):
            sock.send(b"later")


async def test_room_that_comes_during_the_stop_leaves_no_reader_to_whoever_gets_the_number_next(
    capture: Any,
) -> None:
    source = udp()
    await source.open(capture)
    assert source._socket is not None
    number = source._socket.fileno()
    with sender(source) as sock:
        sock.send(b"last")
        asyncio.get_running_loop().call_soon(capture.resume)
        await source.stop()
    assert capture.payloads == [b"last"]
    assert not asyncio.get_running_loop().remove_reader(number)


async def test_reading_goes_on_after_each_time_the_buffer_was_full_and_not_before(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch, stays: Any
) -> None:
    monkeypatch.setattr("streamd.sources.udp.REST_S", 0.03)
    source = udp()
    await source.open(capture)
    sent: list[bytes] = []
    with sender(source) as sock:

        def send() -> bool:
            sent.append(b"%d" % len(sent))
            sock.send(sent[-1])
            return True

        for _ in range(3):
            send()
            await until(lambda: capture.payloads == sent)  # and rests now
            capture.resume()
            capture.accepting = False
            send()
            await until(lambda: capture.payloads == sent)
            send()
            await stays(lambda: capture.payloads == sent[:-1], 0.1)
            assert not source._reading
            capture.accepting = True
            capture.resume()
            await until(lambda: capture.payloads == sent)
            for _ in range(3):
                send()
                await until(lambda: capture.payloads == sent)
    await source.stop()


class Held:
    """A socket that somebody else holds too and gives to the source, like a service manager."""

    its_notes: Any = None

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.setblocking(False)

    def take(self, listen: Any, kind: Any, owner: str) -> tuple[socket.socket, Address]:
        del listen, kind, owner
        return self.sock.dup(), Address(*self.sock.getsockname())

    def give_back(self, listen: Any, kind: Any) -> bool:
        del listen, kind
        return False

    def notes(self, source: str) -> Any:
        del source
        return self.its_notes


def held_udp(**options: Any) -> tuple[Udp, Held]:
    held = Held()
    context = SourceContext("lab", Counters(), None, sockets=held)  # type: ignore[arg-type]  # a part of it
    options = {"type": "udp", "listen": "127.0.0.1:0", "receive_buffer": "4KiB"} | options
    return Udp(Udp.Config.model_validate(options), context), held


async def test_what_the_kernel_dropped_of_a_socket_before_it_was_taken_is_not_the_sources(
    capture: Any,
) -> None:
    source, held = held_udp()
    with held.sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(200):
            sock.sendto(b"x" * 100, held.sock.getsockname())
        await source.open(capture)
        source._pause()
        source.refresh()
        assert source.context.counters["kernel_dropped", ""] == 0
        for _ in range(200):
            sock.sendto(b"x" * 100, held.sock.getsockname())
        source.refresh()
        dropped = source.context.counters["kernel_dropped", ""]
        assert 0 < dropped <= 200
        source.refresh()
        assert source.context.counters["kernel_dropped", ""] == dropped
        await source.stop()


async def test_what_the_kernel_dropped_after_another_process_counted_is_the_sources(capture: Any) -> None:
    source, held = held_udp()
    with held.sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for _ in range(200):
            sock.sendto(b"x" * 100, held.sock.getsockname())
        dropped = drops_of(held.sock)
        assert dropped > 3
        held.its_notes = SimpleNamespace(
            headers=memoryview(bytearray(HEADERS_BYTES)), counted_drops=3, begin=int, end=int
        )
        await source.open(capture)
        source.refresh()
        assert source.context.counters["kernel_dropped", ""] == dropped - 3
        await source.stop()


async def test_a_kernels_count_that_begins_anew_is_no_loss_less(capture: Any) -> None:
    source = udp()
    await source.open(capture)
    assert source._kernel is not None
    source._kernel._drops = 2**32 - 2
    source.refresh()
    assert source.context.counters["kernel_dropped", ""] == 2
    await source.stop()


async def test_a_stop_reads_all_that_the_kernel_holds_and_nothing_that_comes_meanwhile(capture: Any) -> None:
    source = udp(receive_buffer="4MiB")
    await source.open(capture)
    source._pause()
    offer = capture.offer
    with sender(source) as sock:
        for n in range(1200):
            sock.send(b"%d" % n)

        def while_it_stops(frames: Any) -> bool:
            with contextlib.suppress(OSError):
                sock.send(b"late")
            return bool(offer(frames))

        capture.offer = while_it_stops
        await source.stop()
    assert capture.payloads == [b"%d" % n for n in range(1200)]


async def test_what_waits_in_a_socket_that_others_hold_is_left_to_them_unfiltered(capture: Any) -> None:
    source, held = held_udp()
    await source.open(capture)
    source._pause()
    source._flood_filter._attach(socket.inet_aton("127.0.0.1"), 0.0)
    with held.sock, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        await source.stop()
        for n in range(3):
            sock.sendto(b"%d" % n, held.sock.getsockname())
        assert [held.sock.recv(10) for _ in range(3)] == [b"0", b"1", b"2"]
    assert capture.payloads == []


async def test_a_reload_changes_who_may_send_and_grows_the_receive_buffer(capture: Any, until: Until) -> None:
    source = udp(receive_buffer="16KiB")
    await source.open(capture)
    assert source._socket is not None
    had = source._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    same_place = {"listen": str(source.config.listen)}
    assert source.can_become(udp(**same_place, allow=["10.0.0.0/8"]).config)
    assert not source.can_become(udp(listen="127.0.0.1:9").config)
    source.become(udp(**same_place, allow=["127.0.0.2/32"], receive_buffer="256KiB").config, source.context)
    assert source._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > had
    with sender(source) as sock:
        sock.send(b"no more")
        await until(lambda: capture.refused["not_allowed"] == 1)
        source.become(udp(**same_place).config, source.context)
        sock.send(b"again")
        await until(lambda: capture.payloads == [b"again"])
    await source.stop()


async def test_of_a_read_with_strangers_each_friend_keeps_its_own_name_and_weight(
    capture: Any, until: Until
) -> None:
    source = udp(allow=["127.0.0.2/32", "127.0.0.3/32"])
    await source.open(capture)
    source._pause()
    with contextlib.ExitStack() as senders:
        for host in ("127.0.0.1", "127.0.0.2", "127.0.0.1", "127.0.0.3", "127.0.0.4"):
            sock = senders.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.bind((host, 0))
            sock.sendto(host.encode() * 20, tuple(source.address))
        source._resume()
        await until(lambda: len(capture.payloads) == 2)
    assert [peer.rpartition(":")[0] for peer in capture.peers] == ["127.0.0.2", "127.0.0.3"]
    assert [payload[:9] for payload in capture.payloads] == [b"127.0.0.2", b"127.0.0.3"]
    assert capture.offered[0].size_bytes == 2 * (9 * 20 + FRAME_OVERHEAD_BYTES)
    assert capture.refused == {"not_allowed": 3}
    await source.stop()


async def test_a_read_of_strangers_only_is_offered_to_nobody(capture: Any, until: Until) -> None:
    source = udp(allow=["127.0.0.2/32"])
    await source.open(capture)
    with sender(source) as sock:
        sock.send(b"no")
        await until(lambda: capture.refused["not_allowed"] == 1)
    assert capture.offered == []
    await source.stop()


def test_an_error_of_the_socket_is_no_silence() -> None:
    with pytest.raises(OSError, match="Bad file"):
        recvmmsg._raise_unless_empty(errno.EBADF)
    for code in (errno.EAGAIN, errno.EINTR, errno.ECONNREFUSED):
        recvmmsg._raise_unless_empty(code)


def test_one_by_one_reads_as_many_as_in_bulk_and_keeps_what_came_before_the_end() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        socket.socket(type=socket.SOCK_DGRAM) as out,
    ):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind(("127.0.0.1", 0))
        sock.setblocking(False)
        for n in range(recvmmsg.BATCH + 3):
            out.sendto(b"%d" % n, sock.getsockname())
        receive = recvmmsg._one_by_one(sock)
        counts = [len(receive()[0]) for _ in range(3)]
        assert counts == [recvmmsg.BATCH, 3, 0]


async def test_senders_outside_the_allowed_networks_are_counted_and_dropped(
    capture: Any, until: Until
) -> None:
    source = udp(allow=["127.0.0.2/32"])
    await source.open(capture)
    with sender(source) as stranger, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as friend:
        stranger.send(b"no")
        friend.bind(("127.0.0.2", 0))
        friend.sendto(b"yes", tuple(source.address))
        await until(lambda: capture.payloads == [b"yes"])
    assert capture.refused == {"not_allowed": 1}
    await source.stop()


async def test_less_kernel_memory_than_asked_is_one_warning_with_both_numbers(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[dict[str, Any]] = []
    monkeypatch.setattr("streamd.net.receive_buffer.log.warning", lambda _, **fields: warnings.append(fields))
    source = udp(receive_buffer="1TiB")
    await source.open(capture)
    assert len(warnings) == 1
    assert warnings[0]["asked_bytes"] == 2**40
    assert warnings[0]["got_bytes"] < 2**40
    assert "net.core.rmem_max" in warnings[0]["hint"]
    await source.stop()


async def test_who_may_gets_the_receive_buffer_that_was_asked_for(capture: Any) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        try:
            sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 4096)
        except PermissionError:
            pytest.skip("needs CAP_NET_ADMIN")
    source = udp(receive_buffer="64MiB")
    await source.open(capture)
    assert source._socket is not None
    assert source._socket.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) >= 64 * 2**20
    await source.stop()


async def test_a_taken_port_is_a_fault_that_says_what_to_do(capture: Any) -> None:
    source = udp()
    await source.open(capture)
    again = udp(listen=str(source.address))
    with pytest.raises(EnvironmentFault, match="the port is taken"):
        await again.open(capture)
    await source.stop()


async def test_an_address_this_host_has_not_and_a_name_nobody_has(capture: Any) -> None:
    with pytest.raises(EnvironmentFault, match="no such address"):
        await udp(listen="192.0.2.1:9").open(capture)
    with pytest.raises(EnvironmentFault, match="cannot resolve"):
        await udp(listen="no.such.host.invalid:9").open(capture)


async def test_the_memory_of_peers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamd.sources.udp.MAX_PEERS", 100)
    source = udp()
    for n in range(1000):
        raw = socket.AF_INET.to_bytes(2, "little") + n.to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
        assert source._learn(raw) == f"127.0.0.1:{n}"
        assert len(source._peers) <= 100


def test_an_ipv4_address_inside_ipv6_reads_as_ipv4() -> None:
    mapped = b"\0" * 10 + b"\xff\xff" + bytes([192, 0, 2, 7])
    raw = socket.AF_INET6.to_bytes(2, "little") + (53).to_bytes(2, "big") + bytes(4) + mapped + bytes(4)
    assert peer_text(raw) == "192.0.2.7:53"
