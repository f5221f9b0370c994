import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.core.batch import Batch
from streamd.core.columns import FlatColumns
from streamd.core.contracts import Processed
from streamd.core.expression import Expression
from streamd.core.now import Now
from streamd.runtime.tap import MAX_TAPS, Tap, TapOptions
from streamd.runtime.taps import Point, Taps, TooManyTapsError


class Part:
    """A part of a daemon with a hook."""

    def __init__(self) -> None:
        self.tap: Point | None = None


class World:
    """Taps on points of parts, at a time that the test moves."""

    def __init__(self) -> None:
        self.now = Now(1_700_000_000.0, 1000.0)
        self.taps = Taps(lambda: self.now, seed=1)

    def attach(self, *names: str, conceal: Any = None) -> dict[str, Part]:
        parts = {name: Part() for name in names}
        conceals = {} if conceal is None else {"main.redact": conceal}
        self.taps.attach(Point(name, part, conceals) for name, part in parts.items())
        return parts

    def records(self, tap: Tap) -> list[Any]:
        self.now = Now(self.now.wall_s + 1, self.now.mono_s + 1)
        return [json.loads(event)["record"] for event in self.taps.take(tap).events]


@pytest.fixture
def world() -> World:
    return World()


def processed(*records: Any) -> list[Processed]:
    return [Processed(list(records))]


def flat(count: int) -> Batch:
    values = [value for n in range(count) for value in (n, f"s-{n}")]
    return Batch.of(values, "lab", "main", "192.0.2.1:5", 0.5, fields=("n", "sensor"))


def see(part: Part, *records: Any) -> None:
    if part.tap is not None:
        part.tap.see_processed(processed(*records))


def test_a_hook_is_set_while_a_tap_looks(world: World) -> None:
    parts = world.attach("source:a", "source:b")
    one, two = world.taps.open("source:a", TapOptions()), world.taps.open("source:a", TapOptions())
    assert parts["source:a"].tap is not None
    assert parts["source:b"].tap is None
    see(parts["source:a"], {"x": 1})
    world.taps.close(one)
    see(parts["source:a"], {"x": 2})
    assert world.records(two) == [{"x": 1}, {"x": 2}]
    world.taps.close(two)
    assert parts["source:a"].tap is None
    assert len(world.taps) == 0
    world.taps.close(two)


METADATA = {"@source": "lab", "@peer": "192.0.2.1:5", "@received_at": "1970-01-01T00:00:00.500000Z"}


def test_records_of_a_batch_have_their_metadata_and_the_batch_is_not_changed(world: World) -> None:
    parts = world.attach("source:lab")
    tap = world.taps.open("source:lab", TapOptions(where=Expression('meta("peer") == "192.0.2.1:5"')))
    record = {"n": 1}
    for batch in (
        Batch.of([record], "lab", "main", "192.0.2.1:5", 0.5),
        Batch.of([{"n": 2, **METADATA}], "lab", "main", "", 0.5, lifted=True),
        flat(1),
        Batch.of([], "lab", "main", "", 0.5),
    ):
        point = parts["source:lab"].tap
        assert point is not None
        point.see_batch(batch)
        assert batch.fields is None or batch.records == [0, "s-0"]
    assert record == {"n": 1}
    assert world.records(tap) == [
        {"n": 1, **METADATA}, {"n": 2, **METADATA}, {"n": 0, "sensor": "s-0", **METADATA},
    ]  # fmt: skip


def test_of_columns_only_the_shown_records_become_dicts(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    whole = FlatColumns.record

    def counted(self: FlatColumns, index: int) -> dict[str, Any]:
        made.append(index)
        return whole(self, index)

    monkeypatch.setattr(FlatColumns, "record", counted)
    monkeypatch.setattr(FlatColumns, "records", None)
    parts = world.attach("step:main.filter")
    tap = world.taps.open("step:main.filter", TapOptions(rate=2))
    point = parts["step:main.filter"].tap
    assert point is not None
    columns = FlatColumns(flat(1000)).with_columns({"ok": [True] * 1000})
    point.see_processed([Processed([], columns=columns)])
    records = world.records(tap)
    assert len(records) == 2
    assert len(made) < 30
    for record in records:
        n = record["n"]
        assert record == {"n": n, "sensor": f"s-{n}", "ok": True, **METADATA}


def test_a_point_before_a_step_that_redacts_shows_what_the_step_leaves_also_to_a_condition(
    world: World,
) -> None:
    def conceal(record: dict[str, Any]) -> dict[str, Any]:
        return {**record, "card": "***"}

    parts = world.attach("source:lab", conceal=conceal)
    plain = world.taps.open("source:lab", TapOptions())
    asking = world.taps.open("source:lab", TapOptions(where=Expression('card == "4111"')))
    record = {"card": "4111"}
    see(parts["source:lab"], record)
    point = parts["source:lab"].tap
    assert point is not None
    point.see_batch(Batch.of([record], "lab", "main", "192.0.2.1:5", 0.5))
    assert record == {"card": "4111"}
    assert world.records(plain) == [{"card": "***"}, {"card": "***", **METADATA}]
    assert world.records(asking) == []


def test_a_tap_goes_on_at_the_new_point_of_the_same_name_after_a_reload(world: World) -> None:
    old = world.attach("source:a", "step:main.x")
    stays, goes = world.taps.open("source:a", TapOptions()), world.taps.open("step:main.x", TapOptions())
    new = world.attach("source:a", "step:main.y")
    early = world.taps.open("source:a", TapOptions())
    see(old["source:a"], {"n": 1})
    see(new["source:a"], {"n": 2})
    see(old["step:main.x"], {"n": 3})
    assert goes.ended is None, "the old part still works on its last batches"
    world.taps.replaced()
    assert [tap.ended for tap in (stays, goes)] == [None, "removed"]
    see(new["source:a"], {"n": 4})
    assert world.records(stays) == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert world.records(early) == [{"n": 1}, {"n": 2}, {"n": 4}]
    assert world.records(goes) == [{"n": 3}]
    for tap in (stays, goes, early):
        world.taps.close(tap)
    assert [part.tap for part in new.values()] == [None, None]


def test_a_part_that_a_reload_keeps_has_one_hook(world: World) -> None:
    sink = Part()
    world.taps.attach([Point("sink:db", sink)])
    tap = world.taps.open("sink:db", TapOptions())
    world.taps.attach([Point("sink:db", sink)])
    see(sink, {"n": 1})
    world.taps.replaced()
    see(sink, {"n": 2})
    assert world.records(tap) == [{"n": 1}, {"n": 2}]
    world.taps.close(tap)
    assert sink.tap is None


def test_the_number_of_taps_is_bounded_and_refusals_are_counted(world: World) -> None:
    world.attach("source:a")
    taps = [world.taps.open("source:a", TapOptions()) for _ in range(MAX_TAPS)]
    with pytest.raises(TooManyTapsError):
        world.taps.open("source:a", TapOptions())
    assert (world.taps.counts.opened, world.taps.counts.refused) == (MAX_TAPS, 1)
    world.taps.close(taps[0])
    world.taps.open("source:a", TapOptions())
    with pytest.raises(KeyError):
        world.taps.open("source:b", TapOptions())


def test_what_taps_showed_and_skipped_is_counted(world: World) -> None:
    parts = world.attach("source:a")
    tap = world.taps.open("source:a", TapOptions(rate=2))
    see(parts["source:a"], *({"n": n} for n in range(5)))
    assert len(world.records(tap)) == 2
    see(parts["source:a"], {"n": 5})
    world.taps.close(tap)
    assert world.taps.counts.shown == 2
    assert +world.taps.counts.skipped == {"rate": 3, "slow": 1}


def test_a_fault_of_a_tap_ends_the_tap_and_not_the_records(world: World) -> None:
    parts = world.attach("source:a")
    tap, other = world.taps.open("source:a", TapOptions()), world.taps.open("source:a", TapOptions())
    tap.see = None  # type: ignore[assignment,method-assign]
    with capture_logs() as logs:
        see(parts["source:a"], {"n": 1})
    assert [entry["event"] for entry in logs] == ["tap_failed"]
    assert tap.ended == "failed"
    assert world.records(other) == [{"n": 1}]


def test_all_taps_end_with_the_daemon(world: World) -> None:
    world.attach("source:a", "sink:b")
    taps = [world.taps.open(name, TapOptions()) for name in ("source:a", "sink:b")]
    world.taps.end("stopping")
    assert [tap.ended for tap in taps] == ["stopping"] * 2


NAMES = ["source:lab", "source:db", "step:main.set[0]", "step:main.set[1]", "step:main.redact[2]", "sink:db"]


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("source:lab", "source:lab"),
        ("lab", "source:lab"),
        ("db", None),
        ("sink:db", "sink:db"),
        ("step:main.set", None),
        ("step:main.set[1]", "step:main.set[1]"),
        ("main.set[1]", "step:main.set[1]"),
        ("step:main.redact", "step:main.redact[2]"),
        ("main.redact", "step:main.redact[2]"),
        ("redact", None),
        ("", None),
    ],
)
def test_a_point_is_found_by_a_part_of_its_name_if_only_one_fits(
    world: World, name: str, found: str | None
) -> None:
    world.attach(*NAMES)
    assert world.taps.find(name) == found


def test_there_are_no_points_before_an_assembly() -> None:
    assert dict(Taps().points) == {}
