"""Also about `reload/own_command.py`."""

import asyncio
from pathlib import Path

import pytest

from streamd.config import load
from streamd.core.errors import ConfigError, EnvironmentFault
from streamd.reload.asked_work import AskedWork
from streamd.reload.own_command import run_command

CONFIG = """
[admin]
listen = "none"
[sources.lab]
type = "udp"
listen = "127.0.0.1:0"
codec = "json"
[sinks.out]
type = "sqlite"
path = "out.db"
[pipelines.main]
sources = ["lab"]
sinks = ["out"]
"""
TESTS = """
[[tests]]
name = "one"
inputs = [{ source = "lab", text = '{"a": 1}' }]
[tests.expect.sinks.out]
count = 1
[[tests]]
name = "two"
inputs = [{ source = "lab", text = '{"a": 1}' }]
[tests.expect.sinks.out]
count = 2
"""


def asked(folder: Path, text: str, stopping: asyncio.Event | None = None) -> AskedWork:
    path = folder / "c.toml"
    path.write_text(f'[daemon]\nstate_dir = "{folder}"\n{text}')
    loaded = load(path)
    return AskedWork(lambda: loaded, stopping or asyncio.Event())


async def test_the_tests_of_the_file_run_one_at_a_time_in_another_process(tmp_path: Path) -> None:
    work = asked(tmp_path, CONFIG + TESTS)
    running = asyncio.create_task(work.tests())
    await asyncio.sleep(0)
    with pytest.raises(EnvironmentFault, match="run already: try again"):
        await work.replay([1])
    found = await running
    assert (found["passed"], found["failed"]) == (1, 1)
    passed, failed, why = found["report"].splitlines()
    assert (passed, failed) == ("passed  one", "FAILED  two")
    assert "c.toml:" in why
    assert not (tmp_path / "out.db").exists()


@pytest.mark.parametrize(
    ("text", "why"), [("", "there is no test: write"), ("[[tests]]\nname = 3\n", "tests")]
)
async def test_wrong_tests_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        await asked(tmp_path, CONFIG + text).tests()


async def test_a_replay_without_its_letters_says_so(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentFault, match=r"dead-letters\.db"):
        await asked(tmp_path, CONFIG).replay([1])


async def test_no_replay_prints_records_where_nobody_sees_them(tmp_path: Path) -> None:
    text = CONFIG.replace('type = "sqlite"\npath = "out.db"', 'type = "stdout"')
    with pytest.raises(EnvironmentFault, match="type `streamd dead-letters replay 7 8`"):
        await asked(tmp_path, text).replay([7, 8])


async def test_a_command_ends_with_the_daemon_and_with_its_caller(tmp_path: Path) -> None:
    stopping = asyncio.Event()
    stopping.set()
    with pytest.raises(EnvironmentFault, match="streamd is stopping"):
        await asked(tmp_path, CONFIG + TESTS, stopping).tests()
    with pytest.raises(EnvironmentFault, match=r"the tests took longer than 0\.01 s"):
        await run_command(["run"], 0.01, what="the tests")
