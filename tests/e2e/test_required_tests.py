"""With `[daemon] tests = "require"`, a start and a reload need tests that pass; `check` says so before."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from streamd.core.errors import EnvironmentFault
from streamd.reload import required_tests
from tests import preloaded

CONFIG = """
[daemon]
tests = "require"
[admin]
listen = "127.0.0.1:0"
[sources.floor]
type = "tcp"
listen = "127.0.0.1:0"
codec = "json"
[pipelines.main]
sources = ["floor"]
sinks = ["records"]
steps = [{ type = "set", fields = { warm = "value > 20" } }]
[sinks.records]
type = "sqlite"
columns = { value = "int", warm = "bool" }
[[tests]]
name = "warm above 20"
inputs = [{ source = "floor", records = [{ value = 20 }, { value = 21 }] }]
[tests.expect.sinks.records]
rows = [{ value = 20, warm = false }, { value = 21, warm = true }]
"""
WRONG = CONFIG.replace("value > 20", "value > 19")


def said(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return preloaded.run(words, folder)


def test_a_reload_is_refused_while_a_test_fails(start: Any, tmp_path: Path) -> None:
    daemon = start(CONFIG)
    daemon.tcp(b'{"value": 20}\n')
    daemon.wait_rows(1)

    daemon.config.write_text(WRONG)
    for words in (["reload", "--dry-run"], ["reload"]):
        done = said(tmp_path, *words, "streamd.toml")
        assert done.returncode == 2
        assert "1 of 1 test fails, and [daemon] tests requires them" in done.stderr
        assert "test 'warm above 20': sink records, row 1 differs; warm: expected false, got 1" in done.stderr
        assert "streamd.toml:21: " in done.stderr
    daemon.tcp(b'{"value": 20}\n')
    daemon.wait_rows(2)
    assert daemon.events("reload_failed")

    daemon.config.write_text(WRONG.replace("warm = false", "warm = true"))
    assert said(tmp_path, "reload", "streamd.toml").returncode == 0
    daemon.tcp(b'{"value": 20}\n')
    daemon.wait_rows(3)
    daemon.stop()
    daemon.assert_balanced()
    assert daemon.query("SELECT value, warm FROM records ORDER BY rowid") == [(20, 0), (20, 0), (20, 1)]


def test_a_start_is_refused_while_a_test_fails_and_check_says_it_before(tmp_path: Path) -> None:
    config = tmp_path / "streamd.toml"
    difference = "sink records, row 1 differs"

    config.write_text(WRONG)
    done = said(tmp_path, "check", "streamd.toml")
    assert (done.returncode, difference in done.stderr) == (1, True)
    done = said(tmp_path, "run", "streamd.toml")
    assert (done.returncode, difference in done.stderr) == (2, True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["streamd.toml"], "nothing is opened"

    config.write_text(WRONG.replace('"require"', '"ignore"'))
    assert said(tmp_path, "check", "--offline", "streamd.toml").returncode == 0
    done = said(tmp_path, "check", "--offline", "--tests", "streamd.toml")
    assert (done.returncode, difference in done.stderr) == (1, True)
    done = said(tmp_path, "check", "--offline", "--tests", "--json", "streamd.toml")
    document = json.loads(done.stdout)
    assert (document["ok"], document["tests"][0]["passed"]) == (False, False)

    for text, why in (
        (CONFIG.partition("[[tests]]")[0], "there is no test"),
        (CONFIG.replace("warm = true }", "warm = true, x = }"), "streamd.toml:21:"),
        (CONFIG.replace("rows =", "row ="), "tests[0].expect.sinks.records.row: unknown key"),
    ):
        config.write_text(text)
        for words in (["check", "--offline"], ["run"]):
            done = said(tmp_path, *words, "streamd.toml")
            assert (done.returncode, why in done.stderr) == (2, True), done.stderr


async def test_tests_that_take_too_long_are_ended(tmp_path: Path, monkeypatch: Any) -> None:
    """Also about `reload/required_tests.py`."""
    (tmp_path / "steps.py").write_text("import time\ndef step(record):\n    time.sleep(60)\n")
    step = '{ type = "python", function = "steps.py:step" }, '
    (tmp_path / "streamd.toml").write_text(CONFIG.replace("steps = [", f"steps = [{step}"))
    monkeypatch.setattr(required_tests, "TIMEOUT_S", 2.0)
    with pytest.raises(EnvironmentFault, match="took longer than 2 s"):
        await required_tests.require_tests(tmp_path / "streamd.toml")
