import gzip
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from streamd.codecs.csv import Csv
from streamd.codecs.gelf import Gelf
from streamd.codecs.json import Json
from streamd.codecs.logfmt import Logfmt
from streamd.codecs.msgpack import Msgpack
from streamd.codecs.text import Text
from streamd.core.ack import Ack, Status
from streamd.core.acks import Acks
from streamd.core.contracts import AnyCodec, Codec, Decoded
from streamd.core.conversion_settings import FrameConversion
from streamd.core.errors import ConfigError
from streamd.core.first_frame import FirstFrame
from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.multiline_settings import MultilineSettings
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.settings import Settings
from streamd.preparing.converted_frames import ConvertedFrames
from streamd.preparing.joined_lines import JoinedLines

NOW = Now(1e9, 0.0)
COMPRESS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zlib": zlib.compress,
    "zstd": zstd.compress,
}


def converting(
    encoding: str | None = None,
    compression: str | None = None,
    most_bytes: int = 1000,
    codec: AnyCodec | None = None,
    streams: bool = False,
) -> ConvertedFrames:
    made = ConvertedFrames(
        FrameConversion(encoding, compression, most_bytes), codec or Text(Text.Config(), None)
    )
    made.place_behind(streams=streams, cut=streams)
    return made


def frames(*payloads: bytes, peers: Any = "192.0.2.1:5", ack: Ack | None = None) -> Frames:
    flagged = any(isinstance(payload, FlaggedFrame) for payload in payloads)
    return Frames.of(list(payloads), peers, 1e9, ack=ack, flagged=flagged)


def texts(decoded: Decoded) -> list[str]:
    return [record["message"] for record in decoded.records]


def rejects(decoded: Decoded) -> list[tuple[int, bytes, str]]:
    return [(bad.index, bytes(bad.payload), bad.reason) for bad in decoded.rejects]


@given(st.lists(st.text(min_size=1), min_size=1, max_size=4), st.sampled_from(["utf-16", "utf-7", "gb18030"]))
@settings(max_examples=100)
def test_text_of_any_encoding_is_read_as_that_of_utf8(sent: list[str], encoding: str) -> None:
    plain = Text(Text.Config(), None).decode(frames(*(text.encode() for text in sent)), NOW)
    decoded = converting(encoding).decode(frames(*(text.encode(encoding) for text in sent)), NOW)
    assert decoded.records == plain.records
    assert [reason for _, _, reason in rejects(decoded)] == [reason for _, _, reason in rejects(plain)]


@given(st.lists(st.binary(max_size=40), min_size=1, max_size=5), st.sampled_from(sorted(COMPRESS)))
@settings(max_examples=100)
def test_no_input_raises_and_every_frame_has_one_fate(sent: list[bytes], compression: str) -> None:
    payloads = [COMPRESS[compression](part) if n % 2 else part for n, part in enumerate(sent)]
    for codec in (converting("utf-16", compression), converting("shift_jis"), converting(None, compression)):
        came = frames(*payloads)
        decoded = codec.decode(came, NOW)
        kept = len(came if decoded.frames is None else decoded.frames)
        assert kept == len(decoded.records) + len(decoded.rejects) == len(payloads)
        assert all(bad.payload in payloads for bad in decoded.rejects)


def test_a_frame_that_is_no_text_is_rejected_with_its_bytes_and_its_neighbours_are_read() -> None:
    codec = converting("utf-16-le")
    decoded = codec.decode(frames("é".encode("utf-16-le"), b"\0\xd8", b"a", "ü".encode("utf-16-le")), NOW)
    assert texts(decoded) == ["é", "ü"]
    assert decoded.frames is not None
    assert [decoded.frames.payloads[bad.index] for bad in decoded.rejects] == [b"\0\xd8", b"a"]
    assert {reason for _, _, reason in rejects(decoded)} == {"encoding:syntax"}
    assert decoded.rejects[0].detail == "not utf-16-le at byte 0"
    assert rejects(converting("utf-7").decode(frames(b"+2AA-"), NOW)) == [(0, b"+2AA-", "encoding:syntax")]


def test_the_ack_and_the_sender_of_a_frame_that_is_no_text_are_its_own() -> None:
    settled: list[Status] = []
    decoded = converting("cp1252").decode(
        frames(b"\x81", b"caf\xe9", peers=["192.0.2.1:1", "192.0.2.2:2"], ack=Ack(settled.append)), NOW
    )
    assert decoded.frames is not None
    assert (texts(decoded), decoded.origins) == (["café"], [0])
    assert decoded.frames.peer(0) == "192.0.2.2:2"
    assert decoded.frames.peer(decoded.rejects[0].index) == "192.0.2.1:1"
    assert isinstance(decoded.frames.acks, Acks)


@pytest.mark.parametrize("compression", COMPRESS)
def test_a_compressed_datagram_is_read_up_to_its_limit(compression: str) -> None:
    compress = COMPRESS[compression]
    codec = converting(None, compression, most_bytes=100)
    bomb, cut, other = compress(bytes(100_000)), compress(b"b" * 50)[:-1], b"plain"
    wrong = COMPRESS["zlib" if compression == "gzip" else "gzip"](b"c")
    decoded = codec.decode(frames(bomb, compress(b"a" * 100), cut, other, wrong, compress(b"a" * 101)), NOW)
    assert texts(decoded) == ["a" * 100]
    assert rejects(decoded) == [
        (1, bomb, "compressed:size"),
        (2, cut, "compressed:syntax"),
        (3, other, "compressed:syntax"),
        (4, wrong, "compressed:syntax"),
        (5, compress(b"a" * 101), "compressed:size"),
    ]


def test_the_memory_of_records_is_that_of_their_content() -> None:
    sent = gzip.compress(b"a" * 900)
    assert (converting(None, "gzip").decode(frames(sent), NOW).size_bytes or 0) > 900 * Text.weight


def test_each_of_many_short_lines_counts_as_the_codec_counts_it() -> None:
    content = b"a=b\n" * 500
    codec = Logfmt(Logfmt.Config(), None)
    decoded = converting(compression="zlib", most_bytes=10_000, codec=codec).decode(
        frames(zlib.compress(content)), NOW
    )
    assert decoded.size_bytes == codec.size_bytes_of(frames(content), decoded.records)


def test_what_the_codec_rejects_has_the_bytes_that_came() -> None:
    sent = gzip.compress('{"a": "é"'.encode("latin-1"))
    decoded = converting("latin-1", "gzip", codec=Json(Json.Config(), None)).decode(frames(sent), NOW)
    assert rejects(decoded) == [(0, sent, "json:syntax")]


@pytest.mark.parametrize(
    ("encoding", "compression"), [("latin-1", None), ("utf-16", "gzip"), (None, "zlib"), (None, "zstd")]
)
def test_a_part_that_the_codec_rejects_is_read_again_by_a_replay(
    encoding: str | None, compression: str | None
) -> None:
    codec = converting(encoding, compression, codec=Json(Json.Config(), None))
    text = '{"a": "é"}\n{"b": é}\n{"c": 1}'.encode(encoding or "utf-8")
    decoded = codec.decode(frames(COMPRESS[compression](text) if compression else text), NOW)
    assert decoded.records == [{"a": "é"}, {"c": 1}]
    (bad,) = decoded.rejects
    (again,) = codec.decode(frames(bad.payload), NOW).rejects
    assert (bad.element, again.reason, again.detail) == (True, bad.reason, bad.detail)
    if compression is None:
        assert bad.payload == b'{"b": \xe9}'


def test_a_table_in_latin_1_keeps_its_header_for_the_connection() -> None:
    codec = converting("latin-1", codec=Csv(Csv.Config(), None), streams=True)
    peer = Peer("192.0.2.1:5")
    first = codec.decode(frames(FirstFrame("größe,ort".encode("latin-1")), peers=[peer]), NOW)
    assert (codec.holds, codec.needs_first, first.records) == (True, True, [])
    assert first.frames is not None
    assert not len(first.frames)
    again = converting("cp1252", codec=Csv(Csv.Config(), None), streams=True)
    assert again.can_adopt(codec)
    again.adopt(codec)
    late = again.decode(frames(b"1,K\xf6ln", b"2,\x81", b"3", peers=[peer] * 3), NOW)
    assert late.records == [{"größe": "1", "ort": "Köln"}]
    assert sorted((payload, reason) for _, payload, reason in rejects(late)) == [
        (b"2,\x81", "encoding:syntax"),
        (b"3", "csv:fields"),
    ]
    released = again.forget(peer, NOW)
    assert released is not None
    assert released.frames is not None
    assert len(released.frames) == 1


def test_a_rejected_header_has_the_bytes_that_came() -> None:
    codec = converting("latin-1", codec=Csv(Csv.Config(), None), streams=True)
    assert codec.alarming == {"csv:header"}
    bad = FirstFrame(b"\xe9,\xe9")
    assert rejects(codec.decode(frames(bad), NOW)) == [(0, bytes(bad), "csv:header")]


def test_a_cut_frame_keeps_its_flag() -> None:
    decoded = converting("latin-1").decode(frames(FlaggedFrame(b"caf\xe9", "truncated"), b"\xe9"), NOW)
    assert texts(decoded) == ["café", "é"]

    class Kept(Codec[Settings]):
        def decode_one(self, payload: bytes, now: Now) -> Any:
            return {"flag": getattr(payload, "flag", None)}

    kept = converting("latin-1", codec=Kept(Settings(), None))
    assert kept.decode(frames(FlaggedFrame(b"\xe9", "truncated")), NOW).records == [{"flag": "truncated"}]


def test_joined_lines_are_converted_together() -> None:
    joined = JoinedLines(MultilineSettings(continues=r"\s"), converting("latin-1"))
    joined.place_behind(streams=True, cut=True)
    peer = [Peer("192.0.2.1:5")]
    assert texts(joined.decode(frames(b"caf\xe9", b" \xe0", b"end", peers=peer * 3), NOW)) == ["café\n à"]
    assert texts(joined.decode(frames(b"x", peers=peer), NOW)) == ["end"]


def test_codecs_that_cannot_be_converted_for_are_refused() -> None:
    with pytest.raises(ConfigError, match="the codec msgpack reads no text: remove encoding"):
        converting("latin-1", codec=Msgpack(Settings(), None))
    converting(None, "gzip", codec=Msgpack(Settings(), None))
    own = Text(Text.Config(encoding="latin-1"), None)
    converting(None, "gzip", codec=own)
    with pytest.raises(ConfigError, match=r"the codec text gets UTF-8 .*: remove encoding in codec") as error:
        converting("latin-1", codec=own)
    assert error.value.keys == ("codec", "encoding")
    with pytest.raises(ConfigError, match=r"the codec gelf keeps frames .*: remove decompress"):
        converting(None, "gzip", codec=Gelf(Gelf.Config(), None))


def test_files_of_the_codec_are_those_of_the_source(tmp_path: Path) -> None:
    class Files(Text):
        loaded: Path | None = None

        def load(self, base_dir: Path) -> None:
            self.loaded = base_dir

        def is_current(self) -> bool:
            return False

    inner = Files(Text.Config(), None)
    codec = converting("latin-1", codec=inner)
    codec.load(tmp_path)
    assert inner.loaded == tmp_path
    assert not codec.is_current()
    assert not JoinedLines(MultilineSettings(start="x"), codec).is_current()
