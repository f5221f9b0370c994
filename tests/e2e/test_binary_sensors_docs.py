"""The sender and the query of docs/how-to/binary-sensors.md, with the configuration that the page names."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.cli import main

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/how-to/binary-sensors.md").read_text()
CONFIG = (ROOT / "config/binary-sensors.toml").read_text()


def test_the_page_shows_what_is_stored(start: Callable[..., Any], capsys: pytest.CaptureFixture[str]) -> None:
    daemon = start(CONFIG.replace(":5520", ":0") + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    (sender,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for kind, source in (("SOCK_DGRAM", "radio"), ("create_connection", "gateway")):
        before, found, after = sender.partition(kind)
        assert found
        port = str(daemon.address(source)[1])
        sender = before + found + after.replace("5520", port, 1)
    exec(compile(sender, "sender.py", "exec"), {})  # noqa: S102 - the page's code
    daemon.wait_rows(5, "readings", "readings.db")
    daemon.stop()
    assert daemon.reasons("rejected") == {"struct:nan": 1}
    (sql,) = re.findall(r'query --db var/readings.db "(.*?)"', PAGE)
    capsys.readouterr()
    assert main(["query", "--db", str(daemon.folder / "var" / "readings.db"), sql]) == 0
    shown = re.findall(r"^ {4}(ts  .*\n)(?: {4}.*\n)((?: {4}.*\n)+)", PAGE, re.MULTILINE)[0]
    wanted = [line.split() for line in "".join(shown).splitlines()]
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == wanted
    layouts = re.findall(r'layout = "(<Q.*?)"', PAGE + CONFIG)
    assert len(set(layouts)) == 1, "the page and the file have one layout"


def test_the_scaled_readings_of_the_page_are_calculated(start: Callable[..., Any]) -> None:
    (config,) = re.findall(r"```toml\n((?:(?!```).)*centidegrees.*?)```", PAGE, re.DOTALL)
    daemon = start(config.replace(":5520", ":0") + '\n[admin]\nlisten = "127.0.0.1:0"\n')
    daemon.udp(b"\x66\x08", source="radio")
    daemon.wait_rows(1, "readings", "readings.db")
    daemon.stop()
    assert daemon.query("SELECT value FROM readings", "readings.db") == [(21.5,)]
