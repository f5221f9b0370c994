import socket
import struct
from collections.abc import Iterator
from typing import Any

import pytest

from streamd.net.flood_filter import (
    CALM_PER_S,
    FIRST_PART,
    LEAST_PART,
    OTHERS_S,
    SO_MEMINFO,
    FloodFilter,
    host_of,
)
from streamd.runtime.peer_redaction import PeerRedaction

SO_LOCK_FILTER = 44


@pytest.fixture(params=["127.0.0.1", "::1", "::"])
def receiver(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    family = socket.AF_INET if request.param == "127.0.0.1" else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, request.param != "::")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        sock.bind((request.param, 0))
        sock.setblocking(False)
        yield sock


def send(receiver: socket.socket, host: str, count: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((host, 0))
        for _ in range(count):
            sock.sendto(b"x", ("::1" if ":" in host else "127.0.0.1", receiver.getsockname()[1]))


def received(receiver: socket.socket) -> int:
    count = 0
    while True:
        try:
            receiver.recv(10)
        except BlockingIOError:
            return count
        count += 1


def dropped(receiver: socket.socket) -> int:
    number: int = struct.unpack("9I", receiver.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 36))[8]
    return number


def raw(host: str) -> bytes:
    if ":" in host:
        return struct.pack("=HHI16sI", socket.AF_INET6, 0, 0, socket.inet_pton(socket.AF_INET6, host), 0)
    return struct.pack("=HH4s8x", socket.AF_INET, 0, socket.inet_pton(socket.AF_INET, host))


def flooded(filter_: FloodFilter, queues: list[float], host: str, *others: str, mono_s: float = 1.0) -> None:
    """Full reads of one host, with a few others among them, behind which the queue was so full."""
    for queue in queues:
        filter_._queue = lambda queue=queue: queue  # type: ignore[method-assign, misc]  # the kernel's word
        filter_.observe([raw(host)] * 500 + [raw(other) for other in others], mono_s)


def tenth(filter_: FloodFilter, number: int, queue: float, passed: int = 10_000) -> float:
    """A tenth of a second in which so much of the host passed; the part that passes from now on."""
    filter_._queue = lambda: queue  # type: ignore[method-assign]  # the kernel's word
    filter_.measure_queue()
    filter_.observe([raw("10.0.0.1")] * passed + [raw("10.0.0.2")], 1.0)
    filter_.relax(1.0 + number / 10)
    return filter_.part


@pytest.fixture
def v4() -> Iterator[FloodFilter]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        yield FloodFilter(sock, "lab")


def test_a_part_of_one_host_passes_and_all_of_the_others(receiver: socket.socket) -> None:
    filter_ = FloodFilter(receiver, "lab")
    flood, others = ("127.0.0.9", ["127.0.0.2"]) if receiver.family == socket.AF_INET else ("::1", [])
    if receiver.getsockname()[0] == "::":
        flood, others = "127.0.0.9", ["::1", "127.0.0.2"]
    filter_._attach(host_of(raw(flood)), 0.25)
    send(receiver, flood, 1000)
    passed = received(receiver)
    assert 100 < passed < 400
    assert dropped(receiver) == 1000 - passed, "the kernel has counted each"
    for other in others:
        send(receiver, other, 1000)
        assert received(receiver) == 1000
    filter_.disengage()
    send(receiver, flood, 1000)
    assert received(receiver) == 1000


def test_what_a_killed_process_has_left_is_taken_away(receiver: socket.socket) -> None:
    host = "127.0.0.1" if receiver.family == socket.AF_INET else "::1"
    FloodFilter(receiver, "lab")._attach(host_of(raw(host)), 0.0)
    send(receiver, host, 10)
    assert received(receiver) == 0
    FloodFilter(receiver, "lab")
    send(receiver, host, 10)
    assert received(receiver) == 10


def test_a_kernel_that_refuses_the_filter_costs_nothing(receiver: socket.socket) -> None:
    FloodFilter(receiver, "lab")._attach(host_of(raw("10.0.0.9")), 0.5)
    receiver.setsockopt(socket.SOL_SOCKET, SO_LOCK_FILTER, 1)
    filter_ = FloodFilter(receiver, "lab")
    flooded(filter_, [0.1, 0.3, 0.5, 0.9], "10.0.0.1", "10.0.0.2")
    assert not filter_.engaged
    assert filter_.part == 1.0
    filter_.disengage()


def test_it_engages_where_a_host_floods_beside_others(v4: FloodFilter) -> None:
    flooded(v4, [0.1, 0.3], "10.0.0.1", "10.0.0.2")
    assert v4.engaged
    assert v4.part == FIRST_PART


@pytest.mark.parametrize(
    ("queues", "others", "why"),
    [
        ([0.1, 0.3, 0.9, 1.0], (), "nobody else is there"),
        ([0.9, 0.8, 0.7, 0.6], ("10.0.0.2",), "it catches up"),
        ([0.01, 0.02, 0.03], ("10.0.0.2",), "the queue is short"),
        ([0.1, 0.5, 1.0], tuple(f"10.0.1.{n}" for n in range(255)) * 2, "it sends less than half"),
    ],
)
def test_it_lets_everything_pass_otherwise(
    v4: FloodFilter, queues: list[float], others: tuple[str, ...], why: str
) -> None:
    flooded(v4, queues, "10.0.0.1", *others)
    assert not v4.engaged, why


def test_others_count_for_a_while_after_they_were_heard(v4: FloodFilter) -> None:
    flooded(v4, [0.0], "10.0.0.1", "10.0.0.2", mono_s=1.0)
    flooded(v4, [0.1, 0.5, 0.9], "10.0.0.1", mono_s=2.0 + OTHERS_S)
    assert not v4.engaged
    flooded(v4, [0.0], "10.0.0.1", "10.0.0.2", mono_s=20.0)
    flooded(v4, [0.1, 0.5, 0.9], "10.0.0.1", mono_s=19.0 + OTHERS_S)
    assert v4.engaged


def test_more_passes_while_the_queue_is_short_less_while_it_is_long_and_all_when_it_is_over(
    v4: FloodFilter,
) -> None:
    flooded(v4, [0.1, 0.3], "10.0.0.1", "10.0.0.2", mono_s=1.0)

    parts: list[Any] = [tenth(v4, 1, 0.05), tenth(v4, 2, 0.2), tenth(v4, 3, 0.3), tenth(v4, 4, 0.05)]
    assert parts == pytest.approx(
        [FIRST_PART * 1.1, FIRST_PART * 1.1, FIRST_PART * 1.1 / 2, FIRST_PART * 1.1**2 / 2]
    )
    assert v4.engaged
    assert tenth(v4, 5, 0.0, passed=0) == 1.0
    assert not v4.engaged


def test_however_long_the_queue_stays_full_a_least_part_passes_and_later_more(v4: FloodFilter) -> None:
    flooded(v4, [0.1, 0.3], "10.0.0.1", "10.0.0.2", mono_s=1.0)
    parts = [tenth(v4, number, 1.0) for number in range(1, 20)]
    assert parts == sorted(parts, reverse=True)
    assert parts[-1] == LEAST_PART
    assert tenth(v4, 20, 0.0) == pytest.approx(LEAST_PART * 1.1)


def test_while_the_queue_stays_short_all_pass_in_the_end_and_no_more_than_all(v4: FloodFilter) -> None:
    flooded(v4, [0.1, 0.3], "10.0.0.1", "10.0.0.2", mono_s=1.0)
    parts = [tenth(v4, number, 0.0) for number in range(1, 30)]
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    assert v4.engaged
    assert tenth(v4, 30, 1.0) == 0.5


def test_the_flood_is_over_when_little_is_sent_not_when_little_passes(v4: FloodFilter) -> None:
    flooded(v4, [0.1, 0.3], "10.0.0.1", "10.0.0.2", mono_s=1.0)
    passes_per_tenth = round(CALM_PER_S * FIRST_PART / 10)
    assert tenth(v4, 1, 0.2, passed=passes_per_tenth + 1) == FIRST_PART
    assert v4.engaged
    assert tenth(v4, 2, 0.2, passed=passes_per_tenth - 2) == 1.0
    assert not v4.engaged


@pytest.mark.parametrize(("host", "shown"), [("10.0.0.1", "10.0.0.0"), ("2001:db8:1:2::3", "2001:db8:1::")])
def test_the_log_shows_a_flooding_host_as_the_source_redacts_it(
    host: str, shown: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[Any] = []
    monkeypatch.setattr("streamd.net.flood_filter.log.warning", lambda _, **fields: logged.append(fields))
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as sock:
        flooded(FloodFilter(sock, "lab"), [0.1, 0.3], host, "10.0.0.2")
        flooded(FloodFilter(sock, "lab", PeerRedaction("truncate")), [0.1, 0.3], host, "10.0.0.2")
    assert [fields["sender"] for fields in logged] == [host, shown]
