from typing import Any, ClassVar

import pytest

from streamd.core.batch import Record
from streamd.core.contracts import AnyEncoder, Encoder, RecordOrigin
from streamd.core.errors import BadData, ConfigError
from streamd.core.settings import Settings
from streamd.encoders.csv import Csv
from streamd.encoders.json import Json
from streamd.encoding.separated import Separated

ORIGIN = RecordOrigin(1e9, None, "lab")


class Free(Encoder[Settings]):
    """The bytes of the field m."""

    line_feeds = "anywhere"
    separation: ClassVar[Any] = "octet_counting"

    def encode_one(self, record: Record, origin: RecordOrigin) -> bytes:
        if record["m"] is None:
            raise BadData("free:none")
        return bytes(record["m"])


class Binary(Free):
    """The same without line ends."""

    separation = "none"
    line_end = b""


def encoded(encoder: AnyEncoder, separation: Any, *messages: bytes | None) -> Any:
    separated = Separated(encoder, separation, add_metadata=False)
    return separated.encode([{"m": message} for message in messages], lambda _: ORIGIN)


@pytest.mark.parametrize(
    ("separation", "sent"),
    [
        ("newline", [b"ab\n", b"c\0\n"]),
        ("octet_counting", [b"2 ab", b"2 c\0", b"3 d\ne"]),
        ("nul", [b"ab\0", b"d\ne\0"]),
        (None, [b"2 ab", b"2 c\0", b"3 d\ne"]),
    ],
)
def test_each_message_is_separated_from_the_next(separation: Any, sent: list[bytes]) -> None:
    assert encoded(Free(Settings()), separation, b"ab", b"c\0", b"d\ne").messages == sent


def test_a_message_that_would_be_read_as_two_is_rejected_in_the_order_of_the_records() -> None:
    done = encoded(Free(Settings()), "newline", None, b"a", b"b\n", None, b"c\n", b"d")
    assert done.messages == [b"a\n", b"d\n"]
    assert [(index, bad.reason) for index, bad in done.rejects.items()] == [
        (0, "free:none"), (2, "newline"), (3, "free:none"), (4, "newline"),
    ]  # fmt: skip
    assert encoded(Free(Settings()), "nul", b"\0", b"x").rejects.keys() == {0}


def test_a_format_without_line_ends_stays_as_it_is() -> None:
    assert encoded(Binary(Settings()), None, b"a\n", b"b").messages == [b"a\n", b"b"]
    assert encoded(Binary(Settings()), "octet_counting", b"a\n").messages == [b"2 a\n"]


@pytest.mark.parametrize(
    ("encoder", "separation", "why"),
    [
        (Binary(Settings()), "newline", 'write "none" or "octet_counting"'),
        (Json(Settings()), "none", 'write "newline" or "octet_counting"'),
    ],
)
def test_what_nobody_could_read_is_refused(encoder: AnyEncoder, separation: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why) as refused:
        Separated(encoder, separation, add_metadata=False)
    assert refused.value.keys == ("framing",)


def test_a_header_is_separated_too_and_a_quoted_line_feed_is_kept() -> None:
    csv = Csv(Csv.Config(columns=["m", "n"]))
    separated = Separated(csv, None, add_metadata=True)
    assert separated.header == b"m,n,_received_at,_source,_peer\r\n"
    assert separated.encode([{"m": "a\nb"}], lambda _: ORIGIN).messages == [b'"a\nb",,,,\r\n']
    assert Separated(Json(Settings()), None, add_metadata=False).header == b""
