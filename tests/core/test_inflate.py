import contextlib
import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.core.errors import BadData
from streamd.core.inflate import inflate, is_compressed

MEMBER = gzip.compress(b"", mtime=0)


def fault_of(data: bytes, most_bytes: int = 1000) -> str:
    with pytest.raises(BadData) as caught:
        inflate(data, most_bytes)
    return caught.value.reason


@given(parts=st.lists(st.binary(max_size=300), min_size=1, max_size=4), level=st.integers(0, 9))
def test_the_content_comes_back_also_of_several_members(parts: list[bytes], level: int) -> None:
    whole = b"".join(parts)
    for data in (zlib.compress(whole, level), b"".join(gzip.compress(part, level) for part in parts)):
        assert is_compressed(data)
        assert inflate(data, len(whole)) == whole
        if whole:
            assert fault_of(data, len(whole) - 1) == "compressed:size"


@given(data=st.binary(max_size=64), begin=st.sampled_from([b"", b"\x1f\x8b", b"\x1f\x8b\x08\0", b"\x78\x9c"]))
def test_any_bytes_are_content_or_bad_data(data: bytes, begin: bytes) -> None:
    if is_compressed(begin + data):
        with contextlib.suppress(BadData):
            assert len(inflate(begin + data, 100)) <= 100


@pytest.mark.parametrize("data", [b"", b"x", b"\x78\x9d", b"\x1f", b"\x1f\x8c", b"{}", b"xyz"])
def test_other_bytes_are_not_taken_for_compressed_ones(data: bytes) -> None:
    assert not is_compressed(data)


@pytest.mark.parametrize("whole", [zlib.compress(b"a" * 50), gzip.compress(b"a" * 50), MEMBER])
def test_what_is_cut_off_or_has_more_behind_its_end_is_refused(whole: bytes) -> None:
    for end in range(2, len(whole)):
        assert fault_of(whole[:end]) == "compressed:syntax"
    assert fault_of(whole + b"x") == "compressed:syntax"


def test_a_wrong_checksum_is_refused() -> None:
    for whole in (zlib.compress(b"a" * 50), gzip.compress(b"a" * 50)):
        broken = bytearray(whole)
        broken[-1 if whole[0] == 0x78 else -5] ^= 1
        assert fault_of(bytes(broken)) == "compressed:syntax"


@pytest.mark.parametrize("pack", [zlib.compress, gzip.compress])
def test_nothing_beyond_the_limit_is_inflated_of_a_bomb(pack: Callable[[bytes], bytes]) -> None:
    bomb = pack(bytes(10_000_000))
    tracemalloc.start()
    try:
        assert fault_of(bomb, 100_000) == "compressed:size"
        assert tracemalloc.get_traced_memory()[1] < 400_000
    finally:
        tracemalloc.stop()


def test_many_members_cost_as_much_as_their_bytes() -> None:
    """A member is read from at most one piece, whatever follows it."""

    class Watched(bytes):
        copied = 0

        def __getitem__(self, key: slice) -> bytes:  # type: ignore[override]  # only slices are read
            part = super().__getitem__(key)
            Watched.copied += len(part)
            return part

    def copied(members: int) -> int:
        Watched.copied = 0
        assert inflate(Watched(MEMBER * members), 0) == b""
        return Watched.copied

    assert copied(4000) < 3 * copied(2000)
