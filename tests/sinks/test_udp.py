"""The sink `udp`, and the addresses that `net/peer_address.py` refuses."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import encoder_of
from streamd.core.batch import Batch
from streamd.core.contracts import SinkContext
from streamd.core.errors import ConfigError, SinkError
from streamd.core.shared import Shared
from streamd.sinks.udp import Udp

BatchOf = Callable[..., Batch]
REFUSALS: dict[str, Any] = {}


@contextlib.contextmanager
def receiving() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        yield receiver


@contextlib.asynccontextmanager
async def peer(_: Path) -> AsyncIterator[dict[str, Any]]:
    with receiving() as receiver:
        yield {"address": f"127.0.0.1:{receiver.getsockname()[1]}"}


@pytest.fixture
def receiver() -> Iterator[socket.socket]:
    with receiving() as found:
        yield found


@pytest.fixture
async def sink(receiver: socket.socket, bench: Any, tmp_path: Path) -> AsyncIterator[Callable[..., Udp]]:
    made: list[Udp] = []

    def make(**config: Any) -> Udp:
        address = f"127.0.0.1:{receiver.getsockname()[1]}"
        settings = Udp.Config.model_validate({"type": "udp", "address": address, **config})
        context = SinkContext("out", {}, tmp_path, bench.office, Shared(), encoder=encoder_of(settings))
        made.append(Udp(settings, context))
        return made[-1]

    yield make
    for out in made:
        await out.close()


async def test_each_record_is_one_datagram_in_order(
    sink: Any, receiver: socket.socket, batch_of: BatchOf, bench: Any
) -> None:
    out = sink()
    await out.open()
    written = await out.write([batch_of([{"n": 1}]), batch_of([{"n": float("nan")}, {"n": 2}])])
    assert written.rejected_counts == [0, 1]
    assert [receiver.recv(65536) for _ in range(2)] == [b'{"n":1}', b'{"n":2}']
    assert [letter.reason for letter in bench.office.letters] == ["row:not_finite"]
    assert out.progress == 2


async def test_a_record_that_no_datagram_has_room_for_is_a_dead_letter_and_the_others_are_sent(
    sink: Any, receiver: socket.socket, batch_of: BatchOf, bench: Any
) -> None:
    out = sink(max_datagram="9B", encoder={"type": "csv", "columns": ["n"]})
    records = [{"n": "12345"}, {"n": float("inf")}, {"n": "123456"}, {"n": "123456789"}]
    written = await out.write([batch_of(records)])
    assert [*written.rejected] == [[1, 3]]
    assert [letter.reason for letter in bench.office.letters] == ["row:not_finite", "too_long"]
    assert [receiver.recv(65536) for _ in range(2)] == [b"n\r\n12345", b"n\r\n123456"]


def test_a_header_that_leaves_no_room_for_a_record_is_refused(sink: Any) -> None:
    table = {"type": "csv", "columns": ["name", "n"]}
    sink(max_datagram="9B", encoder=table)
    sink(max_datagram="8B", encoder={**table, "header": False})
    with pytest.raises(ConfigError, match="has 8 bytes, so no record fits") as error:
        sink(max_datagram="8B", encoder=table)
    assert error.value.keys == ("max_datagram",)


async def test_a_receiver_that_is_not_there_is_waited_for_and_its_answers_are_counted(
    sink: Any, batch_of: BatchOf
) -> None:
    with receiving() as gone:
        where = gone.getsockname()
    out = sink(address=f"127.0.0.1:{where[1]}")
    batches = [batch_of([{"n": number} for number in range(3)])]
    lost = 0
    for _ in range(2):  # the kernel takes a datagram, and reports the answer at the next one
        with pytest.raises(SinkError, match="nothing listens there"):
            await out.write(batches)
        lost += 1
    assert out.context.counters.numbers() == {"refused": lost}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(where)
        back.settimeout(30)
        await out.write(batches)
        assert back.recv(65536) == b'{"n":2}'
    assert out.progress == 3


async def test_an_answer_after_the_last_record_is_counted_at_the_end(sink: Any, batch_of: BatchOf) -> None:
    with receiving() as gone:
        port = gone.getsockname()[1]
    out = sink(address=f"127.0.0.1:{port}")
    await out.write([batch_of([{"n": 1}])])
    await out.close()
    assert out.context.counters.numbers() == {"refused": 1}


async def test_a_name_that_does_not_exist_is_a_reason(sink: Any, batch_of: BatchOf) -> None:
    out = sink(address="no-such-host.invalid:1")
    with pytest.raises(SinkError, match=r"resolve: no-such-host\.invalid:1"):
        await out.write([batch_of([{"n": 1}])])


async def test_many_records_let_the_loop_turn(sink: Any, receiver: socket.socket, batch_of: BatchOf) -> None:
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await sink().write([batch_of([{"n": number} for number in range(640)])])
    counting.cancel()
    assert turns >= 10
    assert [receiver.recv(65536) for _ in range(640)][-1] == b'{"n":639}'


@pytest.mark.parametrize(
    "config", [{"address": "127.0.0.1:0"}, {"address": "somewhere"}, {"max_datagram": "65508B"}]
)
async def test_what_cannot_be_meant_is_refused(config: dict[str, Any], sink: Any) -> None:
    with pytest.raises(ValidationError):
        sink(**config)


async def test_packed_datagrams_have_as_many_lines_as_fit_and_each_record_is_counted(
    sink: Any, receiver: socket.socket, batch_of: BatchOf, bench: Any
) -> None:
    out = sink(pack=True, max_datagram="16B")
    records = [{"n": 1}, {"n": 2}, {"n": float("nan")}, {"n": 345}, {"n": 6}, {"n": "much too long"}]
    written = await out.write([batch_of(records), batch_of([{"n": 78901}, {"n": 234567890}])])
    assert [*map(list, written.rejected)] == [[2, 5], []]
    assert [letter.reason for letter in bench.office.letters] == ["row:not_finite", "too_long"]
    sent = [b'{"n":1}\n{"n":2}', b'{"n":345}', b'{"n":6}', b'{"n":78901}', b'{"n":234567890}']
    assert [receiver.recv(65536) for _ in sent] == sent
    assert out.progress == 5


async def test_each_packed_datagram_has_the_header_of_its_format(
    sink: Any, receiver: socket.socket, batch_of: BatchOf
) -> None:
    out = sink(pack=True, max_datagram="11B", encoder={"type": "csv", "columns": ["n"]})
    await out.write([batch_of([{"n": number} for number in (1, 2, 3, 44, 5)])])
    assert [receiver.recv(65536) for _ in range(2)] == [b"n\r\n1\r\n2\r\n3", b"n\r\n44\r\n5"]


async def test_a_packed_message_of_two_lines_is_a_dead_letter_and_goes_whole_without_pack(
    sink: Any, receiver: socket.socket, batch_of: BatchOf, bench: Any
) -> None:
    for pack, rejected in ((True, [[1]]), (False, [[]])):
        out = sink(pack=pack, encoder="text")
        records = [{"message": "a"}, {"message": "b\nc"}, {"message": "d"}]
        written = await out.write([batch_of(records)])
        assert [*map(list, written.rejected)] == rejected
    assert [receiver.recv(65536) for _ in range(4)] == [b"a\nd", b"a", b"b\nc", b"d"]
    assert [letter.reason for letter in bench.office.letters] == ["newline"]


async def test_a_packed_datagram_that_was_refused_is_sent_again_whole(sink: Any, batch_of: BatchOf) -> None:
    with receiving() as gone:
        where = gone.getsockname()
    out = sink(address=f"127.0.0.1:{where[1]}", pack=True, max_datagram="15B")
    batches = [batch_of([{"n": number} for number in range(5)])]
    with pytest.raises(SinkError, match="nothing listens there"):
        await out.write(batches)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as back:
        back.bind(where)
        back.settimeout(30)
        await out.write(batches)
        assert [back.recv(65536) for _ in range(2)] == [b'{"n":2}\n{"n":3}', b'{"n":4}']
    assert (out.progress, out.context.counters.numbers()) == (3, {"refused": 1})


@pytest.mark.parametrize("encoder", ["syslog", "gelf", "msgpack"])
async def test_what_is_one_message_in_a_datagram_is_not_packed(encoder: str, sink: Any) -> None:
    with pytest.raises(ConfigError, match=f"a receiver of {encoder} reads one message") as refused:
        sink(pack=True, encoder=encoder)
    assert refused.value.keys == ("pack",)


async def test_a_datagram_fits_into_one_packet_if_it_is_packed(sink: Any) -> None:
    assert [sink(**config).config.most_bytes for config in ({}, {"pack": True})] == [65507, 1400]
