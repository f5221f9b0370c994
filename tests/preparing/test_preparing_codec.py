from pathlib import Path
from typing import Any

import pytest

from streamd.core.contracts import AnyCodec, Codec, Decoded
from streamd.core.conversion_settings import FrameConversion
from streamd.core.frames import Frames
from streamd.core.multiline_settings import MultilineSettings
from streamd.core.now import Now
from streamd.core.peer import Peer
from streamd.core.settings import Settings
from streamd.preparing.converted_frames import ConvertedFrames
from streamd.preparing.joined_lines import JoinedLines


class Noted(Codec[Settings]):
    """Notes what it is told. It alarms, and needs the first frame, once it knows how frames are made."""

    holds_open = False
    counters = {"seen": "frames seen"}  # noqa: RUF012 - as codecs declare it
    weight = 3

    def __init__(self) -> None:
        super().__init__(Settings(), None)
        self.told: list[Any] = []

    def load(self, base_dir: Path) -> None:
        self.told.append(base_dir)

    def is_current(self) -> bool:
        return self.told == []

    def place_behind(self, *, streams: bool, cut: bool) -> None:
        self.told.append((streams, cut))
        self.alarming, self.needs_first = frozenset({"header"}), True

    def decode_one(self, payload: bytes, now: Now) -> Any:
        self.count("seen")
        return {"data": payload}

    def forget(self, peer: Peer, now: Now) -> Decoded | None:
        self.told.append(peer)
        return None

    def next_deadline(self) -> float | None:
        return 5.0

    def can_adopt(self, old: AnyCodec) -> bool:
        return type(old) is Noted

    def adopt(self, old: AnyCodec) -> None:
        self.told.append(old)


def converted(codec: AnyCodec) -> Codec[Any]:
    return ConvertedFrames(FrameConversion("latin-1"), codec)


def joined(codec: AnyCodec) -> Codec[Any]:
    return JoinedLines(MultilineSettings(start="a"), codec)


@pytest.mark.parametrize("prepared", [converted, joined, lambda codec: joined(converted(codec))])
def test_the_daemon_sets_and_asks_the_codec_of_the_source(prepared: Any, tmp_path: Path) -> None:
    codec = Noted()
    outer = prepared(codec)
    assert outer.is_current()
    outer.load(tmp_path)
    outer.place_behind(streams=False, cut=False)
    outer.typed = outer.redacted = True
    assert codec.told == [tmp_path, (False, False)]
    assert (codec.typed, codec.redacted, outer.typed, outer.redacted) == (True, True, True, True)
    assert (outer.alarming, outer.needs_first, outer.weight) == ({"header"}, True, 3)
    assert not outer.is_current()
    assert outer.decode(Frames.of([b"x"], "192.0.2.1:1", 1e9), Now(1e9, 0.0)).records == [{"data": b"x"}]
    assert (outer.counts, outer.counters["seen"]) == ({"seen": 1}, "frames seen")


def test_what_it_does_not_do_itself_is_left_to_the_codec() -> None:
    codec, old = Noted(), Noted()
    outer, peer = converted(codec), Peer("192.0.2.1:1")
    assert (outer.holds_open, outer.next_deadline()) == (False, 5.0)
    assert (
        outer.forget(peer, Now(1e9, 0.0)) is outer.tick(Now(1e9, 0.0)) is outer.finish(Now(1e9, 0.0)) is None
    )
    assert outer.can_adopt(converted(old))
    outer.adopt(converted(old))
    assert codec.told == [peer, old]


def test_a_reload_sees_other_settings_of_the_preparation_and_of_the_codec() -> None:
    assert converted(Noted()).config == converted(Noted()).config
    assert converted(Noted()).config != joined(Noted()).config
    assert ConvertedFrames(FrameConversion("cp1252"), Noted()).config != converted(Noted()).config
