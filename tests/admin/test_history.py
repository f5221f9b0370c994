import json
import math
from typing import Any

import pytest

from streamd.admin import history
from streamd.admin.history import History, SeriesKey, as_json
from streamd.admin.view import SinkGauge, StageGauge


def values(made: History, *key: str, **cut: int) -> list[float]:
    """The values of a series, oldest first."""
    return next(list(one.values) for one in made.cut(**cut).series if one.key == SeriesKey(*key))  # type: ignore[arg-type]


def keys(made: History) -> set[SeriesKey]:
    return {one.key for one in made.cut().series}


@pytest.fixture
def made(world: Any) -> History:
    return History(world.view)


def test_a_sample_holds_the_books_the_buffers_and_the_sinks(made: History, world: Any) -> None:
    world.fill_books()
    made.observe(1_700_000_000.0, 1)
    assert world.refreshed == 1
    found = {one.key: (one.type, *one.values) for one in made.cut().series}
    assert found[SeriesKey("source", "lab", "received")] == ("counter", 1000)
    assert found[SeriesKey("source", "lab", "rejected", "json:syntax")] == ("counter", 40)
    assert found[SeriesKey("source", "lab", "dropped", "buffer_full")] == ("counter", 50)
    assert found[SeriesKey("source", "lab", "kernel_dropped")] == ("counter", 7)
    assert found[SeriesKey("source", "lab", "held")] == ("gauge", 0)
    assert found[SeriesKey("source", "lab", "buffer_records")] == ("gauge", 10)
    assert found[SeriesKey("source", "lab", "buffer_bytes")] == ("gauge", 1000)
    assert found[SeriesKey("pipeline", "main", "in")] == ("counter", 910)
    assert found[SeriesKey("pipeline", "main", "filtered")] == ("counter", 90)
    assert found[SeriesKey("sink", "readings", "stored")] == ("counter", 700)
    assert found[SeriesKey("sink", "readings", "rejected")] == ("counter", 10)
    assert found[SeriesKey("sink", "readings", "retrying")] == ("gauge", 0)
    assert found[SeriesKey("dead_letters", "", "kept")] == ("counter", 2)
    assert not {key for key in found if key.of in ("waiting", "in_flight", "pending")}


def test_the_books_of_several_sources_in_one_pipeline_are_added_up(made: History, world: Any) -> None:
    world.books.pipeline("lab", "main").filtered = 5
    world.books.pipeline("field", "main").filtered = 7
    world.books.delivery("lab", "main", "readings").stored = 1
    world.books.delivery("lab", "other", "readings").stored = 2
    made.observe(0.0, 1)
    assert values(made, "pipeline", "main", "filtered") == [12]
    assert values(made, "sink", "readings", "stored") == [3]


def test_a_retrying_sink_is_1(made: History, world: Any) -> None:
    world.sinks = [SinkGauge("readings", "disk full", 0.0, None, world.latency_s)]
    made.observe(0.0, 1)
    assert values(made, "sink", "readings", "retrying") == [1]


def test_there_is_one_sample_a_second(made: History, world: Any) -> None:
    book = world.books.source("lab")
    for received, seq in ((1, 1), (2, 1), (3, 2), (4, 4)):
        book.received = received
        made.observe(100.0 + seq, seq)
    assert values(made, "source", "lab", "received") == [1, 3, 4]
    assert made.cut().at_wall_s == [101.0, 102.0, 104.0]
    assert made.cut().seq == 4


def test_what_did_not_exist_is_nan(made: History, world: Any) -> None:
    made.observe(0.0, 1)
    world.books.source("late").received = 1
    made.observe(0.0, 2)
    del world.books.frames["late"]
    made.observe(0.0, 3)
    world.books.source("late").received = 3
    made.observe(0.0, 4)
    *counted, last = values(made, "source", "late", "received")
    assert (counted, last) == ([0, 1, 0], 3)  # a counter that does not exist is zero for the one after it
    del world.books.frames["late"]
    made.observe(0.0, 5)
    assert math.isnan(values(made, "source", "late", "received")[-1])


def test_a_gauge_that_did_not_exist_is_nan(made: History, world: Any) -> None:
    made.observe(0.0, 1)
    world.sinks = [SinkGauge("late", "disk full", 0.0, None, world.latency_s)]
    made.observe(0.0, 2)
    before, now = values(made, "sink", "late", "retrying")
    assert (math.isnan(before), now) == (True, 1)


def test_a_total_that_was_left_out_has_the_value_of_the_second_before_when_it_is_kept(
    made: History, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.dead_letters["kept"] = 2
    world.books.source("lab").received = 5000
    monkeypatch.setattr(history, "MOST_SERIES", len(world.dead_letters))
    made.observe(0.0, 1)
    world.books.source("lab").received = 5007
    monkeypatch.setattr(history, "MOST_SERIES", 500)
    made.observe(0.0, 2)
    assert values(made, "source", "lab", "received") == [5000, 5007]


@pytest.mark.parametrize("count", [1, 599, 600, 601, 1199, 1250])
def test_the_ring_keeps_the_newest_samples_in_their_order(made: History, world: Any, count: int) -> None:
    for seq in range(count):
        world.books.source("lab").received = seq
        made.observe(float(seq), seq)
    kept = list(range(count))[-600:]
    assert values(made, "source", "lab", "received") == kept
    assert made.cut().at_wall_s == kept
    assert values(made, "source", "lab", "received", samples=7) == kept[-7:]
    assert values(made, "source", "lab", "received", since=count - 4) == kept[-3:]
    assert values(made, "source", "lab", "received", since=count - 1) == []
    assert values(made, "source", "lab", "received", since=count + 9) == []
    assert values(made, "source", "lab", "received", samples=0) == []


def test_a_series_without_a_number_for_the_whole_ring_is_removed(made: History, world: Any) -> None:
    world.books.source("gone").received = 1
    made.observe(0.0, 0)
    del world.books.frames["gone"]
    for seq in range(1, 600):
        made.observe(0.0, seq)
    assert SeriesKey("source", "gone", "received") in keys(made)
    made.observe(0.0, 600)
    assert SeriesKey("source", "gone", "received") not in keys(made)


def test_series_beyond_the_limit_are_counted_and_not_kept(
    made: History, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_SERIES", 5)
    world.fill_books()
    made.observe(0.0, 1)
    cut = made.cut()
    assert len(cut.series) == 5
    world.dead_letters["new"] = 1
    made.observe(0.0, 2)
    assert len(made.cut().series) == 5
    assert made.cut().left_out == cut.left_out + 1 > 1


def test_a_loss_takes_the_place_of_what_matters_less(
    made: History, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "MOST_SERIES", 8)
    world.dead_letters.clear()
    for n in range(4):
        world.books.source(f"s-{n}").received = 1
    world.books.delivery("s-0", "main", "readings").stored = 1
    made.observe(0.0, 1)
    assert SeriesKey("sink", "readings", "stored") in keys(made)
    left_out = made.cut().left_out
    for n in range(4):
        world.books.source(f"s-{n}").dropped["buffer_full"] = 2
        made.observe(0.0, 2 + n)
        assert values(made, "source", f"s-{n}", "dropped", "buffer_full")[-1] == 2
    assert len(made.cut().series) == 8
    assert made.cut().left_out == left_out + 4
    made.observe(0.0, 9)
    assert len([key for key in keys(made) if key.of == "dropped"]) == 4


def test_shares_of_a_stage_are_those_since_the_sample_before(made: History, world: Any) -> None:
    def stage(elapsed_s: float, busy_s: float, blocked_s: float) -> None:
        idle_s = elapsed_s - busy_s - blocked_s
        gauge = StageGauge("workers", "main", "busy", 0, 0, elapsed_s, busy_s, blocked_s, idle_s)
        world.view.stages = lambda: [gauge]

    for seq, times in enumerate([(10.0, 5.0, 5.0), (12.0, 5.5, 6.0), (0.5, 0.1, 0.1), (1.5, 1.1, 0.1)]):
        stage(*times)
        made.observe(0.0, seq)
    busy, blocked = (values(made, "stage", "workers main", of) for of in ("busy", "blocked"))
    assert [math.isnan(share) for share in busy] == [True, False, True, False]  # a reload replaced the stage
    assert (busy[1], busy[3]) == (0.25, 1.0)
    assert (blocked[1], blocked[3]) == (0.5, 0.0)


def test_a_cut_is_a_copy_and_its_document_is_json(made: History, world: Any) -> None:
    made.observe(1.5, 1)
    world.books.source('a"\n').received = 3
    made.observe(2.5, 2)
    cut = made.cut()
    made.observe(3.5, 3)
    document = json.loads(as_json(cut))
    assert (document["seq"], document["at_wall_s"], document["interval_s"]) == (2, [1.5, 2.5], 1.0)
    assert document["left_out"] == 0
    series = next(one for one in document["series"] if one["name"] == 'a"\n' and one["of"] == "received")
    assert series == {
        "kind": "source", "name": 'a"\n', "of": "received", "reason": "", "type": "counter",
        "values": [0.0, 3.0],
    }  # fmt: skip
    assert all(len(one["values"]) == 2 for one in document["series"])


def test_before_the_first_sample_the_document_is_empty(made: History) -> None:
    assert json.loads(as_json(made.cut())) == {
        "seq": -1, "interval_s": 1.0, "at_wall_s": [], "left_out": 0, "series": [],
    }  # fmt: skip
