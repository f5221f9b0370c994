from typing import Any

import pytest

from streamd.codecs.json import Json
from streamd.core.batch import Batch
from streamd.core.contracts import BadFrame
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.quality import Quality
from streamd.core.schema import FieldSettings, Schema
from streamd.core.settings import Settings
from streamd.runtime.schema_checks import SchemaChecks

SCHEMA = Schema(
    "s",
    {
        "at": FieldSettings(type="timestamp"),
        "temp": FieldSettings(type="float", ge=-40, le=85),
        "unit": FieldSettings(type="str", required=False),
    },
)
EIGHT = 1_769_846_400.0
"""2026-01-31T08:00:00Z"""
GOOD = b'{"at": "2026-01-31T08:00:00Z", "temp": 1, "unit": "C"}'
NO_UNIT = b'{"at": "2026-01-31T08:00:00Z", "temp": 1}'


def counted(payloads: list[bytes], peers: str | list[str], *, typed: bool) -> dict[str, tuple[Any, ...]]:
    codec = Json(Settings(), SCHEMA)
    codec.typed = typed
    frames = Frames.of(payloads, peers, EIGHT + 2.5)
    decoded = codec.decode(frames, Now(EIGHT + 2.5, 1.0))
    assert decoded.typed == typed
    origins = decoded.origins if decoded.origins is not None else list(range(len(payloads)))
    batch = Batch.of(
        SCHEMA.flatten(decoded.records) if typed else decoded.records,
        "lab",
        "main",
        peers if isinstance(peers, str) else [peers[index] for index in origins],
        EIGHT + 2.5,
        fields=SCHEMA.names if typed else None,
    )
    quality = Quality()
    SchemaChecks("lab", SCHEMA, quality).count(batch, frames, decoded.rejects)
    taken = quality.take()
    assert {(key.source, key.pipeline) for key in taken} == {("lab", "")}
    return {f"{key.rule} {key.field}": (n.checked, n.failed, dict(n.senders)) for key, n in taken.items()} | {
        f"lag {key.field}": (n.lag_s,) for key, n in taken.items() if n.lag_s is not None
    }


@pytest.mark.parametrize("typed", [True, False])
def test_null_values_and_rejects_are_counted_by_field(*, typed: bool) -> None:
    payloads = [
        GOOD,
        NO_UNIT,
        NO_UNIT.replace(b"}", b', "unit": null}'),
        b'{"at": "2026-01-31T08:00:00Z"}',
        GOOD.replace(b"1,", b'"1",'),
        GOOD.replace(b"1,", b"900,"),
        GOOD.replace(b"2026-01-31T08", b"2026-02-31T08"),
        b"no json",
    ]
    peers = [f"10.0.0.{place}:1" for place in range(len(payloads))]
    assert counted(payloads, peers, typed=typed) == {
        "schema:null at": (7, 0, {}),
        "schema:type at": (7, 1, {"10.0.0.6": 1}),
        "schema:null temp": (7, 1, {"10.0.0.3": 1}),
        "schema:type temp": (7, 1, {"10.0.0.4": 1}),
        "schema:range temp": (7, 1, {"10.0.0.5": 1}),
        "schema:null unit": (7, 2, {"10.0.0.1": 1, "10.0.0.2": 1}),
        "schema:type unit": (7, 0, {}),
        "lag at": (2.5,),
    }


@pytest.mark.parametrize("typed", [True, False])
def test_the_nulls_of_one_connection_have_one_sender(*, typed: bool) -> None:
    found = counted([NO_UNIT] * 9 + [GOOD], "10.0.0.1:7", typed=typed)
    assert found["schema:null unit"] == (10, 9, {"10.0.0.1": 9})


def test_elements_of_an_array_are_counted_one_by_one() -> None:
    array = b'[{"at": 1}, ' + GOOD + b', 5, {"at": 1, "temp": true}]'
    found = counted([array], "10.0.0.1:7", typed=False)
    assert found["schema:null temp"] == (3, 1, {"10.0.0.1": 1})
    assert found["schema:type temp"] == (3, 1, {"10.0.0.1": 1})


def test_a_name_with_the_text_that_follows_names_is_found() -> None:
    schema = Schema("s", {"a": FieldSettings(type="int"), "a: b": FieldSettings(type="int")})
    checks = SchemaChecks("lab", schema, Quality())
    for detail, field in (("a: b: missing", "a: b"), ("a: b is missing", "a")):
        (key,) = checks.rules_of(BadFrame(0, b"", "schema:required", detail))
        assert key == ("lab", "", "schema:null", field)
    for reason, detail in (("json:syntax", "a: missing"), ("schema:type", "c: missing"), ("schema:type", "")):
        assert checks.rules_of(BadFrame(0, b"", reason, detail)) == ()


def test_counts_that_were_taken_get_nothing_more() -> None:
    quality = Quality()
    checks = SchemaChecks("lab", SCHEMA, quality)
    frames = Frames.of([], "10.0.0.1:7", EIGHT)
    batch = Batch.of([{"at": "x", "temp": 1.0, "unit": "C"}], "lab", "main", "10.0.0.1:7", EIGHT)
    checks.count(batch, frames, ())
    first = quality.take()
    checks.count(batch, frames, ())
    assert {count.checked for taken in (first, quality.take()) for count in taken.values()} == {1}
