"""What a sender can make a codec do at most: the memory of its records, and the work for a frame."""

import gc
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest

from streamd import registry
from streamd.core.contracts import AnyCodec
from streamd.core.frames import Frames
from streamd.core.now import Now
from tests import declared
from tests.codecs.cases import codec_of

NOW = Now(1_706_688_000.0, 1.0)
NAMES = registry.names("codecs")
DENSE: dict[str, list[tuple[bytes, dict[str, Any]]]] = {
    name: declared.declared("codecs", name, "DENSE", []) for name in NAMES
}
UNITS = [b"[", b"{", b'"', b"\\", b",", b"=", b" ", b"\n", b"\xff", b":", b"<", b"1", b"a"]


def sent(*payloads: bytes) -> Frames:
    return Frames.of(list(payloads), "127.0.0.1:5", 1e9)


def memory_of(value: Any, seen: set[int]) -> int:
    if value is None or id(value) in seen:
        return 0
    seen.add(id(value))
    parts = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return sys.getsizeof(value) + sum(memory_of(part, seen) for part in parts)


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, frames in DENSE.items() for number in range(len(frames))]
)
def test_the_buffers_count_the_memory_of_records_that_take_much_for_their_bytes(
    name: str, number: int
) -> None:
    frame, options = DENSE[name][number]
    codec = codec_of(name, **options)
    frames = sent(frame)
    done = codec.decode(frames, NOW)
    assert done.records
    counted = codec.size_bytes_of(frames, done.records) if done.size_bytes is None else done.size_bytes
    seen: set[int] = set()
    assert sum(memory_of(record, seen) for record in done.records) <= 2.5 * counted


@pytest.mark.parametrize("name", NAMES)
def test_a_codec_names_the_frames_whose_records_take_most_memory(name: str) -> None:
    assert DENSE[name], (
        f"give frames in tests/codecs/test_{name}.py whose records take as much memory for their bytes as"
        " the format can, each with options, like DENSE = [(b'a=,b=', {})]"
    )


def hostile(name: str, size: int) -> Iterator[bytes]:
    """Frames of this size: a piece of the format over and over, alone and between two others."""
    own = declared.declared("codecs", name, "PIECES", [])
    for unit in sorted({*own, *UNITS}):
        many = unit * (size // len(unit))
        yield many
        if own:
            yield own[0] + many + own[-1]


def least_s(codec: AnyCodec, frame: bytes, enough_s: float) -> float:
    """The CPU time of a frame, the least of a few tries unless one is short enough."""
    spent = []
    for _ in range(4):
        begun_s = time.process_time()
        codec.decode(sent(frame), NOW)
        spent.append(time.process_time() - begun_s)
        if spent[-1] < enough_s:
            break
    return min(spent)


@pytest.mark.parametrize("name", NAMES)
def test_the_work_for_a_hostile_frame_is_linear_in_its_length(name: str) -> None:
    """16 times the bytes take about 16 times as long; quadratic work would take 256 times."""
    gc.disable()
    try:
        for options in declared.options_of("codecs", name):
            codec = codec_of(name, **options)
            for short, long in zip(hostile(name, 2**10), hostile(name, 2**14), strict=True):
                most_s = 100 * least_s(codec, short, 0.0) + 0.01
                assert least_s(codec, long, most_s) < most_s, (options, long[:80])
    finally:
        gc.enable()
