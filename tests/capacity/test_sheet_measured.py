"""Figures of a sheet from the documents that `streamd bench` and a daemon write."""

from typing import Any

import msgspec
import pytest

from streamd.bench.row import Row
from streamd.capacity.figures import UnknownCapacityError
from streamd.capacity.sheet_measured import from_bench, from_daemon
from streamd.capacity.status import SeenStatus
from streamd.core.errors import ConfigError
from tests.capacity.test_benched import TYPED, WALL, written
from tests.capacity.test_measured import status


def bench(*rows: Row, quick: bool = False) -> dict[str, float]:
    return {name: one.value for name, one in from_bench(written(*rows, quick=quick), "b.json").items()}


def row(name: str, value: float, baseline: float | None = None, **details: Any) -> Row:
    return Row(name=name, what="", value=value, unit="", baseline=baseline, details=details)


def test_the_rate_by_the_wall_clock_gives_cost_cores_and_the_writer() -> None:
    assert bench(TYPED, WALL) == {
        "single_cpu_s_per_million": 4.0,
        "process_cores": pytest.approx(1.6),  # 400,000 records a second of 4 µs
        "sqlite_rows_per_s": pytest.approx(1e6 / 1.75),
    }
    assert bench(row("tcp_wall", 4e5, row_bytes=77, **WALL.details))["sqlite_row_bytes"] == 77


def test_without_it_the_typed_row_gives_the_cost() -> None:
    assert bench(TYPED) == {"single_cpu_s_per_million": 2.0, "process_cores": pytest.approx(0.4)}


def test_the_other_rows_give_the_other_figures() -> None:
    chain = row(
        "jetstream", 1e5, records=500_000, replicas=3,
        runs=[{"edge_cpu_s": 1.0, "jetstream_cpu_s": 0.6, "worker_cpu_s": 2.0, "postgresql_cpu_s": 0.5}],
    )  # fmt: skip
    found = bench(
        TYPED, row("tcp_cores", 800.0, 500.0, processes=2), chain, row("parquet", 0.5, row_bytes=3.1),
        row("postgresql", 7e5, server_cpu_s_per_million=0.8, row_bytes=90),
    )  # fmt: skip
    assert found["processes_efficiency"] == pytest.approx(0.8)
    assert found["edge_cpu_s_per_million"] == pytest.approx(2.0)
    assert found["jetstream_cpu_s_per_million"] == pytest.approx(0.4)  # of each replica
    assert found["worker_cpu_s_per_million"] == pytest.approx(4.0)
    assert found["postgresql_cpu_s_per_million"] == pytest.approx(0.8)  # the row of its own is preferred
    assert found["postgresql_row_bytes"] == 90
    assert found["parquet_row_bytes"] == 3.1
    assert bench(TYPED, row("tcp_cores", 1100.0, 500.0))["processes_efficiency"] == 1.0


def test_the_origin_names_the_row_and_the_file() -> None:
    found = from_bench(written(WALL, quick=True), "b.json")["process_cores"]
    assert found.origin == "measured"
    assert found.why == "tcp_wall of b.json, 2026-01-31T08:00:00Z, a --quick trial"


def test_a_benchmark_without_a_daemon_is_refused_with_the_command() -> None:
    with pytest.raises(UnknownCapacityError, match=r"neither tcp_wall nor tcp_typed.*bench --only tcp_wall"):
        bench(row("postgresql", 7e5, row_bytes=90))


@pytest.mark.parametrize(
    "details",
    [{"runs": 3}, {"runs": [3]}, {"records": "x", "runs": WALL.details["runs"]}, {"row_bytes": "x"}],
)
def test_details_of_another_program_are_refused(details: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"b\.json: the details of tcp_wall are not"):
        bench(row("tcp_wall", 4e5, **{"records": 1, **details}))


def seen(*documents: dict[str, Any]) -> list[SeenStatus]:
    return [msgspec.convert(one, SeenStatus) for one in documents]


BEFORE = status(100, 1000, busy_s=0.1, sink_busy_s=0.2)
AFTER = status(110, 11_000, busy_s=7.1, sink_busy_s=8.2)


@pytest.mark.parametrize(
    ("sources", "sinks", "part"),
    [
        ({"tcp"}, {"sqlite"}, "single"),
        ({"tcp", "udp"}, {"sqlite", "nats"}, "edge"),
        ({"nats"}, {"postgresql"}, "worker"),
        ({"nats"}, {"nats"}, "worker"),
    ],
)
def test_the_cost_of_a_record_in_a_daemon(sources: set[str], sinks: set[str], part: str) -> None:
    ((name, found),) = from_daemon(seen(BEFORE, AFTER), 8.0, sources, sinks).items()
    assert name == f"{part}_cpu_s_per_million"
    assert found.value == pytest.approx(8.0 / 20_000 * 1e6)  # two records of each frame
    assert found.why == "this daemon, 2,000 records/s for 10.0 s, 0.80 cores busy"


def test_a_light_load_is_named() -> None:
    (found,) = from_daemon(seen(BEFORE, AFTER), 1.0, {"tcp"}, {"sqlite"}).values()
    assert found.why.endswith("0.10 cores busy (a light load in small batches costs more)")


def test_a_record_in_several_pipelines_counts_once() -> None:
    copies = [
        one | {"pipelines": [*one["pipelines"], one["pipelines"][0] | {"name": "copy"}]}
        for one in (BEFORE, AFTER)
    ]
    (found,) = from_daemon(seen(*copies), 8.0, {"tcp"}, {"sqlite"}).values()
    assert found.value == pytest.approx(400.0)


@pytest.mark.parametrize("cpu_s", [8.0, 0.001])
def test_an_idle_daemon_shows_no_cost(cpu_s: float) -> None:
    last = AFTER if cpu_s < 1 else status(110, 1050, busy_s=0.2, sink_busy_s=0.3)
    with pytest.raises(UnknownCapacityError, match=r"records in 10\.0 s\. Offer a load"):
        from_daemon(seen(BEFORE, last), cpu_s, {"tcp"}, {"sqlite"})


def test_another_run_is_no_measurement() -> None:
    with pytest.raises(UnknownCapacityError, match="started anew or reloaded"):
        from_daemon(seen(BEFORE, AFTER | {"run_id": "s"}), 8.0, {"tcp"}, {"sqlite"})
