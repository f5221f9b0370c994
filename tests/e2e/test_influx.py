"""Line protocol from a real client: what it sent equals what the table holds; and the guide to it."""

import re
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = (Path(__file__).parents[2] / "docs/how-to/line-protocol-sensors.md").read_text()
CONFIG, CLIENT, *_ = re.findall(r"^```\w+\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
NS = 1_769_846_400_000_000_000


def points(count: int) -> list[dict[str, Any]]:
    """Points with every type, and the characters that have to be escaped."""
    return [
        {
            "measurement": "room climate,1",
            "tags": {"site": f"lab {n % 3},=x", "in hall": "数据"},
            "fields": {
                "temp": 20 + n / 8,
                "n": n,
                "on": n % 2 == 0,
                "note": f'say "{n}", C:\\new\nand = more',
            },
            "time": NS + n * 1_000_000_007,
        }
        for n in range(count)
    ]


def test_what_a_client_sends_is_what_the_table_of_the_guide_holds(start: Callable[..., Any]) -> None:
    influxdb = pytest.importorskip("influxdb")
    config = CONFIG.replace(":8089", ":0") + '\n[admin]\nlisten = "127.0.0.1:0"\n'
    assert set(tomllib.loads(config)["sources"]) == {"udp", "tcp"}
    daemon = start(config)
    client = influxdb.InfluxDBClient(use_udp=True, udp_port=daemon.address("udp")[1])
    sent = points(200)
    for at in range(0, len(sent), 20):  # a datagram holds 20 lines
        client.write_points(sent[at : at + 20])
    client.udp_socket.close()
    with socket.create_connection(daemon.address("tcp"), timeout=30) as stream:
        stream.sendall(b'odd note="two\nlines",n=1i 1769846400000000000\nodd note="never ends\nodd n=2i 1\n')
        stream.sendall(b'odd note="x" 2\n')
    daemon.wait_rows(203, "lines", "lines.db")
    daemon.stop()
    rows = daemon.query(
        'SELECT coalesce(timestamp_ns, 0), timestamp, measurement, site, "in hall", temp, n, "on", note'
        " FROM lines WHERE measurement <> 'odd' ORDER BY n",
        "lines.db",
    )
    assert [(row[0] or NS, *row[2:]) for row in rows] == [
        (
            point["time"], point["measurement"], *point["tags"].values(), *point["fields"].values(),
        )
        for point in sent
    ]  # fmt: skip
    assert [row[1] for row in rows[:2]] == ["2026-01-31T08:00:00.000000Z", "2026-01-31T08:00:01.000000Z"]
    odd = daemon.query("SELECT timestamp_ns, note, n FROM lines WHERE measurement = 'odd'", "lines.db")
    assert sorted(odd, key=repr) == [(1, None, 2), (2, "x", None), (None, "two\nlines", 1)]
    assert daemon.dead_letters("tcp") == [("decode", "influx:syntax", b'odd note="never ends')]


def test_the_clients_code_of_the_guide_runs() -> None:
    pytest.importorskip("influxdb")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(30)
        names: dict[str, Any] = {}
        exec(CLIENT.replace("8089", str(receiver.getsockname()[1])), names)  # noqa: S102 - the guide's own
        assert receiver.recv(1000) == b"weather,site=lab temp=21.5\n"
        names["client"].udp_socket.close()
