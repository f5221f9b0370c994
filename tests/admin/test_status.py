"""Also about `admin/status_answer.py`."""

import json
from dataclasses import replace
from typing import Any

from streamd.admin.status import status
from streamd.admin.view import SinkGauge, StageGauge
from streamd.admin.watch import Watch


def document(world: Any) -> dict[str, Any]:
    made = status(world.view, Watch(world.view), world.clock(), 7)
    return dict(json.loads(json.dumps(made, allow_nan=False)))


def test_the_document_holds_every_number_of_the_books(world: Any) -> None:
    world.fill_books()
    made = document(world)
    assert made["seq"] == 7
    assert made["ready"] is True
    assert made["balanced"] is True
    assert made["uptime_s"] == 1000.0
    assert made["started_at"] == "2023-11-14T21:56:40+00:00"
    (source,) = made["sources"]
    assert source["frames"]["received"] == 1000
    assert source["frames"]["rejected"] == {"json:syntax": 40}
    assert source["frames"]["dropped"] == {"buffer_full": 50}
    assert source["frames"]["waiting"] == 10
    assert source["frames"]["kernel_dropped"] == 7
    assert source["buffer"]["records"] == 10
    (pipeline,) = made["pipelines"]
    assert pipeline["records"]["rejected"] == {"calibrate": 2}
    assert pipeline["records"]["in_flight"] == 19
    (sink,) = made["sinks"]
    assert sink["state"] == "ok"
    assert sink["last_commit_age_s"] == 1.0
    assert sink["notes"] == {"extra_dropped": 4}
    assert sink["commit_latency_s"]["count"] == 700
    assert sink["deliveries"][0]["records"]["pending"] == 65
    assert made["dead_letters"] == {"kept": 2, "evicted": 1}


def test_the_kernels_numbers_are_brought_in_first(world: Any) -> None:
    world.view.refresh = lambda: world.books.source("lab").counters.add("kernel_dropped", 188)
    assert document(world)["sources"][0]["frames"]["kernel_dropped"] == 188


def test_a_daemon_without_any_traffic_has_a_document(world: Any) -> None:
    made = document(world)
    assert made["balanced"] is True
    assert made["sources"][0]["buffer"] is None
    assert made["sinks"][0]["commit_latency_s"] == {"count": 0, "p50": None, "p99": None}


def test_a_sum_below_zero_does_not_balance(world: Any) -> None:
    world.books.source("lab").decoded = 1
    made = document(world)
    assert made["balanced"] is False
    assert made["imbalances"] == ["lab: waiting is -1"]


def test_more_in_a_buffer_than_in_the_books_does_not_balance(world: Any) -> None:
    world.fill_books()
    world.buffers[1] = replace(world.buffers[1], records=66)
    assert document(world)["imbalances"] == ["sink readings: 66 in the buffer, 65 in the books"]


def test_a_note_with_and_without_a_reason_shows_both(world: Any) -> None:
    world.books.source("lab").counters.add("connections_refused")
    world.books.source("lab").counters.add("connections_refused", 2, "not_allowed")
    assert document(world)["sources"][0]["frames"]["connections_refused"] == {"": 1, "not_allowed": 2}


def test_a_sink_in_trouble_says_which_and_since_when(world: Any) -> None:
    world.sinks = [SinkGauge("readings", "locked", 990.0, None, world.latency_s)]
    (sink,) = document(world)["sinks"]
    assert (sink["state"], sink["reason"], sink["retrying_for_s"]) == ("retrying", "locked", 10.0)


def test_every_stage_has_its_numbers_and_times_and_what_it_did_of_late(world: Any) -> None:
    assert document(world)["stages"] == []
    world.view.stages = lambda: [
        StageGauge("workers", "main", "blocked", 12, 11, 8.0, 1.0, 5.0, 2.0),
        StageGauge("step", "main.python[0]", "busy", 11, 10, 8.0, 6.0, 0.0, 2.0, 3),
    ]
    assert document(world)["stages"] == [
        {
            "kind": "workers", "name": "main", "state": "blocked", "in": 12, "out": 11, "under_way": None,
            "elapsed_s": 8.0, "busy_s": 1.0, "blocked_s": 5.0, "idle_s": 2.0,
            "recent": {"over_s": 8.0, "busy": 0.125, "blocked": 0.625, "idle": 0.25},
        },
        {
            "kind": "step", "name": "main.python[0]", "state": "busy", "in": 11, "out": 10, "under_way": 3,
            "elapsed_s": 8.0, "busy_s": 6.0, "blocked_s": 0.0, "idle_s": 2.0,
            "recent": {"over_s": 8.0, "busy": 0.75, "blocked": 0.0, "idle": 0.25},
        },
    ]  # fmt: skip
