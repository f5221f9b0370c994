from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.codecs.json import Json
from streamd.core.batch import Batch
from streamd.core.contracts import BadFrame
from streamd.core.frames import Frames
from streamd.core.now import Now
from streamd.core.peer import Peer
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
    checks = SchemaChecks("lab", SCHEMA, quality)
    rules = [checks.count_reject(bad, frames.peer(bad.index)) for bad in decoded.rejects]
    checks.count_checked(sum(map(len, rules)))
    checks.count(batch)
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


FIELD_NAMES = st.lists(st.text("a: ", min_size=1, max_size=4), min_size=1, max_size=4, unique=True)


@given(FIELD_NAMES, st.text("a: ", max_size=12))
def test_the_field_of_a_reject_is_the_longest_name_before_a_colon(names: list[str], detail: str) -> None:
    checks = SchemaChecks("lab", Schema("s", {name: FieldSettings(type="int") for name in names}), Quality())
    fit = [name for name in names if detail.startswith(f"{name}: ")]
    expected = [("lab", "", "schema:null", name) for name in sorted(fit, key=len)[-1:]]
    bad = BadFrame(0, b"", "schema:required", detail)
    assert list(checks.count_reject(bad, Peer("10.0.0.1:1"))) == expected


@pytest.mark.parametrize(
    ("reason", "detail", "rule"),
    [
        ("schema:required", "a: b: missing", ("schema:null", "a: b")),
        ("schema:required", "a: b: c: missing", ("schema:null", "a: b: c")),
        ("schema:range", "a: b is 9", ("schema:range", "a")),
        ("timestamp:range", "a: b", ("schema:type", "a")),
        ("json:syntax", "a: missing", None),
        ("schema:type", "c: missing", None),
        ("schema:type", "a", None),
        ("schema:range", "t: too high", None),
        ("schema:type", "", None),
    ],
)
def test_a_reject_counts_for_its_rule_only(reason: str, detail: str, rule: tuple[str, str] | None) -> None:
    number, text = FieldSettings(type="int"), FieldSettings(type="str")
    quality = Quality()
    fields = {"a": number, "a: b": number, "a: b: c": number, "t": text}
    checks = SchemaChecks("lab", Schema("s", fields), quality)
    keys = checks.count_reject(BadFrame(0, b"", reason, detail), Peer("10.0.0.1:1"))
    assert keys == (() if rule is None else (("lab", "", *rule),))
    failed = {key: (n.failed, dict(n.senders)) for key, n in quality.take().items() if n.failed}
    assert failed == dict.fromkeys(keys, (1, {"10.0.0.1": 1}))


@pytest.mark.parametrize(
    ("peer", "senders"),
    [("10.0.0.1:1", {"10.0.0.1": 2}), ("pid=1,uid=2,gid=3", {"pid=1,uid=2,gid=3": 2}), ("", {})],
)
def test_the_sender_of_a_reject_is_its_host_or_its_text(peer: str, senders: dict[str, int]) -> None:
    quality = Quality()
    checks = SchemaChecks("lab", SCHEMA, quality)
    bad = BadFrame(0, b"", "schema:type", "temp: no number")
    for _ in range(2):
        (key,) = checks.count_reject(bad, Peer(peer))
    count = quality.take()[key]
    assert (count.failed, dict(count.senders)) == (2, senders)
    assert {type(sender) for sender in count.senders} <= {str}


def test_a_batch_of_other_rejects_only_has_checked_nothing() -> None:
    quality = Quality()
    checks = SchemaChecks("lab", SCHEMA, quality)
    assert checks.count_reject(BadFrame(0, b"", "json:syntax", "at byte 5"), Peer("10.0.0.1:1")) == ()
    checks.count(Batch.of([], "lab", "main", "10.0.0.1:7", EIGHT))
    taken = quality.take()
    assert len(taken) == 7
    assert {(n.checked, n.failed, n.lag_s) for n in taken.values()} == {(0, 0, None)}


def test_counts_that_were_taken_get_nothing_more() -> None:
    quality = Quality()
    checks = SchemaChecks("lab", SCHEMA, quality)
    batch = Batch.of([{"at": "x", "temp": 1.0, "unit": "C"}], "lab", "main", "10.0.0.1:7", EIGHT)
    bad = BadFrame(0, b"", "schema:type", "temp: no number")
    for _ in range(2):
        checks.count(batch)
        (key,) = checks.count_reject(bad, Peer("10.0.0.1:7"))
        taken = quality.take()
        assert {count.checked for count in taken.values()} == {1}
        assert taken[key].failed == 1
