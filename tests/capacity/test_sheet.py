"""Sheets computed by hand, and what holds for every rate."""

import math
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamd.capacity.sheet import DAY_S, MOST_PARTITIONS, SheetColumn, SheetPart, column
from streamd.capacity.sheet_figures import DECLARED, SheetFigure, completed

COSTS = {"single_cpu_s_per_million": 2.0, "edge_cpu_s_per_million": 4.0, "worker_cpu_s_per_million": 5.0}
BY_HAND = COSTS | {
    "head_room": 0.5, "machine_cores": 4, "machine_network_bytes_per_s": 1e9, "machine_disk_bytes": 1e12,
    "record_bytes": 100, "stored_share": 0.1, "replicas": 3, "stream_retention_days": 1,
    "table_retention_days": 10, "partitions_per_worker": 4, "process_cores": 1, "processes_efficiency": 0.8,
    "sqlite_rows_per_s": 1e5, "sqlite_row_bytes": 50, "jetstream_cpu_s_per_million": 0.5,
    "stream_records_per_s": 1e6, "postgresql_cpu_s_per_million": 1, "postgresql_row_bytes": 200,
    "parquet_row_bytes": 5,
}  # fmt: skip


def values(**changes: float) -> dict[str, float]:
    known = {name: SheetFigure(value, "given") for name, value in (BY_HAND | changes).items()}
    return {name: figure.value for name, figure in completed(known, []).items()}


def sheet(rate: float, **changes: float) -> SheetColumn:
    return column(values(**changes), rate)


def test_a_million_records_a_second_by_hand() -> None:
    """Half of everything is free, so two cores of a machine and half a core of each process count."""
    found = sheet(1e6)
    assert found.edge == SheetPart(8, 2, "cores")  # 4 cores of work; 0.5 a process, 2 a machine
    assert found.worker == SheetPart(10, 3, "cores")  # 5 cores
    assert found.partitions == 64  # 40, as a power of two
    assert found.streams == 2  # half a million each
    assert found.received_bytes_per_day == 8.64e12
    assert found.jetstream_bytes_per_day == 25.92e12
    assert found.jetstream_held_bytes == 25.92e12
    assert found.jetstream == SheetPart(52, 52, "disk")  # half of 1 TB each
    assert found.postgresql_bytes_per_day == pytest.approx(1e5 * 86_400 * 200)
    assert found.postgresql == SheetPart(35, 35, "disk")  # 17.28 TB
    assert found.parquet_held_bytes == pytest.approx(1e5 * 86_400 * 5 * 10)
    assert found.parquet_machines == 1
    assert found.machines_with_postgresql == 2 + 52 + 3 + 35
    assert found.machines_with_parquet == 2 + 52 + 3 + 1
    # in, to a server, two copies, to a worker, and a tenth to the store
    assert found.network_bytes_per_day == pytest.approx(8.64e12 * (1 + 1 + 2 + 1 + 0.1))


def test_one_machine_by_hand() -> None:
    """One process of 2 µs a record may do 250,000/s; several do 0.8 times as much each: 200,000/s."""
    found = [sheet(rate, sqlite_row_bytes=1).one_machine for rate in (250e3, 251e3, 400e3, 800e3, 801e3)]
    assert [one.processes for one in found] == [1, 2, 2, 4, 5]
    assert [one.holds for one in found] == [True, True, True, False, False]
    assert found[3].limit == "SQLite"  # 80,000 of 100,000 rows a second, of which half stays free
    several = sheet(800e3, sqlite_row_bytes=1, sqlite_rows_per_s=1e6).one_machine
    assert several.holds
    assert sheet(801e3, sqlite_row_bytes=1, sqlite_rows_per_s=1e6).one_machine.limit == "cores"


@pytest.mark.parametrize(
    ("changes", "limit"),
    [
        ({"sqlite_row_bytes": 1e6}, "disk"),
        ({"machine_network_bytes_per_s": 1e6}, "network"),
        ({"single_cpu_s_per_million": 2000.0}, "cores"),
        ({"sqlite_rows_per_s": 100.0}, "SQLite"),
    ],
)
def test_what_one_machine_lacks_is_named(changes: dict[str, float], limit: str) -> None:
    assert sheet(1e4).one_machine.limit == ""
    assert sheet(1e4, **changes).one_machine.limit == limit


def test_a_slow_network_decides() -> None:
    found = sheet(1e6, machine_network_bytes_per_s=2e7)
    assert found.edge == SheetPart(10, 10, "network")  # 100 MB/s; every machine has a process
    assert found.worker == SheetPart(10, 10, "network")
    assert sheet(1e6, machine_network_bytes_per_s=2e7, stored_share=3).worker.machines == 30
    assert found.jetstream.machines == 52
    assert sheet(1e6, machine_network_bytes_per_s=1e7).jetstream == SheetPart(60, 60, "network")


def test_jetstream_has_at_least_as_many_servers_as_replicas() -> None:
    assert sheet(1.0).jetstream == SheetPart(3, 3, "replicas")
    assert sheet(1.0, replicas=1).jetstream == SheetPart(1, 1, "disk")


def test_the_cost_of_steps_is_that_of_workers_and_of_a_daemon_that_does_everything() -> None:
    found = sheet(1e6, steps_cpu_s_per_million=5)
    assert found.worker == SheetPart(20, 5, "cores")
    assert found.edge == SheetPart(8, 2, "cores")
    assert found.one_machine.processes == math.ceil(7 / 0.5 / 0.8)


def test_streams_have_at_most_so_many_partitions() -> None:
    found = sheet(1e6, partitions_per_worker=1024)
    assert found.partitions == 16_384
    assert found.streams == 16
    few = sheet(1e6, stream_records_per_s=100, partitions_per_worker=1)
    assert few.streams == few.partitions == 32_768


RATES = st.floats(1, 1e9)
CHANGES = st.fixed_dictionaries(
    {},
    optional={
        "head_room": st.floats(0, 0.9), "machine_cores": st.integers(1, 256), "replicas": st.integers(1, 5),
        "stored_share": st.floats(0, 10), "process_cores": st.floats(0.1, 4),
        "machine_network_bytes_per_s": st.floats(1e6, 1e11), "machine_disk_bytes": st.floats(1e9, 1e15),
        "stream_retention_days": st.floats(0, 30), "processes_efficiency": st.floats(0.1, 1),
    },
)  # fmt: skip


def numbers(found: SheetColumn) -> dict[str, float]:
    """All numbers of a sheet; whether one machine holds it as one that grows when it no longer does."""
    flat: dict[str, float] = {}
    for name, value in asdict(found).items():
        inner: dict[str, Any] = value if isinstance(value, dict) else {"": value}
        flat |= {f"{name} {key}": float(one) for key, one in inner.items() if not isinstance(one, str)}
    flat["one_machine holds"] = 1 - flat["one_machine holds"]
    return flat


@given(RATES, RATES, CHANGES)
def test_a_higher_rate_never_needs_less(one: float, other: float, changes: dict[str, float]) -> None:
    low, high = (numbers(sheet(rate, **changes)) for rate in sorted((one, other)))
    assert not [name for name in low if high[name] < low[name] * (1 - 1e-9)]


@given(RATES, CHANGES)
def test_the_machines_suffice_with_the_head_room(rate: float, changes: dict[str, float]) -> None:
    value, found = values(**changes), sheet(rate, **changes)
    usable = (1 - value["head_room"]) * (1 + 1e-6)
    for part, cost in ((found.edge, 4.0), (found.worker, 5.0)):
        assert rate * cost / 1e6 <= part.machines * value["machine_cores"] * usable
        assert rate * cost / 1e6 <= part.processes * value["process_cores"] * usable
        assert part.processes >= part.machines >= 1
        assert rate * 100 <= part.machines * value["machine_network_bytes_per_s"] * usable
    assert found.jetstream_held_bytes <= found.jetstream.machines * value["machine_disk_bytes"] * usable
    assert found.postgresql_held_bytes <= found.postgresql.machines * value["machine_disk_bytes"] * usable
    assert found.jetstream.machines >= value["replicas"]
    assert found.partitions >= found.worker.processes
    assert found.partitions <= found.streams * MOST_PARTITIONS
    assert found.partitions % found.streams == 0
    assert rate <= found.streams * value["stream_records_per_s"] * usable
    assert found.received_bytes_per_day == pytest.approx(rate * 100 * DAY_S)


@given(RATES, CHANGES, st.floats(0, 0.9))
def test_more_head_room_never_needs_less(rate: float, changes: dict[str, float], more: float) -> None:
    room = changes.get("head_room", 0.5)
    low, high = (numbers(sheet(rate, **changes | {"head_room": one})) for one in sorted((room, more)))
    assert not [name for name in low if high[name] < low[name] * (1 - 1e-9)]


def test_every_figure_changes_the_sheet() -> None:
    """A rate at which each part has many machines, and none of them is there for another reason."""
    plain = {"machine_disk_bytes": 1e15, "machine_network_bytes_per_s": 1e13, "sqlite_rows_per_s": 1e9,
             "processes_efficiency": 0.5, "record_bytes": 100}  # fmt: skip
    before = values(**plain)
    for one in DECLARED:
        now = before[one.name]
        changed = {**before, one.name: min(one.most, now * 2) if now < one.most else now / 2}
        if one.name == "steps_cpu_s_per_million":
            changed[one.name] = 10.0
        if one.name in ("machine_disk_bytes", "machine_network_bytes_per_s"):
            changed[one.name] = 1e6
        if one.name == "sqlite_rows_per_s":
            changed[one.name] = 1.0
        assert column(changed, 1e8) != column(before, 1e8), one.name
