"""One trial: edges, a cluster of servers, workers and PostgreSQL under load, and kills of their processes."""

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import psycopg

from streamd.bench.postgresql_server import TemporaryPostgresql
from tests.e2e.conftest import Daemon, starter
from tests.evaluation.scale import configs
from tests.evaluation.scale.cluster import Cluster
from tests.evaluation.scale.readings import EDGES, PARTITIONS, lines_of, windows_of

STALL_S = 120.0
"""A trial fails if nothing has been stored for so long."""
_LOOK_S = 0.1
_LOGGED = ("partition_gained", "partition_lost", "partition_fenced")
_SECONDS = "to_char({} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
_ROWS = "SELECT seq, site, sensor, {}, value FROM rows ORDER BY seq, sensor"
_WINDOWS = (
    "SELECT sensor, {}, {}, n, total, mean, most, final, complete FROM windows ORDER BY sensor, window_start"
)


@dataclass
class Event:
    """Something that was done to a process."""

    what: str
    at_rows: int
    """Rows in the table when it happened."""
    began_s: float
    longest_stall_s: float = 0.0
    """Longest time without a new row, until the next event."""


@dataclass
class Outcome:
    """What came of a trial."""

    events: list[Event] = field(default_factory=list)
    seconds: float = 0.0
    """From the first line to the last row."""
    counts: dict[str, int] = field(default_factory=dict)
    """What the ledgers of all daemons counted together, by name."""
    rows: int = 0
    windows: int = 0
    expected_rows: int = 0
    expected_windows: int = 0
    differing: int = 0
    """Rows of either table that are not equal, and not in the same place, in both databases."""

    @property
    def is_exact(self) -> bool:
        """Whether PostgreSQL has what one undisturbed machine stores in SQLite, and all of it."""
        found = (self.rows, self.windows, self.differing)
        return found == (self.expected_rows, self.expected_windows, 0)


class Trial:
    """Leaving the context ends every process."""

    def __init__(
        self,
        folder: Path,
        postgresql: TemporaryPostgresql,
        database: str,
        records: int,
        takeover_s: float,
        hang_s: float,
    ) -> None:
        """`database` is empty; `hang_s` is how long a worker stands still."""
        self.folder = folder
        self.postgresql, self.database = postgresql, database
        self.takeover_s, self.hang_s = takeover_s, hang_s
        self.each = records // EDGES
        self.outcome = Outcome(expected_rows=EDGES * self.each + PARTITIONS)
        self.outcome.expected_windows = windows_of(self.each)
        self._stack = ExitStack()
        self._files = [folder / f"edge{number}.log" for number in range(EDGES)]
        self._lines = [lines_of(number, self.each) for number in range(EDGES)]
        self._written = 0
        self._daemons: list[Daemon] = []
        self.edges: list[Daemon] = []
        self.workers: list[Daemon] = []
        self._rows, self._changed_s = 0, 0.0

    def __enter__(self) -> "Trial":
        (self.folder / "nats").mkdir()
        self.cluster = Cluster(self.folder / "nats")
        self._stack.callback(self.cluster.close)
        for file in self._files:
            file.touch()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def run(self) -> Outcome:
        """Start everything, disturb it, and compare."""
        self.edges = self._ready(self._edge(number) for number in range(EDGES))
        self.workers = self._ready(self._worker(number) for number in range(configs.WORKERS))
        began_s = self._changed_s = time.monotonic()
        self._until(0.15)
        self._kill_an_edge()
        self._until(0.35)
        self._kill_a_worker()
        self._until(0.55)
        self._kill_the_leader()
        self._until(0.75, 0.78)  # so that enough is left to come while the worker stands still
        self._stop_a_worker_for_a_while()
        self._until(1.0)
        self._wait_for_windows()
        self.outcome.seconds = time.monotonic() - began_s
        for daemon in (*self.edges, *self.workers):
            daemon.stop()
        self._count()
        self._compare()
        return self.outcome

    def _start(self, name: str, config: str) -> Daemon:
        folder = self.folder / name
        folder.mkdir(exist_ok=True)
        start: Callable[..., Daemon] = self._stack.enter_context(contextmanager(starter)(folder))
        daemon = start(config, ready=False)
        if not any(daemon.folder == other.folder for other in self._daemons):
            self._daemons.append(daemon)
        return daemon

    @staticmethod
    def _ready(daemons: Iterable[Daemon]) -> list[Daemon]:
        """Daemons that start at the same time."""
        return [daemon.wait_ready() for daemon in list(daemons)]

    def _edge(self, number: int) -> Daemon:
        return self._start(f"edge{number}", configs.edge(self._files[number], self.cluster.addresses))

    def _worker(self, number: int) -> Daemon:
        config = configs.worker(
            self.cluster.addresses, self.postgresql.socket, self.database, self.takeover_s
        )
        return self._start(f"worker{number}", config)

    def _feed(self, share: float) -> None:
        """Let the files grow, so that the edges are ahead of the table, but never done too early."""
        ahead = self.outcome.expected_rows // 5
        wanted = min(int(self.outcome.expected_rows * share), self._rows + ahead)
        if share >= 1 and self._rows + ahead >= self.outcome.expected_rows:
            wanted = self.outcome.expected_rows
        each = (wanted - self._written) // EDGES
        if each <= 0:
            return
        for file, lines in zip(self._files, self._lines, strict=True):
            with file.open("a") as out:
                out.writelines(islice(lines, each))
        self._written += each * EDGES

    def _look(self) -> int:
        """How many rows there are. Raises `AssertionError` if no more come."""
        rows, now_s = self._count_of("rows"), time.monotonic()
        if self.outcome.events:
            event = self.outcome.events[-1]
            event.longest_stall_s = max(event.longest_stall_s, now_s - max(self._changed_s, event.began_s))
        if rows != self._rows:
            self._rows, self._changed_s = rows, now_s
        for daemon in (*self.edges, *self.workers):
            assert daemon.process.poll() is None, daemon.stderr
        assert now_s - self._changed_s < STALL_S, f"{rows} rows, and no more for {STALL_S:.0f} s"
        return rows

    def _until(self, share: float, fed: float | None = None) -> None:
        """Feed up to the share `fed`, and wait until this share of the rows is stored."""
        while self._look() < int(self.outcome.expected_rows * share):
            self._feed(min(1.0, share + 0.2) if fed is None else fed)
            time.sleep(_LOOK_S + self._rows / 2e6)  # a count of a large table takes time

    def _happened(self, what: str) -> None:
        self.outcome.events.append(Event(what, self._look(), time.monotonic()))

    def _kill(self, daemon: Daemon) -> None:
        daemon.process.send_signal(signal.SIGKILL)
        daemon.process.wait(60)

    def _kill_an_edge(self) -> None:
        self._happened("edge killed and started again")
        self._kill(self.edges[0])
        self.edges[0] = self._start("edge0", self.edges[0].config.read_text()).wait_ready()

    def _kill_a_worker(self) -> None:
        place = self._busiest()
        self._happened("worker killed, and started again after the takeover")
        self._kill(self.workers[place])
        killed = self.workers.pop(place)
        end_s = time.monotonic() + 2 * self.takeover_s
        while time.monotonic() < end_s:
            self._look()
            self._feed(0.75)
            time.sleep(_LOOK_S)
        self.workers.append(self._start(killed.folder.name, killed.config.read_text()).wait_ready())

    def _busiest(self) -> int:
        """The place of the worker that reads the most partitions."""

        def owned(worker: Daemon) -> int:
            gained, *gone = (len(worker.events(name)) for name in _LOGGED)
            return gained - sum(gone)

        numbers = [owned(worker) for worker in self.workers]
        return numbers.index(max(numbers))

    def _kill_the_leader(self) -> None:
        leader = self.cluster.leader_of("readings")
        self._happened("NATS server killed that led the stream, and started again when rows came")
        self.cluster.kill(leader)
        total = self.outcome.expected_rows
        enough = self._rows + total // 50
        while self._look() < enough:
            self._feed(max(0.75, enough / total + 0.01))
            time.sleep(_LOOK_S)
        self.cluster.start(leader)

    def _stop_a_worker_for_a_while(self) -> None:
        """Readings go on to come meanwhile, and when it goes on."""
        self._happened(f"worker stopped (SIGSTOP) for {self.hang_s:g} s, then continued")
        worker = self.workers[self._busiest()]
        worker.process.send_signal(signal.SIGSTOP)
        began_s = time.monotonic()
        first = self._written / self.outcome.expected_rows
        while (passed_s := time.monotonic() - began_s) < self.hang_s:
            self._look()
            self._feed(first + (0.97 - first) * passed_s / self.hang_s)
            time.sleep(_LOOK_S)
        worker.process.send_signal(signal.SIGCONT)

    def _wait_for_windows(self) -> None:
        while self._count_of("windows") < self.outcome.expected_windows:
            self._look()
            time.sleep(_LOOK_S)

    def _connect(self) -> psycopg.Connection[Any]:
        return psycopg.connect(
            host=str(self.postgresql.folder),
            port=self.postgresql.port,
            dbname=self.database,
            user="postgres",
            autocommit=True,
        )

    def _count_of(self, table: str) -> int:
        with closing(self._connect()) as connection:
            if connection.execute("SELECT to_regclass(%s)", [table]).fetchone() == (None,):
                return 0
            found = connection.execute(f"SELECT count(*) FROM {table}").fetchone()  # noqa: S608 - one of ours
        return int(found[0]) if found is not None else 0

    def _count(self) -> None:
        """Add up what the ledgers say, and the events of the logs."""
        counts: Counter[str] = Counter()
        for daemon in self._daemons:
            counts.update(
                {
                    name: n if n is not None else runs
                    for name, n, runs in daemon.query(
                        "SELECT counter, sum(n), count(*) FROM ledger WHERE counter IN ('rejected',"
                        " 'dropped', 'late', 'duplicates', 'resent_late', 'left_out', 'unclean') GROUP BY 1"
                    )
                }
            )
            for log in daemon.folder.glob("stderr-*.log"):
                text = log.read_text()
                assert "Traceback" not in text, text
                counts.update({name: text.count(f'"event": "{name}"') for name in _LOGGED})
        self.outcome.counts = dict(+counts)

    def _compare(self) -> None:
        """With one machine that reads the same files into SQLite, without any trouble."""
        alone = self._start("alone", configs.alone(self._files)).wait_ready()
        end_s = time.monotonic() + STALL_S + self.outcome.expected_rows / 1e4
        while not self._is_done(alone):
            assert time.monotonic() < end_s, alone.stderr
            time.sleep(_LOOK_S)
        alone.stop()
        with (
            closing(self._connect()) as theirs,
            closing(sqlite3.connect(alone.folder / "var" / "results.db")) as ours,
        ):
            for table, sql, times in (
                ("rows", _ROWS, ("at",)),
                ("windows", _WINDOWS, ("window_start", "window_end")),
            ):
                with theirs.transaction(), theirs.cursor(name=table) as one:  # it reads a part at a time
                    one.execute(sql.format(*map(_SECONDS.format, times)))
                    found, differing = _compared(iter(one), ours.execute(sql.format(*times)))
                setattr(self.outcome, table, found)
                self.outcome.differing += differing

    def _is_done(self, alone: Daemon) -> bool:
        def count(table: str) -> int:
            rows = alone.query(f"SELECT count(*) FROM {table}", "results.db")  # noqa: S608 - one of ours
            return int(rows[0][0]) if rows else 0

        wanted = self.outcome.expected_rows, self.outcome.expected_windows
        return (count("rows"), count("windows")) == wanted


def _compared(one: Iterator[Any], other: Iterator[Any]) -> tuple[int, int]:
    """The number of the rows of `one`, and how many rows of either are not in the other's order and place."""
    count = differing = 0
    ended = object()
    while True:
        first, second = next(one, ended), next(other, ended)
        if first is ended and second is ended:
            return count, differing
        count += first is not ended
        differing += first != second
