import itertools
import random
from dataclasses import replace

import pytest

from streamd.core.errors import BadData
from streamd.core.gelf_chunks import OVERHEAD_BYTES, Chunk, ChunkLimits, EndedMessage, GelfChunks

LIMITS = ChunkLimits(
    timeout_s=5.0,
    messages=100,
    messages_of_sender=50,
    size_bytes=1_000_000,
    bytes_of_sender=500_000,
    message_bytes=10_000,
)


def part(number: int, total: int, text: bytes = b"", message: int = 1) -> bytes:
    return b"\x1e\x0f" + message.to_bytes(8) + bytes([number, total]) + text


class Waiting:
    """The chunks of senders, at a clock of its own."""

    def __init__(self, limits: ChunkLimits = LIMITS) -> None:
        self.chunks = GelfChunks(limits)
        self.mono_s = 0.0

    def add(self, payload: bytes, sender: str = "a") -> EndedMessage | None:
        return self.chunks.add(sender, Chunk(payload, 0), self.mono_s)

    def fault_of(self, payload: bytes, sender: str = "a") -> tuple[str, str]:
        with pytest.raises(BadData) as caught:
            self.add(payload, sender)
        return caught.value.reason, caught.value.detail


def texts(ended: list[EndedMessage]) -> list[tuple[bytes, str]]:
    return [(one.text, one.fault.detail if one.fault else "") for one in ended]


@pytest.mark.parametrize("total", [1, 2, 3, 128])
def test_chunks_in_any_order_are_joined_by_their_numbers(total: int) -> None:
    waiting = Waiting()
    numbers = list(range(total))
    random.Random(total).shuffle(numbers)  # noqa: S311 - no secret
    for number in numbers[:-1]:
        assert waiting.add(part(number, total, b"<%d>" % number)) is None
    last = waiting.add(part(numbers[-1], total, b"<%d>" % numbers[-1]))
    assert last is not None
    assert (last.text, last.fault) == (b"".join(b"<%d>" % n for n in range(total)), None)
    assert all(chunk.ended for chunk in last.chunks)
    assert len(waiting.chunks) == 0
    assert waiting.chunks.next_deadline() is None


def test_messages_of_other_ids_and_senders_do_not_mix() -> None:
    waiting = Waiting()
    keys = [("a", 1), ("a", 2), ("b", 1)]
    for sender, message in keys:
        assert waiting.add(part(0, 2, b"%d" % message, message), sender) is None
    for sender, message in keys:
        ended = waiting.add(part(1, 2, sender.encode(), message), sender)
        assert ended is not None
        assert ended.text == b"%d" % message + sender.encode()


def test_chunks_that_do_not_fit_their_message_are_refused_and_the_message_goes_on() -> None:
    waiting = Waiting()
    waiting.add(part(0, 3, b"a"))
    assert waiting.fault_of(part(0, 3, b"b"))[0] == "gelf:duplicate"
    assert waiting.fault_of(part(1, 2, b"b")) == ("gelf:chunk", "2 chunks, but 3 in an earlier chunk")
    assert waiting.fault_of(part(0, 1, b"b")) == ("gelf:chunk", "1 chunk, but 3 in an earlier chunk")
    assert waiting.fault_of(part(3, 3, b"b"))[0] == "gelf:chunk"
    waiting.add(part(2, 3, b"c"))
    ended = waiting.add(part(1, 3, b"b"))
    assert ended is not None
    assert ended.text == b"abc"


def test_a_message_whose_time_is_over_is_given_up_and_a_later_chunk_begins_another() -> None:
    waiting = Waiting()
    waiting.add(part(0, 2, b"a"))
    waiting.mono_s = 1.0
    waiting.add(part(0, 3, b"b", 2))
    waiting.add(part(2, 3, b"c", 2))
    assert waiting.chunks.next_deadline() == 5.0
    assert waiting.chunks.expire(4.9) == []
    assert texts(waiting.chunks.expire(5.0)) == [(b"a", "1 of 2 chunks came in 5 s")]
    assert waiting.chunks.next_deadline() == 6.0
    waiting.mono_s = 2.0
    assert waiting.add(part(1, 2, b"z")) is None
    assert texts(waiting.chunks.expire(6.0)) == [(b"bc", "2 of 3 chunks came in 5 s")]
    assert texts(waiting.chunks.end()) == [(b"z", "1 of 2 chunks came before the end")]
    assert waiting.chunks.end() == []


def test_after_a_restart_of_the_clock_every_message_has_its_whole_time() -> None:
    waiting = Waiting()
    waiting.add(part(0, 2))
    waiting.chunks.restart(7.0)
    assert waiting.chunks.expire(11.9) == []
    assert len(waiting.chunks.expire(12.0)) == 1


def test_a_limit_on_messages_concerns_only_new_ones() -> None:
    waiting = Waiting(replace(LIMITS, messages=3, messages_of_sender=2))
    for message, sender in enumerate("aab"):
        waiting.add(part(0, 2, b"", message), sender)
    assert waiting.fault_of(part(0, 2, b"", 9), "a") == (
        "gelf:limit", "2 messages of this sender are incomplete",
    )  # fmt: skip
    assert waiting.fault_of(part(0, 2, b"", 9), "c") == ("gelf:limit", "3 messages are incomplete")
    assert waiting.add(part(1, 2, b"", 0), "a") is not None
    assert waiting.add(part(0, 2, b"", 9), "c") is None


@pytest.mark.parametrize(
    ("limits", "sender", "of_what"),
    [
        (replace(LIMITS, bytes_of_sender=40_000), "a", "half of max_waiting_per_sender"),
        (replace(LIMITS, size_bytes=40_000), "b", "half of max_waiting"),
    ],
)
def test_a_flood_of_first_chunks_uses_half_of_the_memory_and_messages_that_have_begun_the_rest(
    limits: ChunkLimits, sender: str, of_what: str
) -> None:
    waiting = Waiting(limits)
    waiting.add(part(0, 10, b"x", 999))
    each = OVERHEAD_BYTES + 12
    for message in itertools.count():
        try:
            waiting.add(part(0, 10, b"", message))
        except BadData:
            break
    assert waiting.fault_of(part(0, 10, b"", message))[1].endswith(of_what)
    assert 20_000 <= (1 + message) * each < 20_000 + 2 * each
    assert waiting.fault_of(part(0, 10, b"", 5000), sender)[0] == "gelf:limit"
    for number in range(1, 9):
        assert waiting.add(part(number, 10, b"x", 999)) is None
    ended = waiting.add(part(9, 10, b"x", 999))
    assert ended is not None
    assert (ended.text, ended.fault) == (b"x" * 10, None)


@pytest.mark.parametrize(
    ("limits", "sender", "detail"),
    [
        (replace(LIMITS, bytes_of_sender=20_000), "a", "the chunks of this sender use all of"),
        (replace(LIMITS, size_bytes=20_000), "b", "waiting chunks use all of max_waiting"),
    ],
)
def test_where_all_the_memory_is_used_the_message_of_the_next_chunk_is_given_up(
    limits: ChunkLimits, sender: str, detail: str
) -> None:
    waiting = Waiting(limits)
    waiting.add(part(0, 128, b"", 1), "a")
    waiting.add(part(0, 3, b"z", 2), sender)
    ended = None
    for number in range(1, 128):
        ended = ended or waiting.add(part(number, 128, b"", 1))
        if ended is not None:
            break
    assert ended is not None
    assert ended.fault is not None
    assert ended.fault.reason == "gelf:limit"
    assert ended.fault.detail.startswith(detail)
    assert len(ended.chunks) * (OVERHEAD_BYTES + 12) < 20_000
    assert len(waiting.chunks) == 1  # the other message goes on
    assert waiting.add(part(1, 3, b"z", 2), sender) is None


@pytest.mark.parametrize("last", [b"", b"x"])
def test_a_message_that_grows_too_long_is_given_up(last: bytes) -> None:
    waiting = Waiting(replace(LIMITS, message_bytes=10))
    assert waiting.add(part(0, 3, b"12345")) is None
    assert waiting.add(part(1, 3, b"67890")) is None
    ended = waiting.add(part(2, 3, last))
    assert ended is not None
    assert (ended.fault is not None) == bool(last)
    assert waiting.add(part(0, 3, b"12345", 2)) is None
    ended = waiting.add(part(1, 3, b"678901", 2))
    assert ended is not None
    assert ended.fault is not None
    assert ended.fault.reason == "gelf:size"


def test_senders_and_messages_that_are_over_leave_nothing_behind() -> None:
    waiting = Waiting(replace(LIMITS, messages=2, messages_of_sender=2))
    for round_number in range(100):
        waiting.add(part(0, 2, b"", round_number), str(round_number))
        waiting.add(part(0, 2, b"", round_number), "other")
        waiting.mono_s += 5.0
        assert len(waiting.chunks.expire(waiting.mono_s)) == 2
    assert len(waiting.chunks) == 0
    assert waiting.chunks._senders == {}
    assert (waiting.chunks._all.messages, waiting.chunks._all.size_bytes) == (0, 0)
