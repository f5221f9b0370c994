"""Stack traces in a file and over a connection become one record each, also over a kill."""

import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

CONFIG = r"""
[admin]
listen = "127.0.0.1:0"
[sources.app]
type = "file"
path = "app.log"
codec = "text"
multiline = { start = '\d{4}-\d\d-\d\d ', timeout = "1h" }
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "text"
multiline = { continues = '\s', timeout = "200ms" }
[pipelines.main]
sources = ["app", "floor"]
sinks = ["records"]
[sinks.records]
type = "sqlite"
path = "streamd.db"
"""
TRACE = "2026-01-31 08:00:0{n} ERROR no {n}\nTraceback:\n  File x, line {n}\nValueError: {n}\n"


def records(daemon: Any, source: str) -> list[str]:
    rows = daemon.query(f"SELECT record ->> 'message' FROM records WHERE source = '{source}' ORDER BY id")  # noqa: S608 - a test's own name
    return [text for (text,) in rows]


def test_a_trace_is_one_record_and_a_kill_loses_none_of_its_lines(
    start: Callable[..., Any], wait_until: Callable[..., Any], tmp_path: Path
) -> None:
    traces = [TRACE.format(n=n) for n in range(4)]
    path = tmp_path / "app.log"
    path.write_text("".join(traces[:2]))
    daemon = start(CONFIG)
    wait_until(lambda: records(daemon, "app") == [traces[0].strip("\n")], "the first trace")
    with socket.create_connection(daemon.address("floor"), timeout=60) as sock:
        sock.sendall(b"panic\n\tmain.go:8\n")
        wait_until(lambda: records(daemon, "floor") == ["panic\n\tmain.go:8"], "the trace after its timeout")
        sock.sendall(b"next\n begun")
    wait_until(lambda: len(records(daemon, "floor")) == 2, "the trace at the end of its connection")
    os.kill(daemon.process.pid, signal.SIGKILL)
    daemon.process.wait(60)
    with path.open("a") as file:
        file.write("".join(traces[2:]))
    again = start(CONFIG)
    expected = [trace.strip("\n") for trace in traces]
    wait_until(
        lambda: set(records(again, "app")) == set(expected[:3]), "the traces before and after the kill"
    )
    again.stop()
    assert sorted(set(records(again, "app"))) == expected
    assert records(again, "floor") == ["panic\n\tmain.go:8", "next\n begun"]
    assert sum(again.reasons("joined_lines", "app").values()) >= 6
