"""One sender floods, nine send at 100/s: what each of them loses, to the record."""

import json
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

QUIET = [f"127.0.0.{n}" for n in range(2, 11)]
FLOOD = "127.0.0.1"
QUIET_RECORDS = 150
QUIET_INTERVAL_S = 0.01
BURST = 100
LARGE_BURST = 5000
QUEUED_BYTES = 64 * 1024
"""The flood waits while the kernel holds more for the daemon: that buffer is shared, its drops are blind."""
SLOW_STEP = """
import time

def slow(records):
    time.sleep(len(records) / 2500)
    return records
"""
CONFIG = """
[admin]
listen = "127.0.0.1:0"
[daemon]
max_batch = 16
[ledger]
interval = "0.2s"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
buffer = {{ max_records = {max_records}, when_full = "{when_full}" }}
[pipelines.main]
sources = ["lab"]
sinks = ["records"]
{steps}
[sinks.records]
type = "sqlite"
path = "streamd.db"
buffer = {{ max_records = 500 }}
"""
STEPS = 'steps = [{ type = "python", function = "steps.py:slow", mode = "batch" }]'


WINDOWS = """
[[pipelines.main.steps]]
type = "python"
function = "steps.py:slow"
mode = "batch"
[[pipelines.main.steps]]
type = "window"
size = "1s"
key = ["sender"]
time = "at"
watermark_by = "{by}"
watermark_delay = "0.5s"
idle_timeout = "1s"
aggregate = {{ n = "count()" }}
"""


def pace(seconds: float) -> None:
    time.sleep(max(0.0, seconds))


class Quiet(threading.Thread):
    """Sends numbered datagrams at its own pace from an address of its own."""

    def __init__(self, address: tuple[str, int], host: str) -> None:
        super().__init__(daemon=True)
        self._address = address
        self._host = host
        self.start()

    def run(self) -> None:
        start_s = time.monotonic()
        with sender(self._host) as sock:
            for seq in range(QUIET_RECORDS):
                pace(start_s + seq * QUIET_INTERVAL_S - time.monotonic())
                sock.sendto(datagram(self._host, seq), self._address)


def sender(host: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((host, 0))
    return sock


def datagram(host: str, seq: int) -> bytes:
    return json.dumps({"sender": host, "seq": seq, "at": time.time()}).encode()


def kernel(port: int) -> tuple[int, int]:
    """The bytes the kernel holds for the UDP socket on this port, and the datagrams it dropped."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(f":{port:04X}"):
            return int(fields[4].partition(":")[2], 16), int(fields[-1])
    raise AssertionError(f"no UDP socket on port {port}")


def stored(daemon: Any, host: str) -> list[int]:
    """The sequence numbers of one sender in the order of storage."""
    rows = daemon.query(
        f"SELECT record ->> 'seq' FROM records WHERE record ->> 'sender' = '{host}' ORDER BY id"  # noqa: S608
    )
    return [seq for (seq,) in rows]


def flood(address: tuple[str, int]) -> int:
    """Send as much as the kernel takes while the quiet senders send; returns the number of datagrams."""
    quiet = [Quiet(address, host) for host in QUIET]
    flooded = 0
    with sender(FLOOD) as sock:
        while any(each.is_alive() for each in quiet):
            if kernel(address[1])[0] < QUEUED_BYTES:
                for seq in range(flooded, flooded + BURST):
                    sock.sendto(datagram(FLOOD, seq), address)
                flooded += BURST
    return flooded


def test_a_flood_faster_than_the_workers_costs_nine_quiet_senders_nothing(
    start: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "steps.py").write_text(SLOW_STEP)
    daemon = start(CONFIG.format(max_records=2000, when_full="drop_oldest", steps=STEPS))
    flooded = flood(daemon.address("lab"))
    daemon.stop()
    books = daemon.books()
    assert books["lab", "", "", "kernel_dropped"] == 0
    for host in QUIET:
        assert stored(daemon, host) == list(range(QUIET_RECORDS)), host
    of_flood = stored(daemon, FLOOD)
    assert of_flood == sorted(set(of_flood))
    assert daemon.reasons("dropped", "lab") == {"buffer_full": flooded - len(of_flood)}
    assert len(of_flood) < flooded
    assert books["lab", "", "", "received"] == flooded + len(QUIET) * QUIET_RECORDS


@pytest.mark.parametrize("by", ["sender", "pipeline"])
def test_in_a_flood_no_record_of_a_quiet_sender_is_late_for_its_window(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path, by: str
) -> None:
    (tmp_path / "steps.py").write_text(SLOW_STEP)
    steps = WINDOWS.format(by=by)
    daemon = start(CONFIG.format(max_records=2000, when_full="drop_oldest", steps=steps))
    flooded = flood(daemon.address("lab"))

    def counted() -> dict[str, int]:
        return dict(daemon.query("SELECT record ->> 'sender', sum(record ->> 'n') FROM records GROUP BY 1"))

    def all_closed() -> bool:
        books = daemon.books()
        gone = books["lab", "", "", "received"] - books["lab", "", "", "dropped"]
        return gone == sum(counted().values()) and len(counted()) == len(QUIET) + 1

    wait_until(all_closed, "the windows to close")
    daemon.stop()
    counts, dropped = counted(), daemon.reasons("dropped", "lab")
    assert daemon.reasons("rejected", "lab") == {}  # none is late, the flooder's neither
    assert {host: counts[host] for host in QUIET} == dict.fromkeys(QUIET, QUIET_RECORDS)
    assert dropped["buffer_full"] > 0
    assert dropped == {"buffer_full": flooded - counts[FLOOD]}


def test_with_block_the_kernel_drops_blindly_and_quiet_senders_lose_too(start: Callable[..., Any]) -> None:
    daemon = start(CONFIG.format(max_records=200, when_full="block", steps=""))
    address = daemon.address("lab")
    sent = 0
    other = sqlite3.connect(daemon.folder / "var" / "streamd.db", isolation_level=None, timeout=30)
    try:
        other.execute("BEGIN IMMEDIATE")  # nothing is stored, so nothing is read once the buffers are full
        with sender(FLOOD) as sock:
            dropped = before = 0
            while dropped - before < LARGE_BURST:  # until nothing of a burst gets in
                before = dropped
                for seq in range(sent, sent + LARGE_BURST):
                    sock.sendto(datagram(FLOOD, seq), address)
                sent += LARGE_BURST
                dropped = kernel(address[1])[1]
        quiet = [Quiet(address, host) for host in QUIET]
        for each in quiet:
            each.join(60)
    finally:
        other.close()
    sent += len(QUIET) * QUIET_RECORDS
    daemon.stop()
    books = daemon.books()
    assert books["lab", "", "", "dropped"] == 0
    assert books["lab", "", "", "received"] + books["lab", "", "", "kernel_dropped"] == sent
    assert sum(len(stored(daemon, host)) for host in QUIET) < len(QUIET) * QUIET_RECORDS
    assert books["lab", "main", "records", "stored"] == books["lab", "", "", "received"]


FULL_SPEED = """
import ctypes, socket, sys
from streamd.net.recvmmsg import IoVec, MMsgHdr
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((sys.argv[1], 0))
sock.connect(("127.0.0.1", int(sys.argv[2])))
text = ctypes.create_string_buffer(b'{"sender": "flood", "seq": 1}')
part = IoVec(ctypes.addressof(text), len(text) - 1)
messages = (MMsgHdr * 256)()
for message in messages:
    message.header.iov, message.header.iov_length = ctypes.pointer(part), 1
send, sent = ctypes.CDLL(None).sendmmsg, 0
while sent < int(sys.argv[3]):
    sent += max(0, send(sock.fileno(), messages, 256, 0))
print(sent)
"""


def test_a_flood_at_full_speed_costs_nine_quiet_senders_nothing(
    start: Any, wait_until: Callable[..., Any]
) -> None:
    daemon = start(CONFIG.format(max_records=65536, when_full="drop_oldest", steps=""))
    address = daemon.address("lab")
    arguments = [sys.executable, "-c", FULL_SPEED, "127.0.0.99", str(address[1]), "100000000"]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as flood:
        try:
            with sender("127.0.0.200") as sock:  # a flood that nobody is heard beside harms nobody

                def filtered() -> Any:
                    sock.sendto(datagram("127.0.0.200", 0), address)
                    return daemon.events("udp_flood")

                (event,) = wait_until(filtered, "the flood to be noticed")
            assert event["sender"] == "127.0.0.99"
            quiet = [Quiet(address, host) for host in QUIET]
            for one in quiet:
                one.join(60)
            assert flood.poll() is None, "it went on all the time"
        finally:
            flood.kill()
    wait_until(lambda: daemon.events("udp_flood_over"), "the end of it")
    daemon.stop()
    for host in QUIET:
        assert stored(daemon, host) == list(range(QUIET_RECORDS)), host
