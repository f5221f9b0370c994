"""What holds for every codec, whatever the bytes."""

import asyncio
import contextlib
import itertools
import json
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd import registry
from streamd.core.batch import Record
from streamd.core.contracts import AnyCodec, BadElement, Codec, Decoded, Frame
from streamd.core.errors import BadData
from streamd.core.first_frame import FirstFrame
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import Schema
from streamd.core.settings import Settings
from tests import declared

NOW = Now(1_706_688_000.0, 1.0)

LINE = b'{"ts":"2026-01-31T08:00:00.000997Z","sensor":"s-1","seq":1,"value":21.5}'
PIECES = [
    LINE, LINE[:-1] + b',"more":1}', LINE[:40], b'{"a":1}', b"{", b"}", b"[", b"]", b",", b":", b"\n",
    b"\r\n", b" ",
    b'"', b'"@source"', b"@", b"\\u0040", b"\\ud800", b"\xef\xbb\xbf", b"\xff", b"\0", b"NaN", b"1e999", b"-",
    b"9223372036854775808", b"0", b"true", b"null", "数据".encode(), b"text",
]  # fmt: skip
OWN = {name: declared.declared("codecs", name, "PIECES", []) for name in registry.names("codecs")}
"""Pieces of the format of each codec that its own test gives."""
SILENT = {name: declared.declared("codecs", name, "silent", lambda _: False) for name in OWN}
"""Whether a frame may make neither a record nor a reject, because all that it holds is skipped."""
FRAMES = st.lists(
    st.binary(max_size=40)
    | st.lists(st.sampled_from(PIECES), max_size=6).map(b"".join)
    | st.sampled_from([PIECES, *filter(None, OWN.values())]).flatmap(
        lambda own: st.lists(st.sampled_from(own), max_size=6).map(b"".join)
    )
    | st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4)).map(
        lambda d: json.dumps(d).encode()
    ),
    max_size=8,
)

NAMES = [b"@source", b"@peer", b"@received_at", b"@flag"]
FORGED = st.tuples(
    st.sampled_from(NAMES), st.sampled_from([b"=x", b'="x"', b":x", b": x", b"\tx", b",a\n1,2"])
).map(lambda parts: [b"".join(parts)])
"""Frames that would set metadata in formats other than JSON."""


def sent(payloads: list[bytes]) -> Frames:
    return Frames.of(payloads, "127.0.0.1:5", 1e9)


def variants(new_codec: Any, schema: Schema) -> list[tuple[str, AnyCodec]]:
    found = []
    for name in registry.names("codecs"):
        for options in declared.options_of("codecs", name):
            found.append((f"{name} {options}", new_codec(name, **options)))
            with contextlib.suppress(ValueError):  # it takes no schema
                found.append((f"{name} {options} with a schema", new_codec(name, schema, **options)))
                found.append((f"{name} {options} typed", new_codec(name, schema, typed=True, **options)))
    return found


def values(codec: AnyCodec, decoded: Decoded) -> list[Any]:
    if not decoded.typed or codec.schema is None:
        return decoded.records
    return [codec.schema.to_dict(record) for record in decoded.records]


@given(frames=FRAMES)
def test_every_frame_has_a_fate_and_records_stand_in_the_order_of_their_frames(
    frames: list[bytes], new_codec: Any, schema: Schema
) -> None:
    for name, codec in variants(new_codec, schema):
        decoded = codec.decode(sent(list(frames)), NOW)
        origins = list(range(len(frames))) if decoded.origins is None else decoded.origins
        assert len(origins) == len(decoded.records), name
        assert origins == sorted(origins), name
        assert decoded.origins is not None or not decoded.rejects, name
        whole = [reject.index for reject in decoded.rejects if not reject.element]
        assert whole == sorted(set(whole)), name
        assert set(origins).isdisjoint(whole), name
        silent = set(range(len(frames))).difference(origins, [reject.index for reject in decoded.rejects])
        assert all(SILENT[name.split()[0]](frames[index]) for index in silent), name
        assert not {"exception", "bad_result"} & {reject.reason for reject in decoded.rejects}, name


@given(frames=FRAMES)
def test_a_batch_and_its_frames_one_by_one_give_the_same(
    frames: list[bytes], new_codec: Any, schema: Schema
) -> None:
    for name, codec in variants(new_codec, schema):
        at_once = codec.decode(sent(list(frames)), NOW)
        one_by_one = Codec.decode(codec, sent(list(frames)), NOW)
        assert values(codec, at_once) == one_by_one.records, name
        assert (at_once.origins or list(range(len(at_once.records)))) == one_by_one.origins, name
        assert at_once.rejects == one_by_one.rejects, name


@given(frames=FRAMES | FORGED)
def test_no_record_carries_metadata_its_sender_forged(
    frames: list[bytes], new_codec: Any, schema: Schema
) -> None:
    for name, codec in variants(new_codec, schema):
        decoded = codec.decode(sent(frames), NOW)
        for record in values(codec, decoded):
            assert not {"@source", "@peer", "@received_at", "@flag"} & record.keys(), name


@pytest.mark.parametrize("depth", [100, 900, 5_000, 30_000])
@pytest.mark.parametrize("shape", [b"[", b'{"a":', b'{"a":[', b"[[],"])
def test_no_depth_is_too_deep(depth: int, shape: bytes, new_codec: Any, schema: Schema) -> None:
    for name, codec in variants(new_codec, schema):
        decoded = codec.decode(sent([LINE, shape * depth, LINE]), NOW)
        assert len(decoded.records) + len(decoded.rejects) == 3, name


def test_nothing_in_gives_nothing_out(new_codec: Any, schema: Schema) -> None:
    for name, codec in variants(new_codec, schema):
        decoded = codec.decode(sent([]), NOW)
        assert (decoded.records, decoded.rejects) == ([], []), name


def test_reasons_are_short_codes_and_never_quote_the_data(new_codec: Any, schema: Schema) -> None:
    for name, codec in variants(new_codec, schema):
        for piece in [*PIECES, *itertools.chain(*OWN.values())]:
            for reject in codec.decode(sent([piece]), NOW).rejects:
                assert reject.reason.replace(":", "").replace("_", "").isalnum(), name
                assert len(reject.reason) < 24, name


@pytest.mark.parametrize("line", [b"x\n", b"{\n", b"{}}\n", b'{"\\ud800"}\n', b"\xff\n"])
def test_no_bad_line_of_a_large_frame_is_lost(line: bytes, new_codec: Any) -> None:
    count = 60_000 // len(line)
    decoded = new_codec("json").decode(sent([b"{}\n" + line * count]), NOW)
    assert decoded.records == [{}]
    assert [reject.element for reject in decoded.rejects] == [True] * count


class OfSenders(Codec[Settings]):
    """What a codec looks like that needs sender and time."""

    def decode_frame(self, frame: Frame, now: Now) -> Record | list[Record | BadElement]:
        if frame.payload == b"bad":
            raise BadData("test:bad", frame.peer)
        return {"from": str(frame.peer), "at": frame.received_at, "age": now.wall_s - frame.received_at}


def test_a_codec_sees_the_sender_and_the_time_of_each_frame() -> None:
    frames = Frames.merge(
        [Frames.of([b"a", b"bad"], "10.0.0.1:1", 5.0), Frames.of([b"b"], "10.0.0.2:2", 7.0)]
    )
    done = OfSenders(OfSenders.Config(), None).decode(frames, Now(10.0, 0.0))
    assert done.records == [
        {"from": "10.0.0.1:1", "at": 5.0, "age": 5.0},
        {"from": "10.0.0.2:2", "at": 7.0, "age": 3.0},
    ]
    assert done.origins == [0, 2]
    assert [(bad.index, bad.reason, bad.detail) for bad in done.rejects] == [(1, "test:bad", "10.0.0.1:1")]


class Faulty(Codec[Settings]):
    """A codec of another package that has faults."""

    def decode_one(self, payload: bytes, now: Now) -> Record | list[Record | BadElement]:
        return json.loads(payload)  # type: ignore[no-any-return]  # one of the faults


def test_a_fault_of_a_codec_costs_the_frame_and_its_detail_has_the_line() -> None:
    payloads = [b'{"n":1}', b"{", b"null", b'[{"n":2}]', b'[{"n":3},4]', b'{"n":5}']
    done = Faulty(Faulty.Config(), None).decode(sent(payloads), NOW)
    assert (done.records, done.origins) == ([{"n": 1}, {"n": 2}, {"n": 5}], [0, 3, 5])
    assert [(bad.index, bad.reason) for bad in done.rejects] == [
        (1, "exception"), (2, "bad_result"), (4, "bad_result"),
    ]  # fmt: skip
    assert [bad.payload for bad in done.rejects] == [payloads[1], payloads[2], payloads[4]]
    assert done.rejects[0].detail.startswith("JSONDecodeError: ")
    assert re.search(r"\(\S*test_every_codec\.py:\d+\)$", done.rejects[0].detail)
    assert "returned NoneType" in done.rejects[1].detail
    assert "returned int" in done.rejects[2].detail


def test_a_codec_that_decodes_nothing_is_refused_when_it_is_made() -> None:
    class Nothing(Codec[Settings]):
        pass

    with pytest.raises(TypeError, match="Nothing overrides none of decode_one"):
        Nothing(Nothing.Config(), None)


@pytest.mark.parametrize("name", registry.names("codecs"))
@pytest.mark.parametrize("ends", ["drain", "abandon"])
@pytest.mark.parametrize("full", [False, True])
async def test_every_frame_is_settled_once_however_its_connection_and_the_daemon_end(
    name: str, ends: str, full: bool, new_codec: Any, new_line: Any
) -> None:
    chance = random.Random(name)  # noqa: S311 - no secret
    line = new_line(codec=new_codec(name), **({"max_records": 4, "when_full": "drop_oldest"} if full else {}))
    line.run()
    peers = [Peer(f"127.0.0.1:{port}") for port in range(4)]
    for peer in peers:
        line.offer(Frames.of([FirstFrame(chance.choice([b"ts,sensor", LINE, b"a,,b"]))], peer, 1e9))
    for n in range(60):
        payloads = [
            b"".join(chance.choices(PIECES + OWN[name], k=chance.randrange(6)))
            for _ in range(chance.randrange(1, 5))
        ]
        line.offer(Frames.of(payloads, chance.choice(peers[n // 20 :]), 1e9 + n))
        if n % 20 == 19:
            line.ended(peers[n // 20])
        if n % 3 == 0:
            await asyncio.sleep(0)
    await (line.drain() if ends == "drain" else line.abandon())
    book = line.books.source("lab")
    assert book.received == len(line.payloads)
    assert len(line.letters.letters) >= book.rejected.total()
    line.assert_exact()
