"""A client of Graphite sends to the configuration of docs/how-to/graphite.md; the table has it all."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PAGE = (Path(__file__).parents[2] / "docs/how-to/graphite.md").read_text()


def test_what_graphyte_sends_is_stored(start: Callable[..., Any]) -> None:
    graphyte = pytest.importorskip("graphyte")
    (config,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    config = re.sub(r"(?m)^retention = .*\n", "", config)  # what is sent here is older
    daemon = start(config.replace(":2003", ":0") + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    sent = []
    for protocol in ("tcp", "udp"):
        host, port = daemon.address(f"carbon_{protocol}")
        sender = graphyte.Sender(
            host, port, protocol=protocol, prefix="plant", tags={"via": protocol}, raise_send_errors=True
        )
        for n in range(20):
            sender.send(f"line{n}.load", n / 4, timestamp=1769846400 + n, tags={"dc": "ber"})
            stamp = f"2026-01-31T08:00:{n:02d}.000000Z"
            sent.append((stamp, f"plant.line{n}.load", protocol, "ber", n / 4))
        sender.stop()
    daemon.wait_rows(40, "metrics", "metrics.db")
    daemon.stop()
    columns = "timestamp, path, tags ->> 'via', tags ->> 'dc', value"
    rows = daemon.query(f"SELECT {columns} FROM metrics", "metrics.db")  # noqa: S608 - the test's own columns
    assert sorted(rows) == sorted(sent)
