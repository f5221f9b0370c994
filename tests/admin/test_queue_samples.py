from typing import Any

import pytest

from streamd.admin.queue_samples import QueueSamples, _Waits
from streamd.admin.view import BufferGauge, SourceGauge, StageGauge
from streamd.core.contracts import KernelQueue


def test_the_wait_of_the_record_that_left_last_is_interpolated() -> None:
    waits = _Waits()
    assert waits.observe(0.0, 0, 0) is None
    assert waits.observe(1.0, 100, 0) is None
    assert waits.observe(2.0, 200, 50) == pytest.approx(1.5)
    assert waits.observe(3.0, 300, 50) is None
    assert waits.observe(4.0, 400, 300) == pytest.approx(1.0)
    assert waits.observe(5.0, 400, 400) == 0
    assert waits.observe(6.0, 400, 400) is None


def test_records_that_never_wait_have_no_wait() -> None:
    waits = _Waits()
    assert [waits.observe(float(n), 10 * n, 10 * n) for n in range(1, 5)] == [0, 0, 0, 0]


def test_dropped_records_and_a_queue_that_nothing_joins_have_waits_too() -> None:
    waits = _Waits()
    assert waits.observe(0.0, 100, 0) is None
    assert waits.observe(1.0, 100, 10) == pytest.approx(1.0)
    assert waits.observe(2.0, 300, 20, 80) == pytest.approx(1.0)
    assert waits.observe(3.0, 300, 20, 180) is None
    assert waits.observe(4.0, 300, 100, 180) == pytest.approx(4 - 1 - 0.9)


def test_a_queue_that_stands_still_for_a_day_keeps_the_same_few_times() -> None:
    waits = _Waits()
    for n in range(86_400):
        assert waits.observe(float(n), 100, 0) is None
    assert len(waits._arrivals) == 2
    assert waits.observe(86_400.0, 200, 50) == pytest.approx(86_400)
    assert waits.observe(86_401.0, 200, 150) == pytest.approx(86_401 - 86_399 - 0.5)


class Stages:
    """Two sources of one group of workers with a waiting step, and a sink."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.cpu_s = 0.0
        self.step_busy_s = 0.0
        self.entered = {"a": 0, "b": 0}
        for name in self.entered:
            world.books.pipeline(name, "main")
        world.sources[:] = [SourceGauge("a", ("x",), kernel_queue=KernelQueue(100, 1000, 5, 50.0))]
        world.buffers[:] = [
            BufferGauge("a", "source", 0, 0, 1000, 2**20, "drop_oldest"),
            BufferGauge("b", "source", 0, 0, 1000, 2**20, "drop_oldest"),
            BufferGauge("readings", "sink", 0, 0, 1000, 2**20, "drop_oldest"),
        ]
        world.view.stages = self.stages
        world.view.loop_cpu_s = lambda: self.cpu_s
        world.view.take_least_waits_s = lambda: {"a": 0.25}
        self.samples = QueueSamples(world.view)

    def stages(self) -> list[StageGauge]:
        t = self.world.clock().mono_s - 1000
        both = sum(self.entered.values())
        return [
            *(StageGauge("source", n, "idle", k, k, t, 0.0, 0.0, t) for n, k in self.entered.items()),
            StageGauge(
                "workers", "main", "idle", both, both, t, t / 4, 0.0, t * 3 / 4, batches=7, max_batch=500
            ),
            StageGauge("step", "main.python[0]", "idle", both, both, t, self.step_busy_s, 0.0, 0.0),
            StageGauge("sink", "readings", "idle", both, both, t, 0.0, 0.0, t, batches=3, max_wait_s=0.5),
        ]

    def take(self) -> dict[str, Any]:
        return {buffer.name: sample for buffer, sample in self.samples.take(self.world.clock())}


def test_what_else_the_workers_and_the_loop_do_is_measured(world: Any) -> None:
    stages = Stages(world)
    stages.take()
    world.clock.pass_s(10)
    stages.entered = {"a": 1000, "b": 3000}
    stages.cpu_s, stages.step_busy_s = 2.5 + 0.4, 5.0
    found = stages.take()
    a = found["a"]
    assert (a.arrived, a.left, a.worked, a.batches, a.max_batch) == (1000, 1000, 4000, 7, 500)
    assert a.least_wait_s == 0.25
    assert found["b"].least_wait_s is None
    assert a.others_per_s == pytest.approx(300)
    assert found["b"].others_per_s == pytest.approx(100)
    assert a.read_s == pytest.approx(0.4 / 4000)
    assert a.later_per_s == pytest.approx(100 / 0.5)
    assert (a.kernel_free_bytes, a.kernel_record_bytes) == (900, 50.0 * 5 / 1000)
    assert found["b"].kernel_free_bytes is None
    assert (found["readings"].intended_wait_s, found["readings"].least_wait_s) == (0.5, 0.0)


def test_what_a_sink_drops_has_arrived_and_was_not_taken(world: Any) -> None:
    stages = Stages(world)
    stages.entered = {"a": 100, "b": 0}
    book = world.books.delivery("a", "main", "readings")
    book.stored, book.rejected = 60, 5
    book.dropped["buffer_full"] = 30
    book.dropped["shutdown"] = 1
    world.buffers[-1] = BufferGauge("readings", "sink", 4, 400, 1000, 2**20, "drop_newest")
    found = stages.take()["readings"]
    assert (found.arrived, found.left, found.worked, found.overflows) == (100, 66, 66, 30)


def test_a_source_that_is_stopped_by_its_buffer_overflows(world: Any) -> None:
    stages = Stages(world)
    before = stages.take()["a"].overflows
    made = stages.stages
    world.view.stages = lambda: [
        StageGauge("source", "a", "blocked", 9, 9, 1.0, 0.0, 0.002, 0.9) if one.name == "a" else one
        for one in made()
    ]
    assert stages.take()["a"].overflows == before + 2
