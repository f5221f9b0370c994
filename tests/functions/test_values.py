import dataclasses
import datetime as dt
import decimal
import enum
import ipaddress
import pathlib
import sys
import uuid
from collections import OrderedDict, defaultdict, deque, namedtuple
from typing import Any

import numpy as np
import pandas as pd
import pytest

from streamd.functions.values import BadValue, all_plain, plain_record


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


class Unit(enum.StrEnum):
    CELSIUS = "C"


@dataclasses.dataclass
class Point:
    x: int
    y: Any


Pair = namedtuple("Pair", "a b")  # noqa: PYI024 - the plain kind is what is tested
ZONE = dt.timezone(dt.timedelta(hours=8))


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (np.float32(0.5), 0.5), (np.float64(0.1), 0.1), (np.float16(2), 2.0), (np.longdouble(1.5), 1.5),
        (np.int64(7), 7),
        (np.uint8(7), 7), (np.bool_(1), True), (np.str_("a"), "a"), (np.bytes_(b"a"), b"a"),
        (np.array(5), 5),
        (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]), (np.array([0.5], dtype="f4"), [0.5]),
        (np.array(["a", None], dtype=object), ["a", None]), (np.ma.masked, None),
        (np.datetime64("2026-01-31"), "2026-01-31"),
        (np.datetime64("2026-01-31T08:00:00.123456789"), "2026-01-31T08:00:00.123456"),
        (np.datetime64("NaT"), None), (np.timedelta64(1500, "ms"), 1.5),
        (np.array(["2026-01-31"], dtype="datetime64[ns]"), ["2026-01-31T00:00:00.000000"]),
        (pd.Timestamp("2026-01-31T08:00:00.5+08:00"), "2026-01-31T00:00:00.500000Z"),
        (pd.Timestamp("2026-01-31T08:00:00"), "2026-01-31T08:00:00.000000"), (pd.NaT, None), (pd.NA, None),
        (dt.datetime(2026, 1, 31, 8, tzinfo=ZONE), "2026-01-31T00:00:00.000000Z"),
        (dt.datetime(2026, 1, 31, 8), "2026-01-31T08:00:00.000000"),  # noqa: DTZ001 - a naive one is tested
        (dt.date(2026, 1, 31), "2026-01-31"), (dt.time(8, 30), "08:30:00"), (dt.timedelta(seconds=90), 90.0),
        (decimal.Decimal("12.34"), 12.34), (decimal.Decimal(5), 5), (decimal.Decimal("1E+3"), 1000),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"), (pathlib.Path("/a"), "/a"),
        (ipaddress.ip_address("::1"), "::1"), (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (Colour.RED, "red"), (Level.HIGH, 3), (Unit.CELSIUS, "C"),
        ((1, (2,)), [1, [2]]), (Pair(1, 2), [1, 2]), ({1}, [1]), (frozenset("a"), ["a"]), (deque([1]), [1]),
        (bytearray(b"a"), b"a"), (memoryview(b"a"), b"a"),
        (Point(1, np.int8(2)), {"x": 1, "y": 2}), (defaultdict(list, a=[1]), {"a": [1]}),
        (OrderedDict(a=np.float32(1)), {"a": 1.0}), ({1: "a", np.int64(2): "b", Unit.CELSIUS: 0},
        {"1": "a", "2": "b", "C": 0}), (2**70, 2**70),
    ],
)  # fmt: skip
@pytest.mark.parametrize("wrap", [lambda v: v, lambda v: [0, {"in": v}]])
def test_a_value_becomes_the_plain_one_that_it_stands_for(value: Any, plain: Any, wrap: Any) -> None:
    record = {"v": wrap(value)}
    made = plain_record(record)
    assert made == {"v": wrap(plain)}
    assert type(made["v"]) is type(wrap(plain))
    assert all_plain([made])
    assert all_plain([record]) == (type(value) is int)


def _circle() -> Any:
    circle: dict[str, Any] = {}
    circle["me"] = circle
    return circle


def _twice() -> Any:
    twice: list[Any] = []
    for _ in range(50):
        twice = [twice, twice]
    return twice


class Model:
    def model_dump(self) -> None: ...


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (object(), "v: an object cannot be stored"),
        (1j, "v: a complex cannot be stored"),
        ([0, {"a b": (np.complex128(1),)}], "v[1].a b[0]: a complex cannot be stored"),
        (pd.Series([1]), "v: a pandas.Series cannot be stored: return its to_dict() or tolist()"),
        (decimal.Decimal("0.1234567890123456789"), "v: a Decimal of 19 digits fits no float"),
        (decimal.Decimal("NaN"), "v: a Decimal that is NaN"),
        ({(1, 2): 3}, "v: the key (1, 2) is a tuple, not text"),
        ({"a": {"\ud800é": 3}}, r"v.a: the key '\ud800é' holds half of a surrogate pair"),
        ({1: "a", "1": "b"}, "v: two keys become '1' as text"),
        (np.zeros(1, dtype=[("a", "i4")]), "v: a structured array"),
        (dt.datetime(1, 1, 1, tzinfo=ZONE), "v: a datetime outside the years"),
        (iter([]), "v: a list_iterator cannot be stored"),
        (Model(), "return its model_dump()"),
        (_circle(), "nested deeper than 64"),
        (_twice(), "more than 1,000,000 values"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_type_and_place(value: Any, why: str) -> None:
    record = {"v": value}
    if value.__class__ is not list or value[0] == 0:
        assert not all_plain([record])
    with pytest.raises(BadValue) as refused:
        plain_record(record)
    assert why in str(refused.value)


def test_no_library_is_imported_to_know_its_types() -> None:
    import subprocess  # noqa: PLC0415

    code = "import sys, streamd.steps.python; print({'numpy', 'pandas'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "numpy" not in done.stdout
    assert "pandas" not in done.stdout


def test_plain_records_are_seen_at_once_at_every_depth() -> None:
    deep: Any = 1
    for _ in range(62):
        deep = [deep]
    good = {"a": 1, "b": "x", "c": None, "d": 1.5, "e": True, "f": b"x", "g": {"h": [1, {"i": [2]}]}}
    assert all_plain([good, {}, {"deep": deep}])
    assert all_plain([good, {"数据": {"é": "\ud800"}}])
    assert all_plain([])
    bad_ones: list[Any] = [
        {"g": {"h": [1, {"i": (1,)}]}},
        {"g": {1: 2}},
        {1: 2},
        {"\ud800": 2},
        {"g": {"数": {"\udfff": 2}}},
        {"n": np.float64(1)},
        {"n": True, "s": {1}},
    ]
    for bad in bad_ones:
        assert not all_plain([good, bad])
