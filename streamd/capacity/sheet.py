"""A capacity sheet: what a rate needs on one machine, and on many with JetStream between edges and workers.

Everything is proportional to the rate: CPU, network and disks, with a share of each that stays free.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

DAY_S = 86_400.0
MOST_PARTITIONS = 1024
"""The most partitions of one stream."""
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class SheetPart:
    """Processes or servers of one kind, their machines, and what decides the number of machines."""

    processes: int
    machines: int
    limit: str


@dataclass(frozen=True, slots=True)
class OneMachine:
    """The same load on one machine. `limit` says what is exceeded most, and is empty if it holds."""

    processes: int
    holds: bool
    limit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SheetColumn:
    """What one rate needs."""

    records_per_s: float
    one_machine: OneMachine
    edge: SheetPart
    jetstream: SheetPart
    worker: SheetPart
    postgresql: SheetPart
    streams: int
    partitions: int
    """Of all streams together."""
    machines_with_postgresql: int
    machines_with_parquet: int
    """With machines for the files."""
    parquet_machines: int
    received_bytes_per_day: float
    """From the senders."""
    network_bytes_per_day: float
    """Over all links, from the senders to PostgreSQL."""
    jetstream_bytes_per_day: float
    """Written to the disks of all servers."""
    jetstream_held_bytes: float
    sqlite_bytes_per_day: float
    postgresql_bytes_per_day: float
    postgresql_held_bytes: float
    parquet_bytes_per_day: float
    parquet_held_bytes: float


MODEL = (
    "costs do not depend on the number of machines, and those of a record not on its length",
    "the rate is the highest that is to be held, and the bytes are those of a day at this rate",
    "keys are many and spread evenly over the partitions; partitions and streams are powers of two",
    "with several streams each group of edges writes to one, and each worker reads some partitions of one",
    "bytes are those of records and rows alone: no headers, write-ahead logs or copies of databases",
    "a PostgreSQL table is not divided by itself: of several servers each stores the rows of its partitions",
    "the loss of a machine is covered by the head-room only where a part has several machines",
)
"""What the computation leaves out."""


def column(figures: Mapping[str, float], records_per_s: float) -> SheetColumn:
    """The sheet of one rate, from all figures of `sheet_figures.DECLARED`."""
    return _SheetLoad(figures, records_per_s).column()


class _SheetLoad:
    def __init__(self, figures: Mapping[str, float], records_per_s: float) -> None:
        self._figures = figures
        self._rate = records_per_s
        self._rows_per_s = records_per_s * figures["stored_share"]
        self._bytes_per_s = records_per_s * figures["record_bytes"]
        self._usable = 1 - figures["head_room"]

    def column(self) -> SheetColumn:
        value = self._figures
        replicas, stored = value["replicas"], value["stored_share"]
        held_s = value["stream_retention_days"] * DAY_S
        kept_days = value["table_retention_days"]
        steps = value["steps_cpu_s_per_million"]
        a_day = {
            kind: self._rows_per_s * DAY_S * value[f"{kind}_row_bytes"]
            for kind in ("sqlite", "postgresql", "parquet")
        }
        edge = self._daemons(value["edge_cpu_s_per_million"], self._bytes_per_s)
        worker = self._daemons(
            value["worker_cpu_s_per_million"] + steps, self._bytes_per_s * max(1.0, stored)
        )
        jetstream_held = self._bytes_per_s * replicas * held_s
        servers, limit = self._machines(
            replicas * self._rate * value["jetstream_cpu_s_per_million"] / 1e6,
            self._bytes_per_s * replicas,
            jetstream_held,
        )
        if servers < replicas:
            servers, limit = int(replicas), "replicas"
        rows_bytes_per_s = self._bytes_per_s * stored
        databases, database_limit = self._machines(
            self._rows_per_s * value["postgresql_cpu_s_per_million"] / 1e6,
            rows_bytes_per_s,
            a_day["postgresql"] * kept_days,
        )
        files, _ = self._machines(0.0, rows_bytes_per_s, a_day["parquet"] * kept_days)
        partitions = _power_of_two(value["partitions_per_worker"] * worker.processes)
        streams = _power_of_two(
            max(
                self._rate / (value["stream_records_per_s"] * self._usable),
                partitions / MOST_PARTITIONS,
            )
        )
        before_store = edge.machines + servers + worker.machines
        return SheetColumn(
            records_per_s=self._rate,
            one_machine=self._one_machine(
                value["single_cpu_s_per_million"] + steps, a_day["sqlite"] * kept_days
            ),
            edge=edge,
            jetstream=SheetPart(servers, servers, limit),
            worker=worker,
            postgresql=SheetPart(databases, databases, database_limit),
            streams=streams,
            partitions=max(partitions, streams),
            machines_with_postgresql=before_store + databases,
            machines_with_parquet=before_store + files,
            parquet_machines=files,
            received_bytes_per_day=self._bytes_per_s * DAY_S,
            # senders to edges, edges to a server, copies, servers to workers, and rows to the store
            network_bytes_per_day=(self._bytes_per_s * (2 + replicas) + rows_bytes_per_s) * DAY_S,
            jetstream_bytes_per_day=self._bytes_per_s * replicas * DAY_S,
            jetstream_held_bytes=jetstream_held,
            sqlite_bytes_per_day=a_day["sqlite"],
            postgresql_bytes_per_day=a_day["postgresql"],
            postgresql_held_bytes=a_day["postgresql"] * kept_days,
            parquet_bytes_per_day=a_day["parquet"],
            parquet_held_bytes=a_day["parquet"] * kept_days,
        )

    def _one_machine(self, cpu_s_per_million: float, held_bytes: float) -> OneMachine:
        value = self._figures
        alone_per_s = 1e6 * value["process_cores"] / cpu_s_per_million * self._usable
        processes = _up(self._rate / alone_per_s)
        slowed = value["processes_efficiency"] if processes > 1 else 1.0
        if processes > 1:
            processes = _up(self._rate / (alone_per_s * slowed))
        shares = {
            "cores": self._rate * cpu_s_per_million / slowed / 1e6 / value["machine_cores"],
            "SQLite": self._rows_per_s / value["sqlite_rows_per_s"],
            "network": self._bytes_per_s / value["machine_network_bytes_per_s"],
            "disk": held_bytes / value["machine_disk_bytes"],
        }
        limit = max(shares, key=lambda name: shares[name])
        holds = shares[limit] <= self._usable * (1 + _ROUNDING)
        return OneMachine(processes, holds, "" if holds else limit)

    def _daemons(self, cpu_s_per_million: float, bytes_per_s: float) -> SheetPart:
        """Processes of streamd, each of which keeps `process_cores` busy."""
        cores = self._rate * cpu_s_per_million / 1e6
        machines, limit = self._machines(cores, bytes_per_s, 0.0)
        processes = _up(cores / (self._figures["process_cores"] * self._usable))
        return SheetPart(max(processes, machines), machines, limit)

    def _machines(self, cores: float, bytes_per_s: float, held_bytes: float) -> tuple[int, str]:
        """Enough machines for all of it, and of what most are needed. `bytes_per_s` is for each direction."""
        value = self._figures
        needed = {
            "cores": cores / value["machine_cores"],
            "network": bytes_per_s / value["machine_network_bytes_per_s"],
            "disk": held_bytes / value["machine_disk_bytes"],
        }
        limit = max(needed, key=lambda name: needed[name])
        return _up(needed[limit] / self._usable), limit


def _up(number: float) -> int:
    """At least 1. A number that is whole but for rounding stays as it is."""
    return max(1, math.ceil(number * (1 - _ROUNDING)))


def _power_of_two(number: float) -> int:
    return 1 << (_up(number) - 1).bit_length()
