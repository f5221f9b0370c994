import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from streamd.admin.outlook import Outlooks
from streamd.admin.outlook_metrics import families
from streamd.admin.view import BufferGauge, SourceGauge, StageGauge
from streamd.core.contracts import KernelQueue


class Flow:
    """A source, its workers and a sink, driven on a virtual clock through the view of a daemon."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.outlooks = Outlooks(world.view)
        self.workers_per_s, self.sink_per_s = 10_000, 20_000
        self.bound = 50_000
        self.source = [0, 0, 0]  # arrived, left, waiting
        self.sink = [0, 0, 0]
        self.busy_s = {"workers": 0.0, "sink": 0.0}
        self.kernel_free_bytes: int | None = None
        self.worst_lag_s = 0.0
        world.books.pipeline("lab", "main")
        world.sources[:] = [SourceGauge("lab", ("127.0.0.1:9999",))]
        world.view.stages = self.stages
        world.view.take_least_waits_s = lambda: {"lab": self.source[2] / self.workers_per_s}
        world.view.sources = lambda: [SourceGauge("lab", ("127.0.0.1:9999",), kernel_queue=self.kernel())]

    def kernel(self) -> KernelQueue | None:
        """Its datagrams have two frames each."""
        if self.kernel_free_bytes is None:
            return None
        return KernelQueue(9_000_000 - self.kernel_free_bytes, 9_000_000, self.source[0] // 2, 1600.0)

    def stages(self) -> list[StageGauge]:
        t = self.world.clock().mono_s - 1000
        return [
            StageGauge("source", "lab", "busy", self.source[0], self.source[1], t, t, 0.0, 0.0),
            self.stage("workers", "main", self.source[1], t),
            self.stage("sink", "readings", self.sink[0], t),
        ]

    def stage(self, kind: Any, name: str, entered: int, t: float) -> StageGauge:
        busy_s = self.busy_s[kind]
        done = self.source[1] if kind == "workers" else self.sink[1]
        return StageGauge(
            kind, name, "busy", entered, done, t, busy_s, 0.0, t - busy_s, batches=done // 100, max_batch=500
        )

    def run(self, seconds: float, in_per_s: int) -> dict[str, dict[str, Any]]:
        """Observe twice a second; returns the documents by kind."""
        for _ in range(round(seconds * 2)):
            self.world.clock.pass_s(0.5)
            taken = self.pass_on(self.source, in_per_s // 2, self.workers_per_s // 2, "workers")
            stored = self.pass_on(self.sink, taken, self.sink_per_s // 2, "sink")
            self.world.books.delivery("lab", "main", "readings").stored += stored
            self.world.buffers[:] = [
                BufferGauge(name, kind, waiting, waiting * 100, self.bound, 2**30, "block")
                for name, kind, waiting in self.waiting()
            ]
            self.outlooks.observe(self.world.clock(), self.worst_lag_s)
        return {one["kind"]: one for one in self.outlooks.document()}

    def waiting(self) -> list[tuple[str, Any, int]]:
        return [("lab", "source", self.source[2]), ("readings", "sink", self.sink[2])]

    def pass_on(self, counts: list[int], come: int, most: int, stage: str) -> int:
        gone = min(counts[2] + come, most)
        counts[0] += come
        counts[1] += gone
        counts[2] = min(self.bound, counts[2] + come - gone)
        self.busy_s[stage] += 0.5 * gone / most if most else 0.5
        return gone


@pytest.fixture
def flow(world: Any) -> Flow:
    return Flow(world)


def named(logged: Any, *events: str) -> list[str]:
    return [line["event"] for line in logged if line["event"] in events]


def test_a_steady_flow_is_calm(flow: Flow) -> None:
    with capture_logs() as logged:
        found = flow.run(30, 4000)
    assert logged == []
    lab = found["source"]
    assert (lab["in_per_s"], lab["out_per_s"], lab["records"]) == (4000, 4000, 0)
    assert lab["capacity_per_s"] == pytest.approx(10_000, rel=0.1)
    assert lab["utilization"] == pytest.approx(0.4, rel=0.1)
    assert (lab["full_in_s"], lab["overflow_expected"], lab["bottleneck"]) == (None, False, False)
    assert found["sink"]["utilization"] == pytest.approx(0.2, rel=0.1)


def test_an_overflow_is_said_before_it_happens_and_its_end_once(flow: Flow) -> None:
    flow.run(30, 4000)
    with capture_logs() as logged:
        found = flow.run(8, 12_000)
        said = dict(logged[0])
        end = flow.run(60, 1000)
    assert named(logged, "overflow_expected", "overflow_no_longer_expected") == [
        "overflow_expected",
        "overflow_no_longer_expected",
    ]
    assert (said["source"], said["log_level"], said["when_full"]) == ("lab", "warning", "block")
    assert found["source"]["full_in_s"]["median"] == pytest.approx((50_000 - 16_000) / 2000, rel=0.1)
    assert found["source"]["overflow_expected"]
    assert found["source"]["bottleneck"]
    assert not end["source"]["overflow_expected"]


def test_the_last_stage_that_is_too_slow_is_the_bottleneck(flow: Flow) -> None:
    flow.workers_per_s, flow.sink_per_s = 5000, 4000
    found = flow.run(20, 6000)
    assert found["sink"]["bottleneck"]
    assert not found["source"]["bottleneck"]


def test_a_queue_that_stands_is_said_and_a_burst_is_not(flow: Flow) -> None:
    with capture_logs() as logged:
        for _ in range(5):
            flow.run(1, 15_000)
            flow.run(4, 100)
        assert named(logged, "standing_queue") == []
        flow.run(20, 10_500)
        flow.run(30, 100)
    assert named(logged, "standing_queue", "standing_queue_over") == ["standing_queue", "standing_queue_over"]


def test_a_small_slack_of_the_loop_is_said_with_what_to_do(flow: Flow) -> None:
    flow.kernel_free_bytes = 7_200_000
    with capture_logs() as logged:
        found = flow.run(30, 9000)
        assert found["source"]["loop_slack_s"] == pytest.approx(1.0, rel=0.01)
        assert named(logged, "loop_slack_small") == []
        flow.worst_lag_s = 3.0
        flow.run(5, 9000)
        flow.worst_lag_s = 0.0
        flow.run(5, 9000)
    told = [line for line in logged if line["event"].startswith("loop_slack")]
    assert [line["event"] for line in told] == ["loop_slack_small", "loop_slack_enough"]
    assert "receive_buffer" in told[0]["hint"]


def test_the_document_is_json_and_its_numbers_are_the_metrics(flow: Flow) -> None:
    flow.run(30, 4000)
    found = flow.run(8, 12_000)["source"]
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    metrics = {
        (sample.name, sample.labels["kind"], sample.labels.get("bound")): sample.value
        for family in families(flow.outlooks)
        for sample in family.samples
    }
    assert metrics["streamd_queue_inflow_per_second", "source", None] == pytest.approx(
        found["in_per_s"], rel=1e-3
    )
    assert metrics["streamd_queue_overflow_expected", "source", None] == 1
    for bound in ("low", "median", "high"):
        value = metrics["streamd_queue_full_in_seconds", "source", bound]
        assert value == pytest.approx(found["full_in_s"][bound], rel=1e-2)
    assert ("streamd_queue_full_in_seconds", "sink", "median") not in metrics


def test_a_queue_that_a_reload_removes_is_forgotten(flow: Flow) -> None:
    flow.run(5, 4000)
    flow.world.buffers.pop()
    flow.world.clock.pass_s(0.5)
    flow.outlooks.observe(flow.world.clock(), 0.0)
    assert [(kind, name) for kind, name, _ in flow.outlooks.all()] == [("source", "lab")]


def test_a_source_without_workers_has_no_outlook(flow: Flow) -> None:
    flow.world.books.records.clear()
    assert set(flow.run(2, 100)) == {"sink"}


def test_rates_are_given_over_short_and_long_times(flow: Flow) -> None:
    flow.run(30.0, 1000)
    source = flow.run(2.0, 3000)["source"]
    assert [rate["over_s"] for rate in source["rates"]] == [1.0, 5.0, 20.0]
    assert [rate["in_per_s"] for rate in source["rates"]] == [3000.0, 1800.0, 1200.0]
    assert source["rates"][0]["out_per_s"] <= 3000.0
