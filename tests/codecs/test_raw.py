"""The codec raw."""

from typing import Any

import pytest

from streamd.core.frames import FlaggedFrame, Frames
from streamd.core.now import Now
from streamd.core.schema import Schema

DENSE: list[tuple[bytes, dict[str, Any]]] = [(b"a", {}), (b"a" * 10_000, {})]


def sent(payloads: list[bytes]) -> Frames:
    return Frames.of(payloads, "127.0.0.1:5", 1e9)


def test_each_frame_is_its_bytes(new_codec: Any, now: Now) -> None:
    payloads = [bytes(range(256)), b"\n", b"x"]
    decoded = new_codec("raw").decode(sent(payloads), now)
    assert decoded.records == [{"data": payload} for payload in payloads]
    assert decoded.origins is None


def test_an_empty_frame_is_rejected(new_codec: Any, now: Now) -> None:
    decoded = new_codec("raw").decode(sent([b"x", b""]), now)
    assert [(r.index, r.reason) for r in decoded.rejects] == [(1, "empty")]
    assert decoded.records == [{"data": b"x"}]


def test_the_bytes_of_a_flagged_frame_are_plain_bytes(new_codec: Any, now: Now) -> None:
    decoded = new_codec("raw").decode(sent([FlaggedFrame(b"x", "truncated")]), now)
    assert type(decoded.records[0]["data"]) is bytes


def test_a_schema_is_refused(new_codec: Any, schema: Schema) -> None:
    with pytest.raises(ValueError, match="needs the codec json"):
        new_codec("raw", schema)
