"""Several processes run one configuration: one file, one view, exact books, and a killed one is replaced."""

import contextlib
import json
import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.e2e.conftest import DEADLINE_S, Daemon, until

Start = Callable[..., Daemon]

CONFIG = """
[daemon]
processes = 2
[admin]
listen = "127.0.0.1:0"
[ledger]
interval = "200ms"
[schemas.reading]
id = "int"
name = "str"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
schema = "reading"
buffer = { when_full = "block" }
[pipelines.main]
sources = ["floor", "lab"]
sinks = ["readings"]
steps = [{ type = "filter", where = "id >= 0" }]
[sinks.readings]
type = "sqlite"
table = "readings"
schema = "reading"
batch = { max_wait = "20ms" }
"""


def lines(first: int, count: int) -> bytes:
    return b"".join(b'{"id": %d, "name": "n"}\n' % number for number in range(first, first + count))


def status(daemon: Daemon) -> dict[str, Any]:
    code, text = daemon.control("GET", "/status")
    assert code == 200, text
    found: dict[str, Any] = json.loads(text)
    return found


def stored(daemon: Daemon) -> int:
    (sink,) = status(daemon)["sinks"]
    return sum(book["records"]["stored"] for book in sink["deliveries"])


def runs(daemon: Daemon, counter: str) -> dict[str, int]:
    """The sums of a counter in the ledger by run."""
    rows = daemon.query(
        f"SELECT run_id, sum(n) FROM ledger WHERE counter = '{counter}' GROUP BY 1 ORDER BY 1"  # noqa: S608
    )
    return dict(rows)


def count(daemon: Daemon) -> int:
    return int(daemon.query("SELECT count(*) FROM readings")[0][0])


def until_all_are_there(daemon: Daemon, rows: int) -> None:
    until(lambda: count(daemon) == rows, f"{rows} rows")
    until(lambda: sum(runs(daemon, "received").values()) == rows, "the ledger")


def ended(daemon: Daemon) -> dict[str, int]:
    """Stop all processes. Returns the terms of the last sum of the merged books, over all sources."""
    daemon.process.send_signal(signal.SIGTERM)
    assert daemon.process.wait(DEADLINE_S) == 0, daemon.stderr
    assert "books balance" in daemon.stderr
    assert daemon.stderr.count("books balance") == 1, "the leading process prints the books of all"
    total = {"stored": 0, "dropped": 0, "pending": 0}
    for line in daemon.stderr.splitlines():
        if " > main > readings: offered " in line:
            for term in line.partition(" = ")[2].split(" + "):
                name, n = term.split()[:2]
                total[name] = total.get(name, 0) + int(n.rstrip(";").replace(",", ""))
    return total


def test_two_processes_write_one_table_and_are_seen_as_one(start: Start) -> None:
    daemon = start(CONFIG)
    sent = 0
    connections: list[socket.socket] = []
    while len(runs(daemon, "received")) < 2 or min(runs(daemon, "received").values()) == 0:
        assert len(connections) < 60, "both processes take connections"
        connection = socket.create_connection(daemon.address("floor"), timeout=DEADLINE_S)
        connection.sendall(lines(sent, 100))
        connections.append(connection)
        sent += 100
        until_all_are_there(daemon, sent)
    for number in range(8):
        daemon.udp(lines(sent + number, 1))
    sent += 8
    until(lambda: stored(daemon) == sent, "the status")

    seen = status(daemon)
    assert seen["ready"], seen["reasons"]
    assert seen["balanced"]
    assert [one["state"] for one in seen["processes"]] == ["running", "running"]
    assert len({one["pid"] for one in seen["processes"]} | {daemon.process.pid}) == 3
    floor, lab = sorted(seen["sources"], key=lambda source: source["name"])
    assert floor["connections"] == len(connections)
    assert floor["frames"]["received"] == sent - 8
    assert lab["frames"]["received"] == 8
    assert floor["buffer"]["max_records"] == 65536, (
        "the limits of the processes together are those configured"
    )

    code, metrics = daemon.control("GET", "/metrics")
    assert code == 200
    assert (
        f'streamd_deliveries_stored_total{{pipeline="main",sink="readings",source="floor"}} {sent - 8}.0'
        in metrics
    )
    code, why = daemon.control("GET", "/tap?point=source:floor")
    assert code == 501
    assert "daemon.processes" in why

    for connection in connections:
        connection.close()
    total = ended(daemon)
    assert (total["stored"], total["dropped"], total["pending"]) == (sent, 0, 0)
    assert count(daemon) == sent
    assert sum(runs(daemon, "stored").values()) == sent
    assert len(runs(daemon, "stop")) == 2
    assert not runs(daemon, "unclean")
    assert daemon.query("SELECT DISTINCT percent FROM completeness") == [(100.0,)]


class Senders:
    """50 connections and 20 datagram sockets that send numbered records until they are told to stop.

    The record `n` of the sender `k` has the id `k * EACH + n`. A broken connection is replaced by a new one.
    """

    CONNECTIONS, SOCKETS, EACH = 50, 20, 1_000_000

    def __init__(self, daemon: Daemon) -> None:
        self.rounds = 0
        self.sent: dict[int, int] = {}
        """How many records each sender has sent whole."""
        self._daemon = daemon
        self._ends = threading.Event()
        self._connections = dict(self._connected() for _ in range(self.CONNECTIONS))
        self._sockets = {self._numbered(): socket.socket(type=socket.SOCK_DGRAM) for _ in range(self.SOCKETS)}
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _numbered(self) -> int:
        number = len(self.sent) + 1
        self.sent[number] = 0
        return number

    def _connected(self) -> tuple[int, socket.socket]:
        """A new connection, which is never refused."""
        return self._numbered(), socket.create_connection(self._daemon.address("floor"), timeout=DEADLINE_S)

    def _run(self) -> None:
        while not self._ends.wait(0.02):
            for number, connection in list(self._connections.items()):
                try:
                    connection.sendall(lines(number * self.EACH + self.sent[number], 10))
                    self.sent[number] += 10
                except OSError:
                    self._connections.pop(number).close()
                    made, new = self._connected()
                    self._connections[made] = new
            for number, sock in self._sockets.items():
                for _ in range(4):
                    line = lines(number * self.EACH + self.sent[number], 1)
                    sock.sendto(line, self._daemon.address("lab"))
                    self.sent[number] += 1
            self.rounds += 1

    def stop(self) -> None:
        self._ends.set()
        self._thread.join()

    def whole(self) -> dict[int, int]:
        """What was sent by each connection that has sent something and that no process has ended."""
        return {
            number: self.sent[number]
            for number, one in self._connections.items()
            if self.sent[number] and is_open(one)
        }

    @property
    def datagrams(self) -> int:
        return sum(self.sent[number] for number in self._sockets)

    def close(self) -> None:
        for sock in (*self._connections.values(), *self._sockets.values()):
            sock.close()


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        connection.recv(1)
    except BlockingIOError:
        return True
    except ConnectionError:
        return False
    return False  # the end, which the daemon sends only after ours


def number_in(text: str) -> int:
    return int(text.replace(",", ""))


def test_a_killed_process_is_replaced_and_exactly_what_it_lost_is_named(start: Start) -> None:
    daemon = start(CONFIG)
    senders = Senders(daemon)
    try:
        until(lambda: count(daemon) > 5000, "rows")
        before = status(daemon)["processes"]
        os.kill(before[1]["pid"], signal.SIGKILL)

        def replaced() -> bool:
            second = status(daemon)["processes"][-1]
            return (second["number"], second["ended"], second["state"]) == (1, 1, "running")

        until(replaced, "the new process")
        rounds = senders.rounds
        until(lambda: senders.rounds > rounds + 20, "more load")
    finally:
        senders.stop()
    until(lambda: status(daemon)["ready"], "ready")
    assert status(daemon)["balanced"]
    assert not daemon.events("database_files_lost"), daemon.stderr
    (event,) = daemon.events("process_ended")
    assert (event["process"], event["pid"], event["code"]) == (1, before[1]["pid"], -signal.SIGKILL)

    def counted() -> int:
        """The datagrams in the books."""
        (lab,) = [source for source in status(daemon)["sources"] if source["name"] == "lab"]
        return int(lab["frames"]["received"]) + int(lab["frames"].get("kernel_dropped", 0))

    until(lambda: counted() == senders.datagrams, "every datagram in the books")
    whole = senders.whole()
    assert whole, "the other process has ended no connection"

    def stored_of() -> dict[int, int]:
        sql = f"SELECT id / {Senders.EACH}, count(*) FROM readings GROUP BY 1"  # noqa: S608
        return {number: n for number, n in daemon.query(sql) if number in whole}

    until(lambda: stored_of() == whole, "every record of the connections that were not ended")
    senders.close()
    total = ended(daemon)
    assert total["pending"] == 0
    assert total["dropped"] == event["deliveries_left"], "nothing else was lost"
    rows = count(daemon)
    assert daemon.query("SELECT count(DISTINCT id) FROM readings") == [(rows,)]
    assert sum(runs(daemon, "stored").values()) == rows == total["stored"], daemon.stderr
    received = sum(
        number_in(line.partition(": received ")[2].split()[0])
        for line in daemon.stderr.splitlines()
        if line.startswith("source ")
    )
    lost = event["frames_left"] + event["records_left"] + event["deliveries_left"]
    assert received == rows + lost, "every record that was read is stored or named"
    assert list(runs(daemon, "unclean")) == [event["run_id"]]
    assert len(runs(daemon, "stop")) == 2


def test_a_log_that_somebody_removes_costs_no_row_of_any_process(start: Start, tmp_path: Path) -> None:
    """Each process leaves the old log in its turn, and none writes to one that another has left."""
    daemon = start(CONFIG)
    sent = 0

    def send_some() -> None:
        nonlocal sent
        for _ in range(8):  # to either process
            with socket.create_connection(daemon.address("floor"), timeout=DEADLINE_S) as connection:
                connection.sendall(lines(sent, 20))
            sent += 20

    send_some()
    until(lambda: count(daemon) == sent, "rows")
    for removed in range(1, 3):
        (tmp_path / "var" / "streamd.db-wal").unlink()
        send_some()

        def recovered(times: int = removed) -> bool:
            by = [event["process"] for event in daemon.events("database_recovered")]
            return min(by.count(0), by.count(1)) >= times

        until(recovered, "the recovery of both processes")
        until(lambda: count(daemon) == sent, "all rows")
    total = ended(daemon)
    assert (total["stored"], total["pending"], total["dropped"]) == (sent, 0, 0)
    assert not daemon.events("database_split"), daemon.stderr
    assert daemon.query("SELECT count(DISTINCT id) FROM readings") == [(sent,)]


def test_a_hung_process_is_killed_and_replaced(start: Start) -> None:
    daemon = start(CONFIG, WATCHDOG_USEC="12000000")
    pid = status(daemon)["processes"][1]["pid"]
    os.kill(pid, signal.SIGSTOP)
    for number in range(8):  # the other process takes all of them
        with socket.create_connection(daemon.address("floor")) as connection:
            connection.sendall(lines(number * 20, 20))

    def hung() -> list[dict[str, Any]]:
        return [event for event in daemon.events("process_hung") if event["pid"] == pid]

    (event,) = until(hung, "the hung process")
    assert (event["process"], event["silent_s"]) == (1, 12.0)
    until(lambda: count(daemon) == 160, "all rows")
    (end,) = until(
        lambda: [one for one in daemon.events("process_ended") if one["pid"] == pid], "its end in the log"
    )
    assert (end["code"], end["frames_left"], end["deliveries_left"]) == (-signal.SIGKILL, 0, 0)
    (second,) = until(
        lambda: [one for one in status(daemon)["processes"] if one["number"] == 1], "the new process"
    )
    assert second["hung"] == second["ended"] >= 1
    code, metrics = daemon.control("GET", "/metrics")
    assert code == 200
    assert f'streamd_process_hung_total{{process="1"}} {second["hung"]}.0' in metrics
    total = ended(daemon)
    assert (total["stored"], total["dropped"]) == (160, 0)


def test_a_reload_is_for_all_or_for_none(start: Start) -> None:
    daemon = start(CONFIG)
    daemon.config.write_text(CONFIG.replace("id >= 0", "id >= 10"))
    code, text = daemon.control("POST", "/reload")
    assert code == 200, text
    assert json.loads(text)["steps"]["replaced"] == ["main > filter[0]"]
    for _ in range(8):  # of either process
        with socket.create_connection(daemon.address("floor")) as connection:
            connection.sendall(lines(0, 20))
    until(lambda: stored(daemon) == 80, "the rows that the new filter lets pass")

    daemon.config.write_text(
        CONFIG.replace('type = "filter", where = "id >= 0"', 'type = "sample", one_in = 2')
    )
    code, text = daemon.control("POST", "/reload")
    assert code == 422, (code, text)
    assert "sample remembers records" in text
    daemon.config.write_text(CONFIG.replace("processes = 2", "processes = 3"))
    daemon.process.send_signal(signal.SIGHUP)
    (event,) = until(
        lambda: [one for one in daemon.events("reload_failed") if one.get("asked_by") == "SIGHUP"]
    )
    assert "daemon.processes" in event["why"]
    with socket.create_connection(daemon.address("floor")) as connection:
        connection.sendall(lines(0, 20))
    until(lambda: stored(daemon) == 90, "a record of the running configuration")
    assert ended(daemon)["stored"] == 90


def test_datagrams_that_wait_in_the_kernel_are_stored_at_the_stop(start: Start) -> None:
    daemon = start(CONFIG)
    with contextlib.ExitStack() as stack:
        senders = [stack.enter_context(socket.socket(type=socket.SOCK_DGRAM)) for _ in range(8)]
        for number in range(2000):
            senders[number % 8].sendto(lines(number, 1), daemon.address("lab"))
    assert ended(daemon)["stored"] == 2000
    assert count(daemon) == 2000


def test_without_the_leading_process_the_others_store_what_they_have_and_stop(start: Start) -> None:
    daemon = start(CONFIG)
    with socket.create_connection(daemon.address("floor")) as connection:
        connection.sendall(lines(0, 100))
        until(lambda: stored(daemon) == 100, "the rows")
        connection.sendall(lines(0, 100))
        daemon.process.kill()
        daemon.process.wait(DEADLINE_S)
        until(lambda: len(runs(daemon, "stop")) == 2, "the end of both")
    assert sum(runs(daemon, "stored").values()) == count(daemon)
    assert daemon.events("leader_gone")
    again = start(CONFIG)
    assert not runs(again, "unclean")
    ended(again)


def test_a_configuration_that_cannot_be_shared_does_not_start(start: Start) -> None:
    config = CONFIG[: CONFIG.index("[sinks.readings]")] + '[sinks.readings]\ntype = "stdout"\n'
    daemon = start(config, ready=False)
    assert daemon.process.wait(DEADLINE_S) == 2
    assert "a stdout sink cannot be shared by several processes" in daemon.stderr
    assert "Traceback" not in daemon.stderr


def test_a_taken_address_ends_the_start_of_all(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        daemon = start(
            CONFIG.replace(
                'type = "tcp"\nlisten = "127.0.0.1:0"', f'type = "tcp"\nlisten = "127.0.0.1:{port}"'
            ),
            ready=False,
        )
        assert daemon.process.wait(DEADLINE_S) == 1
    assert "source floor: cannot listen" in daemon.stderr
    assert "Traceback" not in daemon.stderr


def test_a_process_that_cannot_start_ends_all(start: Start, tmp_path: Path) -> None:
    (tmp_path / "var" / "folder").mkdir(parents=True)
    daemon = start(CONFIG.replace('table = "readings"', 'table = "readings"\npath = "folder"'), ready=False)
    assert daemon.process.wait(DEADLINE_S) == 1
    assert "cannot write the database" in daemon.stderr
    assert "process 0 could not be started" in daemon.stderr
    assert "Traceback" not in daemon.stderr
