"""Figures from the status of a daemon, as docs/reference/status.md describes it."""

import copy
import tomllib
from typing import Any

import msgspec
import pytest

from streamd.capacity.figures import Figures, UnknownCapacityError
from streamd.capacity.measured import figures_of
from streamd.capacity.status import SeenStatus, groups_of
from streamd.config.tables import Config
from streamd.core.settings import parse_size_bytes


def status(at_s: float, frames: int, *, busy_s: float, sink_busy_s: float, **more: Any) -> dict[str, Any]:
    """The status of a daemon with one line, after so many frames, of which 10 wait."""
    queue = {
        "records": 10,
        "bytes": 3000,
        "max_records": 1000,
        "max_bytes": 10**6,
        "when_full": "drop_oldest",
    }
    return {
        "run_id": "r", "config_loaded_at": "2026-01-31T08:00:00+00:00", "uptime_s": at_s, "loop_lag_s": 0.1,
        "sources": [
            {"name": "udp", "buffer": queue, "frames": {
                "received": frames, "kernel_dropped": 0, "decoded": frames, "rejected": {"json:syntax": 0}}},
        ],
        "pipelines": [
            {"name": "main", "source": "udp", "records": {"in": 2 * frames, "out": 2 * frames}},
            {"name": "main", "source": "@tick", "records": {"in": 0, "out": 0}},
        ],
        "sinks": [
            {"name": "records", "buffer": queue | {"records": 0, "bytes": 0, "when_full": "block"},
             "deliveries": [{"pipeline": "main", "source": "udp", "records": {"offered": 2 * frames}}]},
        ],
        "stages": [
            {"kind": "source", "name": "udp", "in": frames, "out": frames, "elapsed_s": at_s, "busy_s": 0.0},
            {"kind": "workers", "name": "main", "in": frames, "out": 2 * frames, "elapsed_s": at_s,
             "busy_s": busy_s},
            {"kind": "sink", "name": "records", "in": 2 * frames, "out": 2 * frames, "elapsed_s": at_s,
             "busy_s": sink_busy_s},
        ],
        **more,
    }  # fmt: skip


BEFORE = status(100, 1000, busy_s=0.1, sink_busy_s=0.2)
AFTER = status(110, 11_000, busy_s=7.1, sink_busy_s=8.2)


def measured(*documents: dict[str, Any], config: Config | None = None, cpu_s: float | None = None) -> Figures:
    return figures_of([msgspec.convert(one, SeenStatus) for one in documents], config, cpu_s)


def test_the_costs_are_those_of_the_busy_time_between_the_observations() -> None:
    figures = measured(BEFORE, AFTER)
    (line,) = figures.lines
    assert line.name == "main"
    assert line.process_s == pytest.approx(7 / 10_000)
    assert not line.at_least
    (source,) = line.sources
    assert source.rate_per_s == pytest.approx(1000)
    assert source.buffer.item_bytes == pytest.approx(300)
    assert source.waiting == 10
    (sink,) = line.sinks
    assert sink.capacity_per_s == pytest.approx(20_000 / 8)
    assert sink.buffer.when_full == "block"
    assert line.per_frame == {"records": 2.0}
    assert line.records_per_frame == 2.0
    assert figures.read_s == 0
    assert not figures.is_reading_known
    assert any("reading: not measured" in one for one in figures.assumed)


def test_the_cpu_time_of_the_loop_beside_the_workers_is_that_of_reading() -> None:
    assert measured(BEFORE, AFTER, cpu_s=9.0).read_s == pytest.approx(2 / 10_000)
    assert measured(BEFORE, AFTER, cpu_s=9.0).is_reading_known
    assert measured(BEFORE, AFTER, cpu_s=5.0).read_s == 0


def test_costs_of_a_light_load_are_marked() -> None:
    light = status(110, 11_000, busy_s=1.1, sink_busy_s=1.2)
    (line,) = measured(BEFORE, light).lines
    assert line.at_least
    assert line.sinks[0].at_least


def test_after_a_silence_the_costs_are_those_since_the_start() -> None:
    silent = status(105, 1000, busy_s=0.1, sink_busy_s=0.2)
    figures = measured(BEFORE, silent)
    assert figures.lines[0].process_s == pytest.approx(0.1 / 1000)
    assert figures.sources[0].rate_per_s == 0
    assert any("since their start" in one for one in figures.assumed)


def test_an_idle_daemon_has_no_known_capacity() -> None:
    idle = [status(at, 12, busy_s=0.001, sink_busy_s=0.001) for at in (100, 105)]
    with pytest.raises(UnknownCapacityError, match="processed 12 frames in 105 s") as refused:
        measured(*idle)
    assert "Offer a load" in str(refused.value)
    assert "--bench" in str(refused.value)


@pytest.mark.parametrize("key", ["run_id", "config_loaded_at"])
def test_a_restart_or_reload_meanwhile_is_refused(key: str) -> None:
    with pytest.raises(UnknownCapacityError, match="started anew or reloaded"):
        measured(BEFORE, AFTER | {key: "other"})


def test_the_capacity_that_the_daemon_itself_has_fitted_goes_before() -> None:
    known = AFTER | {"outlook": [{"kind": "sink", "name": "records", "capacity_per_s": 90_000.0, "more": 1}]}
    (sink,) = measured(BEFORE, known).lines[0].sinks
    assert (sink.capacity_per_s, sink.at_least) == (90_000, False)
    unknown = AFTER | {"outlook": [{"kind": "sink", "name": "records", "capacity_per_s": None}]}
    assert measured(BEFORE, unknown).lines[0].sinks[0].capacity_per_s == pytest.approx(2500)


def test_arrivals_of_each_second_give_their_variance() -> None:
    even = [status(100 + n, 1000 * n, busy_s=n, sink_busy_s=n) for n in range(1, 8)]
    assert measured(*even).sources[0].dispersion == pytest.approx(0)
    counts = (0, 2000, 2000, 4000, 4000, 6000, 6000)
    bursts = [status(100 + n, count, busy_s=n, sink_busy_s=n) for n, count in enumerate(counts)]
    assert measured(*bursts).sources[0].dispersion == pytest.approx(1200)
    assert measured(*even[:3]).sources[0].dispersion is None


def test_the_configuration_adds_batches_slots_and_the_kernels_buffer() -> None:
    config = Config.model_validate(
        tomllib.loads("""
            [sources.udp]
            type = "udp"
            [pipelines.main]
            sources = ["udp"]
            steps = [{ type = "python", concurrency = 4 }]
            sinks = ["records"]
            [sinks.records]
            type = "sqlite"
            batch = { max_records = 70, max_wait = "3s" }
        """)
    )
    stage = {
        "kind": "step", "name": "main.python[0]", "in": 10_000, "out": 10_000, "elapsed_s": 110.0,
        "busy_s": 5.0, "under_way": 2,
    }  # fmt: skip
    later = copy.deepcopy(AFTER)
    later["stages"].append(stage)
    (line,) = measured(BEFORE, later, config=config).lines
    assert (line.sinks[0].enough, line.sinks[0].max_wait_s) == (70, 3.0)
    (step,) = line.steps
    assert step.slots == 4
    assert step.record_s == pytest.approx(5.0 * 2 / 10_000)
    assert step.key == "pipelines.main.steps[0].concurrency"
    assert step.frames_per_s == pytest.approx(4000 * 11_000 / 10_000)
    assert line.in_hand == pytest.approx((5 + 4) * 128 * 1024 / 300)
    assert not line.is_loop_bound or step.frames_per_s >= 1 / line.process_s


def test_a_given_size_goes_before_the_weighed_one() -> None:
    documents = [msgspec.convert(one, SeenStatus) for one in (BEFORE, AFTER)]
    size = float(parse_size_bytes("1kB"))
    assert figures_of(documents, None, None, size).sources[0].buffer.item_bytes == 1000


def test_lines_without_work_are_left_out_and_named() -> None:
    two = copy.deepcopy((BEFORE, AFTER))
    for one in two:
        one["sources"].append(
            {"name": "tcp", "buffer": None, "frames": {"received": 1, "decoded": 1, "rejected": {}}}
        )
        one["pipelines"].append({"name": "other", "source": "tcp", "records": {"in": 1}})
        one["stages"].append(
            {"kind": "workers", "name": "other", "in": 1, "out": 1, "elapsed_s": 100.0, "busy_s": 0.001}
        )
    figures = measured(*two)
    assert [line.name for line in figures.lines] == ["main"]
    assert any("left out because its cost is not known: tcp" in one for one in figures.assumed)


def test_pipelines_that_share_a_source_are_one_line() -> None:
    seen = msgspec.convert(AFTER, SeenStatus)
    names = [("a", "x"), ("b", "y"), ("c", "x"), ("c", "y"), ("d", "z"), ("d", "@tick")]
    pipelines = [msgspec.structs.replace(seen.pipelines[0], name=name, source=of) for name, of in names]
    found = [(sorted(lines), sorted(sources)) for lines, sources in groups_of(pipelines)]
    assert found == [(["a", "b", "c"], ["x", "y"]), (["d"], ["z"])]


def test_batches_that_take_longer_than_a_second_are_measured_from_end_to_end() -> None:
    def seen(at_s: int) -> dict[str, Any]:
        found = status(at_s, 1000 * at_s, busy_s=at_s / 2, sink_busy_s=at_s)
        ended = (at_s + 2) // 5  # a commit of 1,000 records takes 5 s, and others ended at 103 and 108 s
        found["stages"][2] |= {"in": 1000 * (ended + 1), "out": 1000 * ended}
        return found

    def capacity_per_s(first: int, last: int) -> float:
        return measured(*map(seen, range(first, last + 1))).lines[0].sinks[0].capacity_per_s

    assert capacity_per_s(100, 109) == pytest.approx(1000 / 5)
    assert capacity_per_s(103, 113) == pytest.approx(1000 / 5)
    assert capacity_per_s(100, 106) == pytest.approx(21_000 / 106)  # one end is no batch: since the start
