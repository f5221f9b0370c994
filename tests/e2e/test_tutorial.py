"""The tutorial's files and commands, in the order in which its reader types them."""

import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "tutorial" / "chart.md"
TEXT = PAGE.read_text()
STREAMD = f"{shlex.quote(sys.executable)} -m streamd"
TOML, CPU, CHART = re.findall(r"^```(?:toml|python)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    re.sub(r"(?m)^    (?:\$ )?", "", block)
    for block in re.findall(r"^    \$ .*\n(?:        .*\n)*", TEXT, re.MULTILINE)
]


def command_with(text: str) -> str:
    """The one command of the page that has this text."""
    (found,) = [command for command in COMMANDS if text in command]
    return found


def shell(command: str, folder: Path, port: int) -> str:
    """Output of a command of the page, on the configuration and port of the daemon under test."""
    changes = {"bin/streamd": STREAMD, "load/streamd.toml": "streamd.toml", ":9999": f":{port}"}
    for old, new in changes.items():
        command = command.replace(old, new)
    done = subprocess.run(
        ["sh", "-c", command.replace("python3 ", f"{shlex.quote(sys.executable)} ")],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def shape(text: str) -> str:
    """A chart or the books without its measured numbers."""
    text = re.sub(r'points="[^"]*"', "points", text)
    return re.sub(r"\d+", "N", re.sub(r'y="[^"]*" fill', "y fill", text))


def test_the_tutorial(tmp_path: Path, start: Callable[..., Any], wait_until: Callable[..., Any]) -> None:
    (tmp_path / "load").mkdir()
    daemon = start(f'{TOML.replace(":9999", ":0")}\n[admin]\nlisten = "none"\n')
    _, port = daemon.address("cpu")
    assert shell(f"{command_with('check').strip()} --offline", tmp_path, port).endswith(
        "the configuration is good\n"
    )

    (tmp_path / "load" / "cpu.py").write_text(
        CPU.replace("9999", str(port)).replace("sleep(1)", "sleep(0.1)")
    )
    (tmp_path / "load" / "chart.py").write_text(CHART)
    assert command_with("cpu.py").strip() == "python3 load/cpu.py &"
    sender = subprocess.Popen([sys.executable, str(tmp_path / "load" / "cpu.py")])
    try:
        daemon.wait_rows(5, "load", "load.db")
    finally:
        sender.send_signal(signal.SIGTERM)
        sender.wait()
    newest = shell(command_with("limit 3"), tmp_path, port).splitlines()
    assert newest[0].split("\t") == re.search(r"^    (ts .*)$", TEXT, re.MULTILINE)[1].split()  # type: ignore[index]
    assert len(newest) == 4
    assert all(0 <= float(number) <= 100 for row in newest[1:] for number in row.split("\t")[1:3])
    header, sums = shell(command_with("count(*)"), tmp_path, port).splitlines()
    assert header.split("\t") == ["seconds", "user", "system", "highest"]
    assert int(sums.split("\t")[0]) >= 5
    assert shell(command_with("chart.svg"), tmp_path, port) == ""
    drawn = (tmp_path / "load" / "chart.svg").read_text()
    assert shape(drawn) == shape((PAGE.parent / "chart.svg").read_text())
    assert all(len(points.split()) >= 5 for points in re.findall(r'points="([^"]*)"', drawn))

    shell(command_with("streamd send"), tmp_path, port)
    wait_until(lambda: daemon.dead_letters("cpu"), "the dead letter")
    assert "timestamp:syntax" in shell(command_with("dead-letters list"), tmp_path, port)
    daemon.stop()
    books = re.search(r"(?:^    .*\n)+(?=\nEvery datagram)", TEXT, re.MULTILINE)
    assert books
    for line in books[0].splitlines():
        assert shape(line.strip()) in shape(daemon.stderr).splitlines()
