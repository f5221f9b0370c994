"""collectd sends values to the configurations of two guides; the tables hold what it was given."""

import re
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

GUIDES = Path(__file__).parents[2] / "docs/how-to"
COLLECTD = """
Hostname "web1.lab"
FQDNLookup false
WriteThreads 1
BaseDir "{folder}"
PIDFile "{folder}/collectd.pid"
TypesDB "/usr/share/collectd/types.db"
LoadPlugin logfile
<Plugin logfile>
  File "{folder}/collectd.log"
</Plugin>
LoadPlugin unixsock
<Plugin unixsock>
  SocketFile "{folder}/commands"
  DeleteSocket true
</Plugin>
LoadPlugin write_graphite
LoadPlugin write_influxdb_udp
"""
AT = 1_769_846_400
HOURS = 8


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (GUIDES / page).read_text(), re.DOTALL)


class Collectd:
    """A running collectd without sensors: it sends on what it is given."""

    def __init__(self, folder: Path, plugins: str) -> None:
        program = shutil.which("collectd", path="/usr/sbin:/usr/bin:/usr/local/sbin")
        if program is None:
            pytest.skip("collectd is not installed")
        self.commands = folder / "commands"
        config = folder / "collectd.conf"
        config.write_text(COLLECTD.format(folder=folder) + plugins)
        with (folder / "collectd.out").open("wb") as out:
            self.process = subprocess.Popen([program, "-f", "-C", str(config)], stdout=out, stderr=out)

    def listens(self) -> bool:
        """Whether it takes commands."""
        with socket.socket(socket.AF_UNIX) as sock:
            return sock.connect_ex(str(self.commands)) == 0

    def put(self, values: list[str]) -> None:
        """Give it values, each `IDENTIFIER TIME:VALUE`."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rw") as stream:
            sock.settimeout(60)
            sock.connect(str(self.commands))
            for value in values:
                identifier, _, timed = value.rpartition(" ")
                stream.write(f'PUTVAL "{identifier}" interval=10 {timed}\n')
                stream.flush()
                assert stream.readline().startswith("0 Success"), value

    def flush(self) -> bool:
        """Let it send what it has buffered."""
        with socket.socket(socket.AF_UNIX) as sock, sock.makefile("rw") as stream:
            sock.settimeout(60)
            sock.connect(str(self.commands))
            stream.write("FLUSH\n")
            stream.flush()
            return stream.readline().startswith("0 ")

    def stop(self) -> None:
        """It sends what it has buffered, but not what waits to be buffered, and ends."""
        self.process.terminate()
        assert self.process.wait(60) == 0


@pytest.fixture
def collectd(tmp_path: Path) -> Iterator[Callable[[str], Collectd]]:
    started: list[Collectd] = []

    def begin(plugins: str) -> Collectd:
        started.append(Collectd(tmp_path, plugins))
        return started[-1]

    yield begin
    for one in started:
        if one.process.poll() is None:
            one.process.kill()
        one.process.wait(60)


def test_graphite_and_line_protocol_of_collectd_are_what_it_was_given(
    start: Callable[..., Any], collectd: Callable[[str], Collectd], wait_until: Callable[..., Any]
) -> None:
    (graphite,) = blocks("graphite.md", "toml")
    lines = blocks("line-protocol-sensors.md", "toml")[0]
    lines = lines.replace('codec = "influx"', 'codec = { type = "influx", precision = "ms" }')
    config = re.sub(r":(2003|8089)", ":0", f'[admin]\nlisten = "127.0.0.1:0"\n{graphite}{lines}')
    config = re.sub(r"(?m)^retention = .*\n", "", config)  # the values are older
    daemon = start(config)
    plugins = blocks("graphite.md", "apacheconf")[0].replace("2003", str(daemon.address("carbon_tcp")[1]))
    udp = plugins.replace('"tcp"', '"udp"').replace('"streamd"', '"udp"').replace('"collectd."', '"udp."')
    udp = udp.replace(str(daemon.address("carbon_tcp")[1]), str(daemon.address("carbon_udp")[1]))
    influx = blocks("line-protocol-sensors.md", "apacheconf")[0].replace(
        "8089", str(daemon.address("udp")[1])
    )
    agent = collectd(plugins + udp + influx)
    wait_until(agent.listens, "the socket of collectd")
    agent.put(
        [f"web1.lab/rack-1 a/temperature-in {AT + hour * 3600}:{hour / 8}" for hour in range(HOURS)]
        + [f"web1.lab/lab/load {AT}:7:-9:0.5", f"web1.lab/lab/gauge-none {AT}:U"]
    )
    count = "SELECT count(*) FROM metrics"
    wait_until(
        lambda: agent.flush() and daemon.query(count, "metrics.db") == [(2 * (HOURS + 3),)], "all metrics"
    )
    agent.stop()
    daemon.wait_rows(HOURS + 1, "lines", "lines.db")
    for source in ("carbon_tcp", "carbon_udp"):  # the value that is unknown
        (letter,) = wait_until(lambda source=source: daemon.dead_letters(source), "its dead letter")
        assert letter[1] == "graphite:nan"
    daemon.stop()
    times = [f"2026-01-31T{8 + hour:02d}:00:00.000000Z" for hour in range(HOURS)]
    for prefix in ("collectd.", "udp."):
        rows = daemon.query(
            f"SELECT timestamp, path, value FROM metrics WHERE path LIKE '{prefix}%'"  # noqa: S608
            " ORDER BY path LIKE '%temperature%' DESC, timestamp, path",
            "metrics.db",
        )
        path = f"{prefix}web1_lab.rack-1_a.temperature-in"
        assert rows == [
            *((time, path, hour / 8) for hour, time in enumerate(times)),
            (times[0], f"{prefix}web1_lab.lab.load.longterm", 0.5),
            (times[0], f"{prefix}web1_lab.lab.load.midterm", -9.0),
            (times[0], f"{prefix}web1_lab.lab.load.shortterm", 7.0),
        ]
    values = "value, shortterm, midterm, longterm"
    rows = daemon.query(
        f"SELECT timestamp, measurement, host, instance, type, type_instance, {values} FROM lines"  # noqa: S608
        " ORDER BY measurement DESC, timestamp",
        "lines.db",
    )
    assert rows == [
        *(
            (time, "rack", "web1.lab", "1 a", "temperature", "in", hour / 8, None, None, None)
            for hour, time in enumerate(times)
        ),
        (times[0], "lab", "web1.lab", None, "load", None, None, 7.0, -9.0, 0.5),
    ]
