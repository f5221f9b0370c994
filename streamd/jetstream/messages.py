"""Puts the lines of many records into messages, each for one partition."""

from collections import defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from streamd.core.record_key import Key

MESSAGE_ID = "Nats-Msg-Id"
EXPECTED_STREAM = "Nats-Expected-Stream"
RECORDS = "Streamd-Records"
PARTITION = "{partition}"
"""The place of the partition's number in a subject."""
_LINE = b"NATS/1.0\r\n\r\n"


@dataclass(slots=True)
class Message:
    """The lines of some records of one partition, in order."""

    subject: str
    payload: bytes
    records: int
    headers: dict[str, str]
    first_sent_mono_s: float | None = None
    """When it was sent first; None if the stream certainly does not hold it."""
    is_late: bool = False
    """Whether it was sent again when the stream had forgotten its id."""


def partition_of(key: Key, partitions: int) -> int:
    """The partition of a key: CRC-32 (as in zlib) of the key's bytes, modulo the number of partitions."""
    return crc32(key if isinstance(key, bytes) else key.encode()) % partitions


class MessageMaker:
    """Cuts lines into messages, and numbers the messages of each partition.

    The id of a message is the same whenever it is sent. It is made of the run, the partition and the number.
    """

    def __init__(self, run: str, stream: str, subject: str, max_records: int) -> None:
        """`subject` may contain `{partition}`."""
        self._run = run
        self._subject = subject
        self._stream = stream
        self._max_records = max_records
        self._numbers: defaultdict[int, int] = defaultdict(int)

    def headers_bytes(self) -> int:
        """Most bytes of the headers of a message."""
        longest = self._headers(10**6, 10**15, self._max_records)
        return len(_LINE) + sum(len(key) + len(value) + len(": \r\n") for key, value in longest.items())

    def _headers(self, partition: int, number: int, records: int) -> dict[str, str]:
        return {
            MESSAGE_ID: f"{self._run}-{partition}-{number}",
            EXPECTED_STREAM: self._stream,
            RECORDS: str(records),
        }

    def messages(
        self, lines: Sequence[bytes], partitions: Sequence[int] | None, max_bytes: int
    ) -> dict[int, deque[Message]]:
        """The messages of each partition, with at most `max_bytes` of lines.

        No line is longer. `partitions` has the partition of each line; None puts all into partition 0.
        """
        by_partition: defaultdict[int, list[bytes]] = defaultdict(list)
        if partitions is None:
            by_partition[0] = list(lines)
        else:
            for line, partition in zip(lines, partitions, strict=True):
                by_partition[partition].append(line)
        return {
            partition: deque(self._cut(partition, own, max_bytes)) for partition, own in by_partition.items()
        }

    def _cut(self, partition: int, lines: list[bytes], max_bytes: int) -> list[Message]:
        found = []
        start = size = 0
        for index, line in enumerate(lines):
            if index - start >= self._max_records or size + len(line) > max_bytes:
                found.append(self._message(partition, lines[start:index]))
                start, size = index, 0
            size += len(line)
        if start < len(lines):
            found.append(self._message(partition, lines[start:]))
        return found

    def _message(self, partition: int, lines: list[bytes]) -> Message:
        self._numbers[partition] += 1
        headers = self._headers(partition, self._numbers[partition], len(lines))
        subject = self._subject.replace(PARTITION, str(partition))
        return Message(subject, b"".join(lines), len(lines), headers)
