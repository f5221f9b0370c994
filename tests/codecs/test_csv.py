"""The codec csv."""

import csv
import io
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from streamd.codecs.csv import Csv
from streamd.codecs.raw import Raw
from streamd.core.ack import Ack, Status
from streamd.core.contracts import Decoded
from streamd.core.first_frame import FirstFrame
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.schema import Schema, SchemaField
from streamd.runtime.fair_buffer import FairBuffer
from tests.codecs.cases import WIDE_NAMES

NOW = Now(1.8e9, 0.0)

DENSE: list[tuple[bytes, dict[str, Any]]] = [
    (b"1,2\n" * 2000, {"columns": ["a", "b"]}),
    (b"1\n" * 2000, {"columns": ["a"]}),
    ((b"," * 999 + b"\n") * 20, {"columns": [f"c{n}" for n in range(1000)]}),
    (",".join(WIDE_NAMES).encode() + b"\n" + b"," * (len(WIDE_NAMES) - 1) + b"\n", {}),
]


def new(schema: Schema | None = None, *, streams: bool = True, **options: Any) -> Csv:
    codec = Csv(Csv.Config(**options), schema)
    codec.place_behind(streams=streams, cut=streams)
    return codec


def own(text: str) -> Peer:
    return Peer(text)


def sent(payloads: Iterable[bytes], peer: str = "10.0.0.1:1") -> Frames:
    return Frames.of(list(payloads), peer, 1.0)


def stream(*lines: bytes, peer: str = "10.0.0.1:1") -> Frames:
    return sent([FirstFrame(lines[0]), *lines[1:]], peer)


def reasons(decoded: Decoded) -> list[tuple[bytes, str]]:
    return [(bad.payload, bad.reason) for bad in decoded.rejects]


def schema_of(**fields: Any) -> Schema:
    return Schema("reading", TypeAdapter(dict[str, SchemaField]).validate_python(fields))


def test_the_first_frame_of_a_connection_names_the_fields_of_the_others_and_is_held() -> None:
    codec = new()
    done = codec.decode(stream(b"sensor,value", b"s-1,21.5", b's-2,"a ""b"", c"', b"s-3,"), NOW)
    assert done.records == [
        {"sensor": "s-1", "value": "21.5"}, {"sensor": "s-2", "value": 'a "b", c'},
        {"sensor": "s-3", "value": ""},
    ]  # fmt: skip
    assert done.origins == [0, 1, 2]
    assert done.frames is not None
    assert done.frames.payloads == [b"s-1,21.5", b's-2,"a ""b"", c"', b"s-3,"]
    assert done.rejects == []


def test_two_connections_have_headers_of_their_own_though_their_names_are_equal() -> None:
    codec = new()
    one, two = own("pid=1,uid=2,gid=3"), own("pid=1,uid=2,gid=3")
    frames = Frames.merge([stream(b"a,b", b"1,2", peer=one), stream(b"b,a", b"1,2", peer=two)])
    done = codec.decode(frames, NOW)
    assert done.records == [{"a": "1", "b": "2"}, {"b": "1", "a": "2"}]
    released = codec.forget(frames.peer(0), NOW)
    assert released is not None
    assert released.frames is not None
    assert released.frames.payloads == [b"a,b"]
    assert (released.records, released.rejects) == ([], [])
    assert codec.forget(frames.peer(0), NOW) is None
    later = codec.decode(Frames.merge([sent([b"3,4"], frames.peer(0)), sent([b"3,4"], frames.peer(2))]), NOW)
    assert reasons(later) == [(b"3,4", "csv:no_header")]


def test_rows_whose_header_a_full_buffer_has_dropped_are_rejected() -> None:
    codec, lost = new(), Counter[str]()

    def drop(frames: Frames) -> None:
        lost.update(payload.decode() for payload in frames.payloads)

    buffer = FairBuffer(3, 10_000, "drop_oldest", drop)
    one, two = own("one"), own("two")
    for frames in (stream(b"a", peer=one), *(sent([b"%d" % n], one) for n in range(5))):
        buffer.put(frames)
    assert "a" in lost
    done = codec.decode(Frames.merge(buffer.take(10)), NOW)
    assert done.records == []
    assert reasons(done) == [(b"%d" % n, "csv:no_header") for n in range(5) if str(n) not in lost]
    buffer.put(stream(b"b", b"1", peer=two))
    assert codec.decode(Frames.merge(buffer.take(10)), NOW).records == [{"b": "1"}]


@pytest.mark.parametrize("options", [{}, {"types": "auto"}, {"delimiter": ",", "header": True}])
def test_the_next_codec_goes_on_with_headers_that_it_would_have_read_alike(options: dict[str, Any]) -> None:
    codec, peers = new(), [own("one"), own("two"), own("refused")]
    for peer, header in zip(peers, (b"a,b", b"b,a", b"a,a"), strict=True):
        codec.decode(stream(header, peer=peer), NOW)
    following = new(**options)
    assert following.can_adopt(codec)
    following.adopt(codec)
    done = following.decode(Frames.merge([sent([b"x,y"], peer) for peer in peers]), NOW)
    assert done.records == [{"a": "x", "b": "y"}, {"b": "x", "a": "y"}]
    assert reasons(done) == [(b"x,y", "csv:no_header")]
    assert codec.finish(NOW) is None, "it holds nothing any more"
    released = following.forget(peers[0], NOW)
    assert released is not None
    assert released.frames is not None
    assert released.frames.payloads == [b"a,b"]
    released = following.finish(NOW)
    assert released is not None
    assert released.frames is not None
    assert released.frames.payloads == [b"b,a"]


def test_no_codec_goes_on_with_headers_that_it_would_have_read_otherwise() -> None:
    here, columns = new(), ["a"]
    assert not new(delimiter=";").can_adopt(here)
    assert not new(quote="").can_adopt(here)
    assert not new(streams=False).can_adopt(here)
    assert not new().can_adopt(new(streams=False))
    assert not new(columns=columns).can_adopt(here)
    assert not new().can_adopt(new(columns=columns))
    assert not new().can_adopt(Raw(Raw.Config(), None))
    assert not Raw(Raw.Config(), None).can_adopt(here)


def test_a_stop_releases_every_header_that_is_still_held() -> None:
    codec = new()
    peers = own("x:1"), own("x:2")
    for peer in peers:
        codec.decode(stream(b"a", peer=peer), NOW)
    released = codec.finish(NOW)
    assert released is not None
    assert released.frames is not None
    assert len(released.frames) == 2
    assert codec.finish(NOW) is None


def test_the_ack_of_a_header_waits_for_nothing_and_those_of_rows_for_their_records() -> None:
    told: list[tuple[str, Status]] = []
    codec = new()
    header = Frames.of([FirstFrame(b"a")], "f", 1.0, ack=Ack(lambda status: told.append(("header", status))))
    row = Frames.of([b"1"], header.peer(0), 1.0, ack=Ack(lambda status: told.append(("row", status))))
    codec.decode(Frames.merge([header, row]), NOW)
    assert told == [("header", Status.FILTERED)]


def test_a_stream_without_its_first_frame_has_no_header_and_no_row_is_taken_for_one() -> None:
    codec = new()
    done = codec.decode(sent([b"a,b", b"1,2"]), NOW)
    assert done.records == []
    assert reasons(done) == [(b"a,b", "csv:no_header"), (b"1,2", "csv:no_header")]


@pytest.mark.parametrize(
    "header", [b"a,,b", b"a,b,a", b"a, a", b"@peer,a", b'"a', b'"a"b', b",", b"\xff", b'""']
)
def test_a_header_that_names_no_fields_is_rejected_and_so_is_all_that_follows(header: bytes) -> None:
    codec = new()
    done = codec.decode(stream(header, b"1,2"), NOW)
    assert done.records == []
    assert [reason for _, reason in reasons(done)] in (
        ["csv:header", "csv:no_header"], ["csv:utf8", "csv:no_header"],
    )  # fmt: skip
    assert done.rejects[0].payload == header
    assert done.rejects[0].detail


def test_a_refused_header_raises_the_alarm_where_it_costs_all_that_follows() -> None:
    assert new().alarming == {"csv:header"}
    assert new(streams=False).alarming == frozenset()


def test_names_have_no_blanks_around_them_and_a_byte_order_mark_before_them_is_skipped() -> None:
    done = new().decode(stream(b"\xef\xbb\xbf a , b\r\n", b"1,2\r\n"), NOW)
    assert done.records == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("again", [b"a, bb", b" a,bb", b'"a", bb ', b"a,bb"])
@pytest.mark.parametrize("options", [{}, {"columns": ["a", "bb"]}, {"types": "auto"}])
def test_a_header_that_is_repeated_with_blanks_around_its_names_is_no_row(
    again: bytes, options: dict[str, Any]
) -> None:
    codec = new(**options)
    rows = codec.decode(stream(b"a, bb", b"1,bb", again, b"a,1"), NOW)
    assert [[str(value) for value in record.values()] for record in rows.records] == [["1", "bb"], ["a", "1"]]


def test_a_row_with_other_values_than_names_is_rejected_with_its_bytes() -> None:
    done = new(columns=["a", "b"]).decode(sent([b"1", b"1,2", b"1,2,3", b'"1,2"', b"a,b"]), NOW)
    assert done.records == [{"a": "1", "b": "2"}]
    assert [(bad.index, bad.payload, bad.reason, bad.element) for bad in done.rejects] == [
        (0, b"1", "csv:fields", False), (2, b"1,2,3", "csv:fields", False),
        (3, b'"1,2"', "csv:fields", False),
    ]  # fmt: skip
    assert "1 value for 2 fields" in done.rejects[0].detail


def test_plain_rows_are_judged_one_by_one_where_one_of_them_is_not_like_the_others() -> None:
    codec = new(columns=["a", "b"])
    done = codec.decode(sent([b"1,2", b"3"]), NOW)
    assert (done.records, reasons(done)) == ([{"a": "1", "b": "2"}], [(b"3", "csv:fields")])
    done = codec.decode(sent([b"1,2\n3,4", b"5,6"]), NOW)
    assert ([record["a"] for record in done.records], done.origins) == (["1", "3", "5"], [0, 0, 1])
    done = new(schema_of(n="int"), columns=["n"]).decode(sent([b"7"]), NOW)
    assert done.records == [{"n": 7}]


def test_plain_rows_of_several_connections_have_each_the_names_of_their_own() -> None:
    codec = new()
    one, two = own("x:1"), own("x:2")
    codec.decode(stream(b"a,b", peer=one), NOW)
    codec.decode(stream(b"c,d", peer=two), NOW)
    done = codec.decode(Frames.merge([sent([b"1,2"], one), sent([b"3,4"], two)]), NOW)
    assert done.records == [{"a": "1", "b": "2"}, {"c": "3", "d": "4"}]


@pytest.mark.parametrize("row", [b'1,"2', b'1,"2"x', b'"', b"1\r,2", b'1,"2""'])
def test_wrong_quotes_are_rejected(row: bytes) -> None:
    done = new(columns=["a", "b"]).decode(sent([row, b"1,2"]), NOW)
    assert reasons(done) == [(row, "csv:syntax")]
    assert done.records == [{"a": "1", "b": "2"}]


@pytest.mark.parametrize("payload", [b"", b"\n", b"\r\n", b"\0"])
def test_a_frame_without_a_row_is_empty(payload: bytes) -> None:
    assert reasons(new(columns=["a"]).decode(sent([payload]), NOW)) == [(payload, "empty")]


def test_a_datagram_of_lines_has_its_own_header() -> None:
    codec = new(streams=False)
    done = codec.decode(sent([b"a,b\r\n1,2\r\n3,4\r\n", b"b\n\n5\n", b'a,b\n1,2,3\n"x\ny",2\n7']), NOW)
    assert done.records == [{"a": "1", "b": "2"}, {"a": "3", "b": "4"}, {"b": "5"}, {"a": "x\ny", "b": "2"}]
    assert done.origins == [0, 0, 1, 2]
    assert [(bad.index, bad.payload, bad.reason, bad.element) for bad in done.rejects] == [
        (2, b"1,2,3\n", "csv:fields", True), (2, b"7", "csv:fields", True),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("payload", "reason"),
    [
        (b"1,2", "csv:no_header"),
        (b"a,a\n1,2\n", "csv:header"),
        (b"a,b\n", "csv:no_rows"),
        (b"a,b\na, b\n", "csv:no_rows"),
        (b"\n\n", "empty"),
    ],
)
def test_a_datagram_without_a_good_header_is_rejected_as_a_whole(payload: bytes, reason: str) -> None:
    assert reasons(new(streams=False).decode(sent([payload]), NOW)) == [(payload, reason)]


def test_a_first_frame_of_several_rows_is_header_and_rows() -> None:
    codec = new()
    peer = own("10.0.0.1:1")
    done = codec.decode(sent([FirstFrame(b"a, b\n1,2\n3,4\n"), b"5,6\n7,8", b"a,b\n9,0"], peer), NOW)
    assert [record["a"] for record in done.records] == ["1", "3", "5", "7", "9"]
    assert done.rejects == []
    assert codec.finish(NOW) is None, "a frame with records is not held"


def test_a_file_that_is_shown_its_first_frame_again_goes_on_and_the_old_header_is_released() -> None:
    codec = new()
    peer = own("/var/log/x.csv")
    codec.decode(stream(b"a", b"1", peer=peer), NOW)
    done = codec.decode(stream(b"a", b"2", peer=peer), NOW)
    assert done.records == [{"a": "2"}]
    assert done.frames is not None
    assert done.frames.payloads == [b"2", b"a"]
    done = codec.decode(sent([FirstFrame(b"b\n3")], peer), NOW)
    assert done.records == [{"b": "3"}]
    assert done.frames is not None
    assert done.frames.payloads == [b"b\n3", b"a"]
    assert codec.finish(NOW) is None


def test_delimiter_and_quote_are_the_senders() -> None:
    codec = new(columns=["a", "b"], delimiter=";", quote="'")
    done = codec.decode(sent([b"1;2", b"'x;y';\"2", b"1,2;3"]), NOW)
    assert [*map(list, map(dict.values, done.records))] == [["1", "2"], ["x;y", '"2'], ["1,2", "3"]]
    assert codec.decode(sent([b"'x;y';2"]), NOW).records == [{"a": "x;y", "b": "2"}]
    done = new(columns=["a", "b"], delimiter="\t", quote="").decode(sent([b'"1\t2"']), NOW)
    assert done.records == [{"a": '"1', "b": '2"'}]


def test_types_auto_makes_numbers_words_and_null() -> None:
    done = new(columns=["a", "b", "c", "d"], types="auto").decode(
        sent([b"7,2.5,true,", b"007,x,no,null"]), NOW
    )
    assert done.records == [
        {"a": 7, "b": 2.5, "c": True, "d": None}, {"a": "007", "b": "x", "c": "no", "d": "null"},
    ]  # fmt: skip


def test_a_schema_types_the_values_and_keeps_fields_that_it_does_not_declare() -> None:
    schema = schema_of(
        ts="timestamp", n={"type": "int", "required": False}, ok={"type": "bool", "required": False},
        value={"type": "float", "ge": 0}, more={"type": "json", "required": False},
    )  # fmt: skip
    lines = [
        b"ts,n,ok,value,more,site", b"1769846400,,yes,2,[1],north", b"2026-01-31T08:00:00Z,7,,1e1,,",
        b",1,no,2,,x", b"1769846400,x,no,2,,x", b"1769846400,1,no,-2,,x", b"1769846400,1,no,2,{,x",
        b"1769846400,1,no,,,x",
    ]  # fmt: skip
    done = new(schema).decode(stream(*lines), NOW)
    at = "2026-01-31T08:00:00.000000Z"
    assert done.records == [
        {"ts": at, "n": None, "ok": True, "value": 2.0, "more": [1], "site": "north"},
        {"ts": at, "n": 7, "ok": None, "value": 10.0, "more": None, "site": ""},
    ]
    assert [(bad.payload, bad.reason, bad.detail.partition(":")[0]) for bad in done.rejects] == [
        (lines[3], "schema:required", "ts"), (lines[4], "schema:type", "n"),
        (lines[5], "schema:range", "value"), (lines[6], "json:syntax", "more"),
        (lines[7], "schema:required", "value"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"header": False}, "needs columns"), ({"header": True, "columns": ["a"]}, "both name"),
        ({"columns": []}, "at least 1"), ({"columns": ["a", "a"]}, "twice"),
        ({"columns": ["a", ""]}, "empty"),
        ({"columns": ["@peer"]}, "only the daemon"), ({"delimiter": ""}, "at least 1"),
        ({"delimiter": ",,"}, "at most 1"), ({"delimiter": "\n"}, "line end"),
        ({"quote": "\r"}, "line end"),
        ({"delimiter": '"'}, "different characters"), ({"types": "guess"}, "auto"),
    ],
)  # fmt: skip
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Csv.Config(**options)


def test_options_that_do_not_fit_the_schema_or_the_source_are_refused() -> None:
    schema = schema_of(a="int", b={"type": "int", "required": False})
    with pytest.raises(ValueError, match="without a schema"):
        new(schema, types="auto")
    with pytest.raises(ValueError, match="requires a"):
        new(schema, columns=["b"])
    new(schema, columns=["a"])
    with pytest.raises(ValueError, match="remove framing, or set columns"):
        Csv(Csv.Config(), None).place_behind(streams=False, cut=True)
    Csv(Csv.Config(columns=["a"]), None).place_behind(streams=False, cut=True)


def test_a_flagged_frame_is_no_header() -> None:
    frames = sent([FlaggedFrame(b"a,b", "unterminated")])
    assert reasons(new().decode(frames, NOW)) == [(b"a,b", "csv:no_header")]


@given(
    frames=st.lists(
        st.binary(max_size=8) | st.sampled_from([b"1,2", b"a,b", b'"1",2', b"1", b"x,\xc3\xa9", b"1,2\n"]),
        max_size=6,
    )
)
def test_rows_at_once_and_one_by_one_give_the_same(frames: list[bytes]) -> None:
    peer = own("x:1")
    for codec in (new(columns=["a", "b"]), new(), new(columns=["a"]), new(columns=["a", "b"], quote="")):
        if codec.needs_first:
            codec.decode(stream(b"a,b", peer=peer), NOW)
        at_once = codec.decode(sent(frames, peer), NOW)
        one_by_one = codec.decode_each(sent(frames, peer), range(len(frames)), NOW)
        assert at_once.records == one_by_one.records
        assert (at_once.origins or list(range(len(at_once.records)))) == one_by_one.origins
        assert at_once.rejects == one_by_one.rejects


TEXTS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\n\0"), max_size=6)
ROWS = st.lists(st.lists(TEXTS, min_size=2, max_size=2), max_size=6)


@given(rows=ROWS, every=st.booleans())
def test_what_the_standard_library_writes_is_read_row_for_row(rows: list[list[str]], every: bool) -> None:
    frames = []
    for row in rows:
        text = io.StringIO(newline="")
        csv.writer(text, quoting=csv.QUOTE_ALL if every else csv.QUOTE_MINIMAL).writerow(row)
        frames.append(text.getvalue().removesuffix("\r\n").encode())
    done = new(columns=["\x01", "\x02"]).decode(sent(frames), NOW)
    wanted = [row for row, frame in zip(rows, frames, strict=True) if not frame.startswith(b"\xef\xbb\xbf")]
    found = [list(record.values()) for record in done.records]
    assert len(found) + len(done.rejects) == len(rows)
    if len(wanted) == len(rows):
        assert found == rows


@given(rows=st.lists(st.lists(st.text(max_size=4), min_size=2, max_size=2), min_size=1, max_size=5))
def test_a_datagram_written_by_the_standard_library_is_read_row_for_row(rows: list[list[str]]) -> None:
    clean = [[value.encode("utf-8", "ignore").decode().replace("\0", "") for value in row] for row in rows]
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=csv.QUOTE_ALL)
    writer.writerow(["a", "b"])
    writer.writerows(clean)
    done = new(streams=False).decode(sent([text.getvalue().encode()]), NOW)
    assert [list(record.values()) for record in done.records] == clean
    assert done.rejects == []


@given(frames=st.lists(st.binary(max_size=30), max_size=6), first=st.booleans())
def test_every_frame_has_a_fate_and_every_byte_of_a_reject_is_there(frames: list[bytes], first: bool) -> None:
    for codec in (new(), new(streams=False), new(columns=["a", "b"]), new(delimiter=";", quote="")):
        payloads = [FirstFrame(frames[0]), *frames[1:]] if first and frames else frames
        done = codec.decode(sent(payloads), NOW)
        left = done.frames if done.frames is not None else sent(payloads)
        assert len(payloads) - len(left) in (0, 1)
        origins = list(range(len(done.records))) if done.origins is None else done.origins
        assert all(0 <= origin < len(left) for origin in origins)
        for bad in done.rejects:
            whole = left.payloads[bad.index]
            assert bad.payload in whole if bad.element else bad.payload == whole
