"""Runs a real daemon for one scenario, and checks its rows and books."""

import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from streamd.bench.child import Child, free_port, memory_bytes
from streamd.bench.ready_child import ReadyChild, connect, fetch
from streamd.bench.row import BenchError

TYPED, CATCH_ALL, MESSAGES = "readings", "records", "messages"
MAX_WAIT_S = 0.2
_START_S = 20.0
_STOP_S = 60.0
_LISTEN_LOOK_S = 0.001
_COMMIT_LOOK_S = 0.05
_STALL_S = 60.0

SCHEMA = """
[schemas.reading]
ts = "timestamp"
sensor = "str"
seq = "int"
value = "float"
unit = "str"
ok = "bool"
site = "str"
"""
"""The schema of the generated readings."""


@dataclass(frozen=True, slots=True)
class Setup:
    """The settings of a scenario's daemon. All other settings have their defaults."""

    typed: bool = True
    codec: Literal["json", "syslog"] = "json"
    """`syslog` brings its schema; its messages end with their seq behind `#`."""
    buffer_bytes: int | None = None
    """The limit of each of the two buffers (source, sink), without a limit in records."""
    max_wait_s: float = MAX_WAIT_S
    max_bytes: int | None = None
    """The `max_size` of retention."""
    exposed_to: int = 0
    """The number of idle connections to accept. If it is not 0, the listeners have limits for senders."""
    processes: int = 1
    steps: str = ""
    """The steps of the pipeline, as TOML."""

    @property
    def table(self) -> str:
        """The table of the records."""
        if not self.typed:
            return CATCH_ALL
        return MESSAGES if self.codec == "syslog" else TYPED

    @property
    def schema(self) -> str:
        """The name of the schema; empty without one."""
        if not self.typed:
            return ""
        return "syslog" if self.codec == "syslog" else "reading"

    @property
    def seq(self) -> str:
        """The seq of a row, as SQL."""
        if not self.typed:
            return "json_extract(record, '$.seq')"
        return (
            "CAST(substr(message, instr(message, '#') + 1) AS INTEGER)" if self.codec == "syslog" else "seq"
        )

    def configuration(self, port: int, admin_port: int, folder: Path) -> str:
        """The TOML text."""
        schema = f'schema = "{self.schema}"\n' if self.schema else ""
        buffer = ""
        if self.buffer_bytes:
            buffer = f'buffer = {{ max_records = 100_000_000, max_bytes = "{self.buffer_bytes}B" }}\n'
        udp_limits = "max_rate_per_sender = 1000\n" if self.exposed_to else ""
        tcp_limits = (
            f'max_connections = {self.exposed_to + 1000}\nfirst_byte_timeout = "1h"\nframe_timeout = "2s"\n'
            if self.exposed_to
            else ""
        )
        retention = f'retention = {{ max_size = "{self.max_bytes}B" }}\n' if self.max_bytes else ""
        return (
            f'[daemon]\nstate_dir = "{folder}"\nprocesses = {self.processes}\n[log]\nlevel = "warning"\n'
            f'[admin]\nlisten = "127.0.0.1:{admin_port}"\n'
            f"{SCHEMA if self.schema == 'reading' else ''}\n"
            f'[sources.udp]\ntype = "udp"\nlisten = "127.0.0.1:{port}"\ncodec = "{self.codec}"\n'
            f"{schema}{udp_limits}\n"
            f'[sources.tcp]\ntype = "tcp"\nlisten = "127.0.0.1:{port}"\ncodec = "{self.codec}"\n'
            f"{schema}{buffer}{tcp_limits}\n"
            '[pipelines.bench]\nsources = ["udp", "tcp"]\nsinks = ["bench"]\n\n'
            f"{self.steps}\n"
            f'[sinks.bench]\ntype = "sqlite"\ntable = "{self.table}"\n{schema}{buffer}{retention}'
            f'batch = {{ max_wait = "{self.max_wait_s * 1000:.0f}ms" }}\n'
        )


class BenchDaemon(ReadyChild):
    """`streamd run` in `folder`. It listens when the constructor returns."""

    def __init__(self, folder: Path, setup: Setup) -> None:
        self.port, self.admin_port = free_port(), free_port()
        self.setup = setup
        self.database = folder / "streamd.db"
        config = folder / "streamd.toml"
        config.write_text(setup.configuration(self.port, self.admin_port, folder))
        super().__init__(
            folder, "streamd", "run", "--config", str(config),
            ready=lambda: connect(self.port), within_s=_START_S, look_s=_LISTEN_LOOK_S,
        )  # fmt: skip
        self.start_s = self.ready_mono_s - self.started_mono_s

    def wait_ready(self) -> None:
        """Wait until all processes are ready. Raises `BenchError`."""
        self.wait_for(lambda: fetch(self.admin_port, "readyz"), _START_S, _COMMIT_LOOK_S)

    @property
    def rss_bytes(self) -> int:
        """Resident memory now."""
        return memory_bytes(self.pid, "VmRSS")

    @property
    def peak_rss_bytes(self) -> int:
        """The peak of resident memory so far."""
        return memory_bytes(self.pid, "VmHWM")

    @contextmanager
    def reader(self) -> Iterator[sqlite3.Connection]:
        """A read-only connection to the database."""
        with closing(sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)) as connection:
            yield connection

    def wait_for_rows(
        self, wanted: int, sender: Child, patience_s: float = _STALL_S, *, look_s: float = _COMMIT_LOOK_S
    ) -> float:
        """Wait until `wanted` rows are committed. Returns the wall time of the query that saw the last row.

        The wait ends early without a new row for `patience_s` after the sender's end, or for a minute. The
        queries cost the daemon only a lock for which it never waits.
        """
        rows, seen_s, changed_s = 0, time.time(), time.monotonic()
        with self.reader() as connection:
            while rows < wanted:
                time.sleep(look_s)
                found = committed(connection, self.setup.table)
                if found != rows:
                    rows, seen_s, changed_s = found, time.time(), time.monotonic()
                quiet_s = time.monotonic() - changed_s
                if not self.running():
                    raise self.failure("ended without a signal")
                if quiet_s > _STALL_S or (quiet_s > patience_s and not sender.running()):
                    break
        return seen_s

    def stop(self) -> "StoppedDaemon":
        """Stop the daemon with SIGTERM. Raises `BenchError` unless it exits with 0 and its books balance."""
        os.kill(self.pid, signal.SIGTERM)
        self.wait(_STOP_S)
        with self.reader() as connection:
            return StoppedDaemon.of(connection, self.setup)


def committed(connection: sqlite3.Connection, table: str) -> int:
    """The number of rows ever committed, if the newest row is never deleted. A single index lookup."""
    (last,) = connection.execute(f"SELECT max(rowid) FROM {table}").fetchone()  # noqa: S608 - one of our names
    return int(last or 0)


@dataclass(frozen=True, slots=True)
class StoppedDaemon:
    """The rows of a stopped daemon, and the counters of its books by (source, counter)."""

    rows: int
    distinct: int
    first_seq: int
    last_seq: int
    counts: Counter[tuple[str, str]]

    @classmethod
    def of(cls, connection: sqlite3.Connection, setup: Setup) -> "StoppedDaemon":
        """Read the rows and the ledger. Raises `BenchError` if the books do not balance."""
        seq = setup.seq
        rows = connection.execute(
            f"SELECT count(*), count(DISTINCT {seq}), min({seq}), max({seq}) FROM {setup.table}"  # noqa: S608 - fixed names
        ).fetchone()
        counts: Counter[tuple[str, str]] = Counter()
        for source, counter, n in connection.execute(
            "SELECT source, counter, sum(n) FROM ledger GROUP BY source, counter"
        ):
            counts[source, counter] = n or 0
        found = cls(rows[0], rows[1], rows[2] or 0, rows[3] or 0, counts)
        found.check()
        return found

    def total(self, counter: str) -> int:
        """A counter, summed over all sources."""
        return sum(n for (_, name), n in self.counts.items() if name == counter)

    def check(self) -> None:
        """Raises `BenchError` unless the books balance and match the stored rows exactly."""
        for source in {source for source, _ in self.counts}:
            of = {counter: n for (name, counter), n in self.counts.items() if name == source}
            received = of.get("received", 0)
            fates = sum(of.get(counter, 0) for counter in ("stored", "rejected", "dropped", "filtered"))
            if received != fates:
                raise BenchError(
                    f"the books of {source} do not balance: {received} received, {fates} with a fate"
                )
        left = self.total("stored") - self.total("expired")
        if left != self.rows:
            raise BenchError(f"the books say {left} stored and not expired, the table has {self.rows}")

    def check_complete(self, sent: int, times: int = 1) -> None:
        """Raises `BenchError` unless `sent` records with the seqs 1 to `sent` were stored so many times."""
        found = (self.rows, self.distinct, self.first_seq, self.last_seq)
        if found != (sent * times, sent, 1, sent):
            repeated = f" {times} times" if times > 1 else ""
            raise BenchError(f"{sent} sent{repeated}; rows, distinct seqs, first and last seq are {found}")
