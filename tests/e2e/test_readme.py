"""The README's commands, typed as they stand there."""

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
STREAMD = f"{shlex.quote(sys.executable)} -m streamd"
BLOCKS = [
    re.sub(r"(?m)^    ", "", block).strip("\n")
    for block in re.findall(r"(?:^    .*\n|^\n(?=    ))+", README, flags=re.MULTILINE)
]


def block_with(text: str) -> str:
    """The one indented block that has this text."""
    (found,) = [block for block in BLOCKS if text in block]
    return found


def shell(command: str, folder: Path) -> str:
    done = subprocess.run(
        ["sh", "-c", command.replace("bin/streamd", STREAMD)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def test_the_first_minute(start: Callable[..., Any]) -> None:
    config = (ROOT / "config" / "streamd.toml").read_text().replace("127.0.0.1:9999", "127.0.0.1:0")
    daemon = start(f'{config}\n[admin]\nlisten = "none"\n')
    ports = {"udp": daemon.address("datagrams")[1], "tcp": daemon.address("lines")[1]}
    sends = [line for line in block_with("streamd send udp").splitlines() if line]
    assert len(sends) == 4
    for number, line in enumerate(sends, 1):
        shell(
            re.sub(r"(udp|tcp)://127\.0\.0\.1:9999", lambda m: f"{m[1]}://127.0.0.1:{ports[m[1]]}", line),
            daemon.folder,
        )
        daemon.wait_rows(number if number < len(sends) else 1003)
    query, _, shown = block_with("limit 3").partition("\n\n")
    rows = [line.split("\t") for line in shell(query.removeprefix("$ "), daemon.folder).splitlines()]
    table, _, second = shown.partition("\n\n")
    assert rows == [re.split(r" {2,}", line.strip()) for line in table.splitlines() if "-----" not in line]
    assert shell(second.removeprefix("$ "), daemon.folder).startswith("site\tcount(*)\tmean\nlab-a\t1000\t")
    daemon.stop()
    for line in block_with("received 1,002").splitlines():
        assert line in daemon.stderr.splitlines()


def test_the_real_configuration(tmp_path: Path, start: Callable[..., Any]) -> None:
    toml, python = (
        re.search(rf"(?ms)^```{kind}\n(.*?)^```", README)[1]  # type: ignore[index]
        for kind in ("toml", "python")
    )
    (tmp_path / "example").mkdir()
    (tmp_path / "example" / "streamd.toml").write_text(toml)
    (tmp_path / "example" / "steps.py").write_text(python)
    commands, _, shown = block_with("streamd try").partition("\n\n")
    check, trial = [line.removeprefix("$ ") for line in commands.splitlines()]
    assert block_with("streamd run --config example") == "$ bin/streamd run --config example/streamd.toml"
    assert "readings" in shell(f"{check} --offline", tmp_path)
    assert shell(trial, tmp_path).rstrip("\n") == shown
    (tmp_path / "steps.py").write_text(python)
    daemon = start(
        toml.replace("127.0.0.1:9999", "127.0.0.1:0").replace(
            "[sources", '[admin]\nlisten = "none"\n[sources', 1
        )
    )
    daemon.udp(
        b'{"ts":"2026-01-31T08:00:00Z","sensor":"s-1","value":21.5}',
        b'{"ts":"2026-01-31T08:00:00Z","sensor":"test","value":1}',
    )
    daemon.wait_rows(1, "readings", "readings.db")
    daemon.stop()
    assert daemon.query("SELECT sensor, value FROM readings", "readings.db") == [("s-1", 21.93)]
