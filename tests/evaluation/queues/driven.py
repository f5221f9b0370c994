"""A real daemon that is driven with a load, and what it says about its queues meanwhile."""

import json
import math
import shutil
import socket
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from tests.e2e.conftest import Daemon, until

_CHUNK_S = 0.01
_POLL_S = 0.1

CONFIG = """
[daemon]
max_batch = 32
workers = 1
[admin]
listen = "127.0.0.1:0"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
receive_buffer = "{receive_buffer}"
buffer = {{ max_records = {source_records}, when_full = "drop_newest" }}
[pipelines.main]
sources = ["lab"]
sinks = ["records"]
steps = [{step}]
[sinks.records]
type = "sqlite"
path = "streamd.db"
buffer = {{ max_records = {sink_records} }}
"""
PACED = (
    '{ type = "python", function = "paced.py:Paced", mode = "batch", executor = "thread", timeout = "120s" }'
)
STALLING = '{ type = "python", function = "paced.py:stall", mode = "batch" }'


class Seen(NamedTuple):
    """The status of the daemon at one time."""

    at_s: float
    """Seconds since the load began."""
    received: int
    dropped: int
    kernel_dropped: int
    outlook: dict[str, dict[str, Any]]
    """By `source` and `sink`, up to half a second old."""
    waiting: int
    """Datagrams in the source's buffer."""


@dataclass
class Drive:
    """What is done to the daemon."""

    name: str
    seconds: float
    load: Callable[[float], float]
    """Datagrams a second at a time."""
    pace_per_s: float
    """Records a second that the step lets through."""
    source_records: int
    sink_records: int = 100_000
    receive_buffer: str = "8MiB"
    step: str = PACED
    acts: Sequence[tuple[float, Callable[[Path], None]]] = ()
    """Done to the daemon's folder at a time."""
    begins_s: float = 0.0
    """When the load or the pace changes so that a queue fills."""
    ends_s: float = math.inf
    """When the cause of the overload ends; the loss is compared up to then."""
    queue: str = "source"
    """The queue that fills."""
    seen: list[Seen] = field(default_factory=list)


def drive(one: Drive, folder: Path) -> Drive:
    """Start a daemon in the folder, drive it, and stop it. Its books have to balance."""
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("paced.py"), folder)
    set_pace(folder, one.pace_per_s)
    config = CONFIG.format(
        receive_buffer=one.receive_buffer,
        source_records=one.source_records,
        sink_records=one.sink_records,
        step=one.step,
    )
    daemon = Daemon(folder, config).wait_ready()
    began_s = time.monotonic()
    sender = threading.Thread(target=_send, args=(one, daemon.address("lab"), began_s))
    sender.start()
    acts = list(one.acts)
    while (at_s := time.monotonic() - began_s) < one.seconds:
        if acts and at_s >= acts[0][0]:
            acts.pop(0)[1](folder)
        if (seen := _look(daemon, began_s)).outlook:  # the first look may be too early
            one.seen.append(seen)
        time.sleep(_POLL_S)
    sender.join()
    set_pace(folder, 1e6)
    until(lambda: _look(daemon, began_s).outlook["source"]["records"] == 0, "an empty queue")
    daemon.stop()
    return one


def set_pace(folder: Path, per_s: float) -> None:
    """Let the step pass so many records a second from its next batch on."""
    new = folder / "pace.new"
    new.write_text(repr(1 / per_s))
    new.rename(folder / "pace")


def _send(one: Drive, address: tuple[str, int], began_s: float) -> None:
    due = 0.0
    sent = 0
    last_s = 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.connect(address)
        while last_s < one.seconds:
            now_s = time.monotonic() - began_s
            due += (now_s - last_s) * one.load(now_s)
            last_s = now_s
            while sent < due:
                text = '{"sensor": "s-%03d", "value": %d.25, "sent": %.6f}'
                sock.send((text % (sent % 100, sent % 40, time.monotonic())).encode())
                sent += 1
            time.sleep(_CHUNK_S)


def _look(daemon: Daemon, began_s: float) -> Seen:
    code, body = daemon.control("GET", "/status")
    assert code == 200, body
    status = json.loads(body)
    source = status["sources"][0]
    frames = source["frames"]
    return Seen(
        time.monotonic() - began_s,
        frames["received"],
        frames["dropped"].get("buffer_full", 0),
        frames.get("kernel_dropped", 0),
        {entry["kind"]: entry for entry in status["outlook"]},
        source["buffer"]["records"],
    )
