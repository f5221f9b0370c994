"""Predictions of `streamd capacity` beside what daemons lose in real time, with and without its suggestion.

    .venv/bin/python -m tests.evaluation.capacity stall burst step

For each scenario a daemon is measured under a load of its own, and its prediction computed. Then a daemon for
each setting lives through the scenario in real time. The rates do not depend on the processor: a locked
database writes nothing, and a step that sleeps takes the same time everywhere. It takes about a minute and a
half a scenario, and prints a table.
"""

import json
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from streamd.capacity.figures import Figures
from streamd.capacity.prediction import predict
from streamd.capacity.resizing import with_sources, with_steps
from streamd.capacity.scenario import Scenario, parse_burst, parse_rate, parse_stall
from streamd.cli._observation import observed
from streamd.sensors import SensorStream
from tests.e2e.conftest import Daemon, until

CONFIG = """
[admin]
listen = "none"
[ledger]
interval = "0.2s"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
buffer = {{ max_records = {buffer}, when_full = "drop_newest" }}
[pipelines.main]
sources = ["floor"]
sinks = ["readings"]
steps = [{step}]
[sinks.readings]
type = "sqlite"
path = "readings.db"
buffer = {{ max_records = 1000 }}
"""
SLEEPER = """
import asyncio


async def slow(records):
    await asyncio.sleep({seconds} * len(records))
    return records
"""
STEP = '{{ type = "python", function = "steps.py:slow", mode = "batch", concurrency = {slots} }}'


@dataclass(frozen=True, slots=True)
class Case:
    """A scenario, the time of the step for each record (0: none), and the first buffer."""

    scenario: Scenario
    buffer: int
    step_s: float = 0.0


CASES = {
    "stall": Case(Scenario(25, (parse_rate("500/s"),), (parse_stall("readings=12s@2s"),)), 1000),
    "burst": Case(Scenario(30, (parse_rate("100/s"),), (), (parse_burst("20000/200ms@2s"),)), 5000, 0.001),
    "step": Case(Scenario(20, (parse_rate("2000/s"),)), 5000, 0.001),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """A source's buffer, and the batches of the step at a time."""

    buffer: int
    slots: int = 1

    def of(self, figures: Figures) -> Figures:
        """The measured figures with this setting."""
        lines = tuple(
            replace(
                line,
                sources=tuple(
                    replace(one, buffer=replace(one.buffer, max_records=1)) for one in line.sources
                ),
            )
            for line in figures.lines
        )
        sized = with_sources(replace(figures, lines=lines), {"floor": self.buffer})
        (line,) = sized.lines
        return with_steps(sized, line.name, tuple(replace(one, slots=self.slots) for one in line.steps))


@contextmanager
def running(case: Case, setting: Setting) -> Iterator[Daemon]:
    """A daemon with this setting, whose books balance at its end."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "steps.py").write_text(SLEEPER.format(seconds=case.step_s))
        step = STEP.format(slots=setting.slots) if case.step_s else ""
        daemon = Daemon(folder, CONFIG.format(buffer=setting.buffer, step=step)).wait_ready()
        try:
            yield daemon
            daemon.stop()
        finally:
            daemon.process.kill()
            daemon.process.wait()


def sending(daemon: Daemon, rate: float, count: int) -> "subprocess.Popen[bytes]":
    """`streamd send` to the daemon."""
    host, port = daemon.address("floor")
    command = [sys.executable, "-m", "streamd", "send", "--generate", "--quiet", f"--rate={rate:.0f}"]
    return subprocess.Popen([*command, f"--count={count}", f"tcp://{host}:{port}"])


def lived(case: Case, setting: Setting) -> tuple[int, int]:
    """(sent, lost) of a daemon that lives through the scenario."""
    scenario = case.scenario
    rate = scenario.rates[0].per_s or 0.0
    with running(case, setting) as daemon:
        sender = sending(daemon, rate, round(rate * scenario.for_s))
        until(lambda: daemon.books()["floor", "", "", "received"] > 0, "the first record")
        began_s = time.monotonic()
        sent = round(rate * scenario.for_s)
        for burst in scenario.bursts:
            _sleep_until(began_s + burst.at_s)
            lines = SensorStream(1, 1000).lines(
                burst.frames
            )  # a sender of its own would take longer to start
            with socket.create_connection(daemon.address("floor")) as connection:
                connection.sendall(b"\n".join(lines) + b"\n")
            sent += burst.frames
        for stall in scenario.stalls:
            _sleep_until(began_s + stall.at_s)
            lock = sqlite3.connect(daemon.folder / "var" / "readings.db", isolation_level=None, timeout=30)
            lock.execute("BEGIN IMMEDIATE")
            _sleep_until(began_s + stall.at_s + stall.for_s)
            lock.close()
        sender.wait()
        until(lambda: daemon.books()["floor", "", "", "received"] == sent, "the last record")
        dropped = daemon.books()["floor", "", "", "dropped"]
        daemon.wait_rows(sent - dropped, db="readings.db")
    return sent, dropped


def measured(case: Case) -> Figures:
    """The figures of a daemon under a light load."""
    with running(case, Setting(case.buffer)) as daemon:
        sender = sending(daemon, 950 if case.step_s else 3000, 12_000 if case.step_s else 20_000)
        until(lambda: daemon.books()["floor", "main", "readings", "stored"] > 3000, "some records")
        figures = observed(daemon.folder / "var" / "control.sock", 4.0, None)
        sender.wait()
    return figures


def _sleep_until(mono_s: float) -> None:
    while (left_s := mono_s - time.monotonic()) > 0:
        time.sleep(left_s)


def compared(name: str, say: Callable[[str], None]) -> None:
    """Measure, predict, and live through one scenario with each setting."""
    case = CASES[name]
    figures = measured(case)
    found = predict(figures, case.scenario)
    first = found.suggestions[0]
    wanted = int(first.toml.split("=")[1].split()[0])
    whole = Setting(case.buffer, wanted) if "concurrency" in first.toml else Setting(wanted)
    half = Setting(max(1, whole.buffer // 2), 1) if whole.slots == 1 else Setting(case.buffer, wanted // 2)
    print(json.dumps({"case": name, "answer": found.sentence, "toml": first.toml}), file=sys.stderr)
    for words, setting in (("before", Setting(case.buffer)), ("suggestion", whole), ("half of it", half)):
        foretold = predict(setting.of(figures), case.scenario).lost
        sent, lost = lived(case, setting)
        shown = f"max_records = {setting.buffer:,}" + f", concurrency = {setting.slots}" * bool(case.step_s)
        say(f"| {name} | {words}: {shown} | {sent:,} | {foretold:,.0f} | {lost:,} |")


def main() -> None:
    """Print the table of the scenarios that the arguments name."""
    print("| scenario | setting | sent | lost, computed | lost |\n|---|---|---|---|---|")
    for name in sys.argv[1:] or CASES:
        compared(name, lambda row: print(row, flush=True))


if __name__ == "__main__":
    main()
