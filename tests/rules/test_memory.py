import sys
import tracemalloc
from typing import Any

from streamd.core.record_key import RecordKey
from streamd.rules.memory import LastValues, SeenKeys, decode, encode

ID = RecordKey(["id"], None)


def is_new(seen: SeenKeys, value: Any, at_s: float) -> bool:
    seen.begin(at_s)
    record = {"id": value}
    found = seen.fault(record) is None
    if found:
        seen.note(record)
    return found


def test_a_value_is_remembered_for_its_time_from_the_first_record_on() -> None:
    seen = SeenKeys(ID, 100, 10.0)
    assert [is_new(seen, 1, s) for s in (0, 5, 9.9, 10, 19.9, 20)] == [True, False, False, True, False, True]
    assert is_new(seen, None, 20)
    assert is_new(seen, None, 20)
    seen.begin(21)
    assert seen.fault({"id": 1}) == "the same value came 1 s before"


def test_beyond_max_keys_the_older_half_is_forgotten_and_counted() -> None:
    seen = SeenKeys(ID, 4, 1000.0)
    assert all(is_new(seen, n, 0) for n in range(6))
    assert seen.forgotten == 2
    assert not is_new(seen, 5, 1)
    assert is_new(seen, 0, 1)
    assert len(seen) <= 4


def test_a_snapshot_goes_on_as_if_nothing_had_happened() -> None:
    seen, last = SeenKeys(ID, 100, 10.0), LastValues(ID, 100, "v")
    is_new(seen, "a", 0)
    is_new(seen, "b", 4)
    last.begin(4)
    last.note({"id": "x", "v": 7})
    wall_s, kept = decode(b"".join(encode(123.0, {"s": seen, "l": last})))
    assert wall_s == 123.0
    again, last_again = SeenKeys(ID, 100, 10.0), LastValues(ID, 100, "v")
    again.restore(kept["s"])
    last_again.restore(kept["l"])
    asked = (("a", 5.9), ("b", 5.9), ("a", 6), ("b", 6), ("b", 10))
    assert [is_new(again, name, s) for name, s in asked] == [False, False, True, False, True]
    assert last_again.value({"id": "x"}) == 7


def test_only_small_plain_values_are_remembered_as_last_values() -> None:
    last = LastValues(ID, 10, "v")
    for value in ("x" * 257, [1], {"a": 1}, None):
        last.note({"id": "a", "v": value})
    assert last.value({"id": "a"}) is None
    last.note({"id": object(), "v": 1})
    assert len(last) == 0
    last.note({"id": "a", "v": "x" * 256})
    assert last.value({"id": "a"}) == "x" * 256


def test_a_key_takes_the_stated_bytes() -> None:
    count = 20_000
    for key_bytes, most in ((16, 130), (2000, 200)):
        keys = [{"id": f"{n:0{key_bytes}d}"} for n in range(count)]
        tracemalloc.start()
        seen = SeenKeys(ID, count * 4, 10.0)
        seen.begin(0)
        for record in keys:
            assert seen.fault(record) is None
            seen.note(record)
        used, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        own = 0 if key_bytes > 128 else sys.getsizeof(keys[0]["id"])  # the key is the record's own text
        assert used / count + own < most
