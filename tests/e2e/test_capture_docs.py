"""The how-to guide of captures does what it says."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

TEXT = (Path(__file__).parents[2] / "docs/how-to/capture.md").read_text()
BLOCKS: dict[str, list[str]] = {}
for _kind, _text in re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL):
    BLOCKS.setdefault(_kind, []).append(_text)


def test_the_example_finds_the_alarm_and_shows_the_minutes_around_it(
    start: Callable[..., Any], tmp_path: Path, wait_until: Callable[..., Any]
) -> None:
    subprocess.run([sys.executable, "-c", BLOCKS["python"][0]], cwd=tmp_path, check=True)
    daemon = start('[ledger]\ninterval = "100ms"\n[admin]\nlisten = "none"\n' + BLOCKS["toml"][0])
    wait_until(lambda: daemon.books()["lab", "", "", "decoded"] == 2400, "the last reading")
    daemon.stop()
    query = [sys.executable, "-m", "streamd", "query", "--config", str(daemon.config), "--format", "table"]
    shown = [
        subprocess.run([*query, sql], cwd=tmp_path, capture_output=True, text=True, check=True).stdout
        for sql in BLOCKS["sql"]
    ]
    assert shown == BLOCKS["text"]
    ((alarms,),) = daemon.query("SELECT count(*) FROM alarms", "lab.db")
    assert re.search(rf"\b{alarms}\b", shown[0])
