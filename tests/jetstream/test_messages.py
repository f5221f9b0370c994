from collections.abc import Sequence
from zlib import crc32

import pytest

from streamd.jetstream.messages import MessageMaker, partition_of


def maker(max_records: int = 3) -> MessageMaker:
    return MessageMaker("run", "orders", "in.{partition}", max_records)


@pytest.mark.parametrize(
    ("lines", "max_bytes", "expected"),
    [
        ([], 9, []),
        ([b"1\n"], 2, [b"1\n"]),
        ([b"1\n", b"2\n", b"3\n", b"4\n"], 9, [b"1\n2\n3\n", b"4\n"]),
        ([b"1\n", b"2\n", b"3\n"], 4, [b"1\n2\n", b"3\n"]),
        ([b"1234567\n", b"2\n", b"3\n"], 8, [b"1234567\n", b"2\n3\n"]),
    ],
)
def test_a_message_has_at_most_so_many_records_and_bytes(
    lines: Sequence[bytes], max_bytes: int, expected: list[bytes]
) -> None:
    messages = maker().messages(lines, None, max_bytes)
    assert [message.payload for message in messages.get(0, ())] == expected
    assert sum(message.records for message in messages.get(0, ())) == len(lines)


def test_lines_go_to_their_partitions_in_order_and_ids_go_on() -> None:
    made = maker()
    for turn in (1, 2):
        messages = made.messages([b"a\n", b"b\n", b"c\n"], [1, 0, 1], 99)
        assert {number: queue[0].payload for number, queue in messages.items()} == {1: b"a\nc\n", 0: b"b\n"}
        assert messages[1][0].subject == "in.1"
        assert messages[1][0].headers["Nats-Msg-Id"] == f"run-1-{turn}"
        assert messages[0][0].headers["Nats-Msg-Id"] == f"run-0-{turn}"
        assert messages[0][0].headers["Nats-Expected-Stream"] == "orders"


def test_headers_fit_into_the_bytes_that_are_kept_free_for_them() -> None:
    made = maker()
    (message,) = made.messages([b"a\n"], [1], 99)[1]
    size = len("NATS/1.0\r\n\r\n") + sum(len(f"{key}: {text}\r\n") for key, text in message.headers.items())
    assert size <= made.headers_bytes() < 200


@pytest.mark.parametrize("key", ["s-1", "", "ü", b"\x00\xff"])
def test_the_partition_is_the_crc_32_of_the_key(key: str | bytes) -> None:
    data = key if isinstance(key, bytes) else key.encode()
    assert partition_of(key, 8) == crc32(data) % 8
