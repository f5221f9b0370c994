"""Snapshots of several processes are shown as those of one."""

import pickle
from collections import Counter

from streamd.admin.view import BufferGauge, SinkGauge, SourceGauge, StageGauge
from streamd.core.books import Books
from streamd.core.contracts import KernelQueue
from streamd.core.histogram import Histogram
from streamd.processes import snapshot
from streamd.processes.snapshot import ProcessSnapshot, merged_books


def books(received: int) -> Books:
    made = Books()
    frames = made.source("floor")
    frames.received = frames.decoded = received
    frames.counters.declare({"connections": "connections accepted"})
    frames.counters.add("connections", 2)
    records = made.pipeline("floor", "main")
    records.taken_in = records.out = received
    made.delivery("floor", "main", "rows").offered = received
    made.delivery("floor", "main", "rows").stored = received - 1
    made.step("main", "model[0]").set_gauge("in_use", 1.0, "abc")
    return made


def test_books_are_added_and_keep_meanings_and_gauges() -> None:
    merged = pickle.loads(pickle.dumps(merged_books([books(10), books(5)])))  # noqa: S301
    assert merged.source("floor").received == 15
    assert merged.source("floor").counters.numbers() == {"connections": 4}
    assert merged.source("floor").counters.meanings == {"connections": "connections accepted"}
    assert merged.delivery("floor", "main", "rows").left == 2
    assert merged.step("main", "model[0]").gauge_values() == {"in_use": {"abc": 1.0}}
    assert not [book for book in merged.every() if book.left < 0]


def test_buffers_have_the_room_of_all() -> None:
    one = ProcessSnapshot(buffers=[BufferGauge("floor", "source", 3, 30, 100, 1000, "block")])
    other = ProcessSnapshot(
        buffers=[
            BufferGauge("made", "source", 1, 10, 50, 500, "block"),
            BufferGauge("floor", "source", 4, 40, 100, 1000, "block"),
        ]
    )
    assert list(snapshot.buffers([one, other])) == [
        BufferGauge("made", "source", 1, 10, 50, 500, "block"),
        BufferGauge("floor", "source", 7, 70, 200, 2000, "block"),
    ]


def sink(trouble: str | None, since_s: float, writing_s: float | None, wait_s: float) -> SinkGauge:
    latency = Histogram((0.1, 1.0))
    latency.observe(wait_s, 3)
    return SinkGauge("rows", trouble, since_s, since_s, latency, writing_s, wait_s, 1)


def test_a_sink_shows_the_worst_process() -> None:
    found = list(
        snapshot.sinks(
            [
                ProcessSnapshot(sinks=[sink(None, 5.0, None, 0.05)]),
                ProcessSnapshot(sinks=[sink("locked", 9.0, 8.0, 0.5)]),
                ProcessSnapshot(sinks=[sink("full", 7.0, 9.5, 2.0)]),
            ]
        )
    )
    (gauge,) = found
    assert (gauge.trouble, gauge.trouble_since_mono_s) == ("full", 7.0)
    assert (gauge.last_commit_mono_s, gauge.writing_since_mono_s, gauge.progress) == (9.0, 8.0, 3)
    assert gauge.latency_s.count == 9
    assert gauge.latency_s.buckets()[:2] == [(0.1, 3), (1.0, 6)]
    assert gauge.latency_s.highest == 2.0


def test_a_source_has_the_connections_of_all() -> None:
    queue = KernelQueue(1, 10, 5, None)
    one = SourceGauge("lab", ("127.0.0.1:1",), 2, None, queue)
    other = SourceGauge("lab", ("127.0.0.1:1",), 3, 99.0, queue._replace(datagram_bytes=700.0))
    (gauge,) = snapshot.sources([ProcessSnapshot(sources=[one]), ProcessSnapshot(sources=[other])])
    assert gauge == SourceGauge("lab", ("127.0.0.1:1",), 5, 99.0, KernelQueue(2, 20, 10, 700.0))


def test_a_stage_is_as_busy_as_the_processes_are_on_average() -> None:
    one = StageGauge("sink", "rows", "idle", 10, 9, 4.0, 1.0, 1.0, 2.0, batches=3)
    other = StageGauge("sink", "rows", "busy", 20, 19, 2.0, 2.0, 0.0, 0.0, batches=4)
    (gauge,) = snapshot.stages([ProcessSnapshot(stages=[one]), ProcessSnapshot(stages=[other])])
    assert (gauge.state, gauge.entered, gauge.left, gauge.batches) == ("busy", 30, 28, 7)
    assert (gauge.elapsed_s, gauge.busy_s, gauge.blocked_s, gauge.idle_s) == (3.0, 1.5, 0.5, 1.0)
    assert gauge.under_way is None


def test_a_snapshot_can_be_sent() -> None:
    sent = ProcessSnapshot(
        books=books(3), dead_letters=Counter(kept=1), sinks=[sink("full", 1.0, None, 0.05)]
    )
    got: ProcessSnapshot = pickle.loads(pickle.dumps(sent))  # noqa: S301
    assert got.books.source("floor").received == 3
    assert got.sinks[0].latency_s.count == 3
