"""The codec gelf."""

import gzip
import json
import random
import tomllib
import tracemalloc
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from streamd.codecs.gelf import Gelf
from streamd.codecs.raw import Raw
from streamd.core.contracts import Decoded
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import Schema, SchemaField
from tests.codecs.cases import WIDE_NAMES

RECEIVED_S = 1769846405.0
NOW = Now(RECEIVED_S, 0.0)
CASES = tomllib.loads((Path(__file__).parents[1] / "data/gelf/messages.toml").read_text())["case"]
SHORT = b'{"short_message":"m","timestamp":0,"_n":%d}'

PIECES = [
    SHORT % 1, b'{"short_message":"', b'"', b'"}', b'"host":"h"', b'"_a":1', b'"level":"3"', b'"timestamp":1',
    zlib.compress(SHORT % 2), gzip.compress(SHORT % 3), zlib.compress(b"{"), b"\x1f\x8b", b"\x78\x9c",
    b"\x1e\x0f\0\0\0\0\0\0\0\1\0\1" + SHORT % 4, b"\x1e\x0f\0\0\0\0\0\0\0\1\0\0", b"\x1e",
]  # fmt: skip
DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b'{"short_message":"m","_a":[' + b",".join([b"{}"] * 3000) + b"]}", {}),
    (zlib.compress(b'{"short_message":"m","_a":[' + b",".join([b"[]"] * 3000) + b"]}"), {}),
    (json.dumps({"short_message": "m", **dict.fromkeys(WIDE_NAMES, 1)}, ensure_ascii=False).encode(), {}),
]


def new(schema: Schema | None = None, *, streams: bool = False, **options: Any) -> Gelf:
    codec = Gelf(Gelf.Config(**options), schema)
    codec.place_behind(streams=streams, cut=streams)
    return codec


def schema_of(**fields: Any) -> Schema:
    return Schema("gelf", TypeAdapter(dict[str, SchemaField]).validate_python(fields))


def sent(*payloads: bytes, peer: str = "10.0.0.1:1") -> Frames:
    return Frames.of(list(payloads), peer, RECEIVED_S)


def chunks(text: bytes, size: int, message: int = 1) -> list[bytes]:
    """What a client sends for a long message."""
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    head = b"\x1e\x0f" + message.to_bytes(8)
    return [head + bytes([number, len(parts)]) + part for number, part in enumerate(parts)]


def reasons(decoded: Decoded | None) -> list[tuple[bytes, str]]:
    assert decoded is not None
    return [(bad.payload, bad.reason) for bad in decoded.rejects]


def numbers(decoded: Decoded) -> list[int]:
    return [record["n"] for record in decoded.records]


@pytest.mark.parametrize("case", CASES, ids=[str(number) for number in range(len(CASES))])
def test_a_message_becomes_its_record_or_a_reject(case: dict[str, str]) -> None:
    payload = bytes.fromhex(case["hex"]) if "hex" in case else case["text"].encode()
    for codec in (new(), new(streams=True)):
        done = codec.decode(sent(payload), NOW)
        if "record" in case:
            assert done.records == [json.loads(case["record"])]
            assert done.rejects == []
        else:
            assert reasons(done) == [(payload, case["reason"])]


def test_the_schema_that_the_codec_brings_types_the_fields_of_any_client() -> None:
    schema = schema_of(**Gelf.brings)
    (record,) = new(schema).decode(sent(b'{"short_message":"m","version":1.1,"_a":2}'), NOW).records
    assert record == {
        "timestamp": "2026-01-31T08:00:05.000000Z", "host": None, "level": None, "short_message": "m",
        "full_message": None, "version": "1.1", "a": 2,
    }  # fmt: skip
    done = new(schema).decode(sent(b'{"short_message":"m","full_message":7}'), NOW)
    assert [(bad.reason, bad.detail) for bad in done.rejects] == [
        ("schema:type", "full_message: expected str, got int")
    ]


def test_a_declared_schema_has_the_last_word_on_the_time() -> None:
    milliseconds = schema_of(timestamp={"type": "timestamp", "unit": "ms"}, _id="str", user="str")
    payload = b'{"short_message":"m","timestamp":1769846400123,"_id":"x","_user":"u"}'
    (record,) = new(milliseconds).decode(sent(payload), NOW).records
    assert list(record.values()) == ["2026-01-31T08:00:00.123000Z", "x", "u", "m"]
    number = schema_of(timestamp={"type": "float", "required": False})
    done = new(number).decode(sent(b'{"short_message":"m"}', b'{"short_message":"m","timestamp":2}'), NOW)
    assert [record["timestamp"] for record in done.records] == [None, 2.0]


@pytest.mark.parametrize("pack", [bytes, zlib.compress, gzip.compress])
def test_the_datagrams_of_a_message_are_held_until_the_last_one_comes(pack: Any) -> None:
    codec = new()
    text = pack(SHORT % 7)
    first, second, third = chunks(text, -(-len(text) // 3))
    done = codec.decode(sent(third, SHORT % 1), NOW)
    assert (numbers(done), done.origins, len(done.frames or ())) == ([1], [0], 1)
    assert codec.next_deadline() == 5.0
    done = codec.decode(sent(first), NOW)
    assert (done.records, len(done.frames or ())) == ([], 0)
    done = codec.decode(sent(SHORT % 2, second, SHORT % 3), NOW)
    assert (numbers(done), done.origins, done.rejects) == ([2, 7, 3], [0, 1, 2], [])
    assert done.frames is not None
    assert done.frames.payloads == [SHORT % 2, second, SHORT % 3, first, third]
    assert codec.next_deadline() is None


def test_a_message_in_one_read_is_not_held() -> None:
    parts = chunks(SHORT % 1, 4)
    done = new().decode(sent(*parts), NOW)
    assert (numbers(done), done.origins) == ([1], [len(parts) - 1])
    assert done.frames is not None
    assert done.frames.payloads == parts


def test_chunks_from_several_ports_of_a_host_are_one_message_and_those_of_hosts_are_not() -> None:
    one, two = chunks(SHORT % 1, 30)
    codec = new()
    codec.decode(sent(one, peer="10.0.0.1:1"), NOW)
    assert codec.decode(sent(two, peer="10.0.0.2:1"), NOW).records == []
    assert numbers(codec.decode(sent(two, peer="10.0.0.1:2"), NOW)) == [1]
    codec.decode(sent(one, peer="pid=1,uid=0,gid=0"), NOW)
    assert codec.decode(sent(two, peer="pid=2,uid=0,gid=0"), NOW).records == []


def test_every_datagram_of_a_broken_message_is_rejected_with_its_bytes() -> None:
    one, two, three = chunks(b'{"short_message": 1}', 7)
    codec = new()
    codec.decode(sent(two, one), NOW)
    done = codec.decode(sent(SHORT % 1, three), NOW)
    assert numbers(done) == [1]
    assert reasons(done) == [(three, "gelf:message"), (one, "gelf:message"), (two, "gelf:message")]
    assert [bad.index for bad in done.rejects] == [1, 2, 3]


def test_datagrams_that_are_no_chunk_of_their_message_are_rejected_alone() -> None:
    one, two = chunks(SHORT % 1, 30)
    other = one[:11] + b"\3" + one[12:]
    codec = new()
    done = codec.decode(sent(one, one, other, two), NOW)
    assert numbers(done) == [1]
    assert reasons(done) == [(one, "gelf:duplicate"), (other, "gelf:chunk")]
    assert [bad.index for bad in done.rejects] == [1, 2]


def test_a_message_without_its_last_chunk_is_rejected_when_its_time_is_over() -> None:
    one, two = chunks(SHORT % 1, 30)
    codec = new(chunk_timeout="2s")
    codec.decode(sent(one), Now(RECEIVED_S, 10.0))
    assert codec.next_deadline() == 12.0
    assert codec.tick(Now(RECEIVED_S, 11.9)) is None
    done = codec.tick(Now(RECEIVED_S, 12.1))
    assert reasons(done) == [(one, "gelf:incomplete")]
    assert done is not None
    assert done.frames is not None
    assert done.frames.payloads == [one]
    codec.decode(sent(two), Now(RECEIVED_S, 12.2))
    assert reasons(codec.finish(NOW)) == [(two, "gelf:incomplete")]
    assert codec.finish(NOW) is None


def test_chunks_that_waited_behind_a_blocked_sink_are_not_too_late() -> None:
    one, two = chunks(SHORT % 1, 30)
    codec = new()
    codec.decode(sent(one), Now(RECEIVED_S, 0.0))
    assert codec.tick(Now(RECEIVED_S, 60.0)) is None
    assert codec.next_deadline() == 65.0
    assert numbers(codec.decode(sent(two), Now(RECEIVED_S, 60.0))) == [1]


def test_after_a_reload_the_next_codec_completes_the_messages() -> None:
    one, two = chunks(SHORT % 1, 30)
    old, new_one = new(), new(chunk_timeout="9s")
    old.decode(sent(one), NOW)
    assert new_one.can_adopt(old)
    new_one.adopt(old)
    assert old.finish(NOW) is None
    assert new_one.next_deadline() == 9.0
    assert numbers(new_one.decode(sent(two), NOW)) == [1]
    assert not new_one.can_adopt(new(streams=True))
    assert not new(streams=True).can_adopt(old)
    assert not new_one.can_adopt(Raw(Raw.Config(), None))


def test_in_a_stream_no_chunk_is_held() -> None:
    one, two = chunks(SHORT % 1, 30)
    codec = new(streams=True)
    assert codec.holds is False
    assert reasons(codec.decode(sent(one, two), NOW)) == [(one, "gelf:chunk"), (two, "gelf:chunk")]


def test_a_bomb_is_rejected_and_its_content_never_made() -> None:
    text = b'{"short_message":"' + b"a" * 30_000_000 + b'"}'
    bombs = [zlib.compress(text), gzip.compress(text)]
    parts = chunks(bombs[0], 8192, 7)
    del text
    codec = new(max_message="1MiB")
    tracemalloc.start()
    try:
        done = codec.decode(sent(*bombs, *parts), NOW)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert reasons(done) == [(payload, "compressed:size") for payload in [*bombs, *parts]]
    assert peak < 3 * 2**20


def test_records_of_compressed_messages_count_with_their_true_size() -> None:
    text = b'{"short_message":"' + b"a" * 100_000 + b'"}'
    done = new().decode(sent(zlib.compress(text)), NOW)
    assert done.size_bytes is not None
    assert done.size_bytes >= 100_000
    parts = chunks(text, 60_000)
    done = new().decode(sent(*parts), NOW)
    assert done.size_bytes is not None
    assert done.size_bytes >= 100_000


def test_a_flood_of_first_chunks_keeps_to_the_memory_and_a_message_that_has_begun_is_completed() -> None:
    codec = new(max_waiting="2MiB", max_waiting_per_sender="1MiB")
    one, two = chunks(SHORT % 1, 30)
    codec.decode(sent(one), NOW)
    chance = random.Random(27)  # noqa: S311 - no secret
    flood = 20_000
    held = rejected = 0
    tracemalloc.start()
    try:
        for start in range(0, flood, 500):
            payloads = [b"\x1e\x0f" + chance.randbytes(8) + b"\0\x80x" for _ in range(500)]
            peer = f"10.0.{start // 5000}.1:5"
            done = codec.decode(Frames.of(payloads, peer, RECEIVED_S), NOW)
            held += 500 - len(done.frames or ())
            rejected += len(done.rejects)
            assert {bad.reason for bad in done.rejects} <= {"gelf:limit"}
        del done, payloads
        kept_bytes = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert held + rejected == flood
    assert 500 < held < 1200
    assert kept_bytes < 1.2 * 2**20  # half of max_waiting
    assert numbers(codec.decode(sent(two), NOW)) == [1]
    given_up = codec.tick(Now(RECEIVED_S, 5.0))
    assert given_up is not None
    assert len(given_up.rejects) == len(given_up.frames or ()) == held


@pytest.mark.parametrize(
    "options",
    [
        {"max_message": "0B"},
        {"chunk_timeout": "0s"},
        {"max_incomplete": 0},
        {"max_incomplete": 10},
        {"max_waiting": "1MiB"},
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gelf.Config(**options)


def test_options_for_chunks_are_refused_where_there_are_none() -> None:
    new(streams=True, max_message="1MiB")
    new(chunk_timeout="1s", max_incomplete=2, max_incomplete_per_sender=1)
    with pytest.raises(ValueError, match=r"a stream has no chunks: remove chunk_timeout, max_waiting$"):
        new(streams=True, max_waiting="64MiB", chunk_timeout="5s")


MESSAGES = st.lists(
    st.tuples(
        st.sampled_from(["10.0.0.1:1", "10.0.0.1:2", "10.0.0.2:1"]),
        st.integers(1, 5),
        st.sampled_from([bytes, zlib.compress]),
        st.sampled_from(["whole", "lost", "doubled"]),
    ),
    max_size=8,
)


@given(messages=MESSAGES, chance=st.randoms(use_true_random=False), reads=st.lists(st.integers(1, 9)))
def test_every_datagram_has_one_fate_in_whatever_order_and_reads_they_come(
    messages: list[Any], chance: random.Random, reads: list[int]
) -> None:
    codec = new()
    datagrams: list[tuple[str, bytes]] = []
    whole: Counter[int] = Counter()
    for number, (peer, count, pack, fate) in enumerate(messages):
        text = pack(SHORT % number)
        parts = chunks(text, -(-len(text) // count), number)
        if fate == "lost" and len(parts) > 1:
            parts.pop(chance.randrange(len(parts)))
        else:
            whole[number] += 1
        if fate == "doubled" and len(parts) > 1:
            parts.append(parts[0])
        datagrams += [(peer, part) for part in parts]
    chance.shuffle(datagrams)
    found: Counter[int] = Counter()
    fates: Counter[bytes] = Counter()
    rejected = 0
    at = 0
    for size in [*reads, len(datagrams)]:
        read, at = datagrams[at : at + size], at + size
        if not read:
            break
        done = codec.decode(
            Frames.of([part for _, part in read], [peer for peer, _ in read], RECEIVED_S), NOW
        )
        frames = done.frames
        assert frames is not None
        assert done.origins == sorted(done.origins or ())
        assert {bad.index for bad in done.rejects}.isdisjoint(done.origins)
        assert all(frames.payloads[bad.index] == bad.payload for bad in done.rejects)
        found.update(numbers(done))
        fates.update(frames.payloads)
        rejected += len(done.rejects)
    last = codec.finish(NOW)
    if last is not None:
        assert last.frames is not None
        fates.update(last.frames.payloads)
        rejected += len(last.rejects)
    assert found == whole
    assert fates == Counter(part for _, part in datagrams)
    assert rejected <= len(datagrams) - len(found)


@pytest.mark.parametrize("ends", ["drain", "abandon"])
async def test_the_books_of_chunks_balance_however_the_daemon_ends(ends: str, new_line: Any) -> None:
    chance = random.Random(ends)  # noqa: S311 - no secret
    line = new_line(codec=new())
    line.run()
    peers = [Peer(f"10.0.0.{host}:5") for host in range(3)]
    datagrams = [part for n in range(40) for part in chunks(SHORT % n, 9, n)]
    chance.shuffle(datagrams)
    datagrams = datagrams[: len(datagrams) - 7]
    for start in range(0, len(datagrams), 11):
        line.offer(Frames.of(datagrams[start : start + 11], peers[start % 2], RECEIVED_S))
    await (line.drain() if ends == "drain" else line.abandon())
    book = line.books.source("lab")
    assert book.received == len(datagrams)
    line.assert_exact()
    if ends == "drain":
        assert set(book.rejected) <= {"gelf:incomplete"}
        assert len(line.letters.letters) == book.rejected.total()
