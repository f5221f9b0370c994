import asyncio
import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from streamd.core.books import FrameBook
from streamd.core.contracts import SourceContext
from streamd.core.errors import EnvironmentFault
from streamd.sources import _recvmmsg
from streamd.sources.udp import Udp, peer_text

Until = Callable[[Callable[[], bool]], Awaitable[None]]


def udp(**options: Any) -> Udp:
    options = {"type": "udp", "listen": "127.0.0.1:0", "receive_buffer": "256KiB"} | options
    return Udp(Udp.Config.model_validate(options), SourceContext("lab", FrameBook("lab"), None))


def sender(source: Udp, family: int = socket.AF_INET) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_DGRAM)
    sock.connect(tuple(source.address))
    return sock


@pytest.mark.parametrize("bulk", [True, False], ids=["recvmmsg", "recvfrom"])
async def test_each_datagram_is_one_frame_with_its_sender(
    capture: Any, until: Until, monkeypatch: pytest.MonkeyPatch, bulk: bool
) -> None:
    if not bulk:
        monkeypatch.setattr("streamd.sources.udp.new_receiver", _recvmmsg._one_by_one)
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
        monkeypatch.setattr("streamd.sources.udp.new_receiver", _recvmmsg._one_by_one)
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
    lost = source.context.book.notes["kernel_dropped", ""]
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
    book = source.context.book
    assert (book.received, book.dropped["not_allowed"]) == (1, 1)
    await source.stop()


async def test_less_kernel_memory_than_asked_is_one_warning_with_both_numbers(
    capture: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    warnings: list[dict[str, Any]] = []
    monkeypatch.setattr("streamd.sources.udp.log.warning", lambda _, **fields: warnings.append(fields))
    source = udp(receive_buffer="1TiB")
    await source.open(capture)
    assert len(warnings) == 1
    assert warnings[0]["asked_bytes"] == 2**40
    assert warnings[0]["got_bytes"] < 2**40
    assert "net.core.rmem_max" in warnings[0]["hint"]
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
