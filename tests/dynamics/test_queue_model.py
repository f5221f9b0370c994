from typing import Any

import pytest

from streamd.dynamics.queue_model import HORIZONS_S, QueueModel, QueueOutlook, QueueSample


class Daemon:
    """A queue with a stage that takes at most `per_s` records a second, in batches of at most 512."""

    def __init__(self, per_s: float, bound: int = 10_000) -> None:
        self.per_s = per_s
        self.bound = bound
        self.model = QueueModel(0.0)
        self.mono_s = self.busy_s = self.idle_s = 0.0
        self.overflows = self.arrived = self.left = self.records = self.batches = self.worked = 0

    def run(self, seconds: float, in_per_s: float) -> QueueOutlook:
        outlooks: list[QueueOutlook] = []
        for _ in range(round(seconds * 2)):
            self.mono_s += 0.5
            come = round(in_per_s / 2)
            gone = min(self.records + come, round(self.per_s / 2))
            self.arrived += come
            self.left += gone
            self.records = min(self.bound, self.records + come - gone)
            self.worked += gone
            self.batches += -(-gone // 512)
            busy_s = gone / self.per_s
            self.busy_s += busy_s
            self.idle_s += 0.5 - busy_s
            outlooks.append(self.model.observe(self.sample()))
        return outlooks[-1]

    def sample(self, **others: Any) -> QueueSample:
        wait_s = self.records / self.per_s if self.worked else None
        return QueueSample(
            self.mono_s, self.arrived, self.left, self.records, self.records * 100, self.bound,
            self.bound * 1000, self.batches, self.worked, self.busy_s, self.idle_s, 512, wait_s,
            self.overflows,
        )._replace(**others)  # fmt: skip


def test_a_constant_overload_is_foreseen_to_the_second() -> None:
    daemon = Daemon(5000, bound=20_000)
    found = daemon.run(10, 6000)
    left_s = (20_000 - daemon.records) / 1000
    assert found.full_in_s is not None
    assert found.full_in_s.median_s == pytest.approx(left_s, rel=0.05)
    assert found.full_in_s.low_s <= left_s <= (found.full_in_s.high_s or 1e9)
    assert found.overflow_expected
    assert found.overflow_probability == pytest.approx(1, abs=0.01)
    assert found.capacity_per_s == pytest.approx(5000, rel=0.02)
    assert found.utilization == pytest.approx(1.2, rel=0.02)
    assert found.standing_queue


def test_a_step_is_foreseen_soon() -> None:
    daemon = Daemon(5000, bound=30_000)
    assert daemon.run(40, 3000).full_in_s is None
    found = daemon.run(4, 7000)
    assert found.full_in_s is not None
    assert found.full_in_s.median_s == pytest.approx((30_000 - daemon.records) / 2000, rel=0.15)


def test_the_capacity_is_known_without_a_backlog() -> None:
    daemon = Daemon(5000)
    found = daemon.run(20, 1000)
    assert found.out_per_s == pytest.approx(1000)
    assert found.capacity_per_s == pytest.approx(5000, rel=0.05)
    assert found.utilization == pytest.approx(0.2, rel=0.05)
    assert found.drift_per_s == pytest.approx(-4000, rel=0.05)
    assert (found.full_in_s, found.overflow_expected, found.standing_queue) == (None, False, False)


def test_records_that_wait_for_an_idle_stage_are_no_backlog() -> None:
    model = QueueModel(0.0)
    sink = Daemon(5000)
    for index in range(1, 11):  # a sink that writes twice a second, and needs a tenth of a second for it
        seen = sink.sample(
            mono_s=index / 2, arrived=500 * index, left=500 * index - 100, records=100, busy_s=0.1 * index,
            idle_s=0.4 * index, batches=index, worked=500 * index,
        )  # fmt: skip
        found = model.observe(seen)
    assert found.capacity_per_s == pytest.approx(5000)
    assert found.drift_per_s == pytest.approx(-4000)


def test_reading_on_the_same_core_and_other_queues_take_from_the_capacity() -> None:
    daemon = Daemon(5000)
    daemon.run(20, 1000)
    alone = daemon.model.observe(daemon.sample(mono_s=20.1)).capacity_per_s
    shared = daemon.model.observe(daemon.sample(mono_s=20.2, read_s=1e-4, others_per_s=500)).capacity_per_s
    assert alone is not None
    assert shared == pytest.approx(alone * 0.9 - 500, rel=0.03)


def test_the_alarm_ends_when_the_queue_empties() -> None:
    daemon = Daemon(5000)
    assert daemon.run(8, 6000).overflow_expected
    found = daemon.run(20, 1000)
    assert not found.overflow_expected
    assert found.records == 0


def test_the_bound_that_is_reached_first_decides() -> None:
    model = QueueModel(0.0)
    daemon = Daemon(100)
    few_bytes = daemon.sample(records=100, size_bytes=90_000, max_records=1000, max_bytes=100_000)
    found = model.observe(few_bytes)
    assert found.bound == "bytes"
    assert model.observe(few_bytes._replace(mono_s=1, size_bytes=100)).bound == "records"
    assert model.observe(few_bytes._replace(mono_s=2, records=0, size_bytes=0)).bound == "records"


def test_a_forecast_without_skill_is_withheld() -> None:
    daemon = Daemon(5000)
    daemon.run(3, 0)
    for _ in range(2):  # rises that end early, and a queue that is full at once, which nothing announces
        daemon.run(20, 5400)
        daemon.run(70, 0)
        daemon.records = daemon.bound
        daemon.run(0.5, 5000)
        daemon.run(30, 0)
    found = daemon.run(20, 5400)
    assert found.skill is not None
    assert found.skill < 0
    assert not found.has_forecast
    assert (found.full_in_s, found.overflow_probability, found.overflow_expected) == (None, None, False)
    daemon.records = daemon.bound
    full = daemon.run(0.5, 6000)  # that is no forecast
    assert (full.has_forecast, full.full_in_s, full.overflow_probability) == (True, (0, 0, 0), 1)


def test_the_horizon_is_the_longest_with_skill() -> None:
    daemon = Daemon(5000, bound=9000)
    assert daemon.run(3, 0).horizon_s == HORIZONS_S[0]
    for _ in range(3):  # full 9 seconds after a step: foreseen 10 seconds before, not 60
        daemon.run(80, 1000)
        daemon.run(15, 6000)
    found = daemon.run(80, 1000)
    assert found.has_forecast
    assert found.horizon_s == HORIZONS_S[1]
    assert found.skill is not None
    assert found.skill > 0.2
    assert found.overflow_probability == pytest.approx(0, abs=1e-6)


def test_without_known_skill_an_uncertain_drift_gives_no_forecast() -> None:
    daemon = Daemon(5000, bound=30_000)
    for _ in range(6):  # as much as the stage can do, in bursts
        found = daemon.run(2, 10_000)
        found = daemon.run(2, 500)
    assert found.skill is None
    assert not found.has_forecast
    assert (found.full_in_s, found.overflow_probability) == (None, None)


def test_a_drift_that_is_only_noise_gives_no_time() -> None:
    daemon = Daemon(5000, bound=1_000_000)
    for _ in range(10):
        found = daemon.run(1, 5600)
        found = daemon.run(1, 4500)
    assert daemon.records > 0
    assert found.drift_per_s > 0
    assert found.overflow_probability == pytest.approx(0, abs=1e-3)
    assert found.full_in_s is None


def test_a_load_that_begins_has_no_forecast_before_its_variance_is_known() -> None:
    daemon = Daemon(5000, bound=100_000)
    daemon.run(5, 0)
    began_s = daemon.mono_s
    while not daemon.run(0.5, 9000).full_in_s:
        assert daemon.mono_s - began_s < 10
    assert 3 < daemon.mono_s - began_s < 6
    daemon.run(60, 0)
    began_s = daemon.mono_s
    while not daemon.run(0.5, 9000).full_in_s:
        assert daemon.mono_s - began_s < 10
    assert daemon.mono_s - began_s < 3


def test_drops_between_two_looks_are_an_overflow() -> None:
    daemon = Daemon(5000)
    daemon.run(10, 1000)
    daemon.overflows = 3
    found = daemon.run(0.5, 1000)
    assert found.overflow_probability == 1
    assert found.full_in_s == (0, 0, 0)
    found = daemon.run(0.5, 1000)
    assert found.overflow_probability == pytest.approx(0)


def test_a_queue_that_was_never_full_has_a_forecast_and_no_skill() -> None:
    found = Daemon(5000).run(2 * HORIZONS_S[0], 1000)
    assert (found.has_forecast, found.skill) == (True, None)


def test_the_slack_of_the_loop_is_known_with_the_kernel_s_queue() -> None:
    daemon = Daemon(5000)
    assert daemon.run(10, 1000).loop_slack_s is None
    found = daemon.model.observe(
        daemon.sample(mono_s=10.01, kernel_free_bytes=400_000, kernel_record_bytes=800.0)
    )
    assert found.loop_slack_s == pytest.approx(0.5, rel=0.01)


def test_a_step_that_waits_limits_the_capacity() -> None:
    daemon = Daemon(5000)
    daemon.run(20, 1000)
    assert daemon.model.observe(daemon.sample(mono_s=20.1, later_per_s=300.0)).capacity_per_s == 300
    fresh = QueueModel(0.0)
    assert fresh.observe(Daemon(1).sample(later_per_s=300.0)).capacity_per_s == 300


def test_a_queue_stands_if_its_least_wait_is_longer_than_intended() -> None:
    for intended_s, stands in ((0.0, True), (1.0, False)):
        model = QueueModel(0.0)
        daemon = Daemon(5000)
        for mono_s in (1.0, 2.0):
            found = model.observe(
                daemon.sample(mono_s=mono_s, records=100, least_wait_s=0.5, intended_wait_s=intended_s)
            )
        assert found.min_sojourn_s == 0.5
        assert found.standing_queue is stands


def test_records_that_nothing_takes_are_a_standing_queue() -> None:
    daemon = Daemon(5000)
    daemon.run(5, 1000)
    for mono_s in (5.5, 6.0, 6.5, 7.0):
        found = daemon.model.observe(daemon.sample(mono_s=mono_s, records=10, least_wait_s=None))
    assert found.min_sojourn_s == pytest.approx(2.0)
    assert found.standing_queue


def test_nothing_seen_is_nothing_said() -> None:
    found = QueueModel(0.0).observe(Daemon(100).sample())
    assert found.capacity_per_s is None
    assert found.utilization is None
    assert (found.in_per_s, found.drift_per_s, found.wait_s) == (0, 0, 0)
    assert (found.full_in_s, found.overflow_probability) == (None, None)


def test_a_sink_that_stands_still_is_foreseen() -> None:
    daemon = Daemon(5000)
    daemon.run(30, 2000)
    daemon.per_s = 1e-9
    for _ in range(6):
        daemon.mono_s += 0.5
        daemon.arrived += 1000
        daemon.records += 1000
        daemon.busy_s += 0.5
        found = daemon.model.observe(daemon.sample(least_wait_s=None))
    assert found.full_in_s is not None
    assert found.full_in_s.median_s == pytest.approx((daemon.bound - daemon.records) / 2000, rel=0.35)
    assert found.overflow_expected


def test_a_stage_that_waits_for_a_large_batch_is_expected_to_take_it() -> None:
    """It took 200 records in 0.25 s, and then lets 4,000 a second wait for a minute."""
    daemon = Daemon(800, bound=250_000)
    seen: dict[float, list[QueueOutlook]] = {0.2: [], 60.0: []}
    for intended_s, outlooks in seen.items():
        daemon.model = QueueModel(0.0)
        for step in range(60):
            mono_s = step / 2
            sample = daemon.sample(
                mono_s=mono_s, arrived=200 + 2000 * step, left=200, records=2000 * step,
                batches=min(step, 1), worked=200 * min(step, 1), busy_s=0.25 * min(step, 1),
                idle_s=max(0.0, mono_s - 0.25), intended_wait_s=intended_s,
            )  # fmt: skip
            outlooks.append(daemon.model.observe(sample))
    assert any(one.overflow_expected for one in seen[0.2])
    assert not any(one.overflow_expected for one in seen[60.0])
    last = seen[60.0][-1]
    assert (last.full_in_s, last.capacity_per_s, last.utilization) == (None, None, None)
    assert last.drift_per_s <= 0


def test_an_overloaded_stage_with_a_long_wait_is_foreseen() -> None:
    daemon = Daemon(5000, bound=20_000)
    sample = daemon.sample
    daemon.sample = lambda **others: sample(intended_wait_s=60.0, **others)  # type: ignore[method-assign]
    found = daemon.run(10, 6000)
    assert found.overflow_expected
    assert found.full_in_s is not None


@pytest.mark.parametrize("arrivals_per_s", [800, 1200, 2000])
def test_behind_a_stage_with_long_batches_an_overflow_stays_expected(arrivals_per_s: int) -> None:
    """The stage takes 1,024 records at once and works on them for two seconds."""
    daemon = Daemon(512)
    expected = []
    for tick in range(160):
        daemon.mono_s += 0.5
        daemon.arrived += arrivals_per_s // 2
        daemon.records += arrivals_per_s // 2
        daemon.busy_s += 0.5
        if tick % 4 == 0:
            taken = min(1024, daemon.records)
            daemon.records -= taken
            daemon.left += taken
            daemon.worked += taken
            daemon.batches += 1
        if daemon.records > daemon.bound:
            daemon.overflows += daemon.records - daemon.bound
            daemon.records = daemon.bound
        expected.append(daemon.model.observe(daemon.sample()).overflow_expected)
    assert expected == sorted(expected), "it begins once, and does not end"
    assert expected[-1]
