import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.preloaded import Preloaded, Process, run

Start = Callable[..., Process]


@pytest.fixture(scope="module")
def preloaded() -> Iterator[Preloaded]:
    made = Preloaded()
    yield made
    assert made.end() == 0


@pytest.fixture
def start(preloaded: Preloaded, tmp_path: Path) -> Start:
    def begin(*arguments: str, **env: str) -> Process:
        with (tmp_path / "stderr").open("wb") as stderr:
            return preloaded.start(arguments, tmp_path, env, stderr)

    return begin


def test_a_copy_has_its_own_arguments_folder_variables_and_standard_error(
    start: Start, tmp_path: Path
) -> None:
    assert start("check", "--config", "named.toml").wait(30) == 2
    assert (tmp_path / "stderr").read_text() == "named.toml: cannot be read: No such file or directory\n"
    (tmp_path / "by_variable.toml").write_text("a = 1")
    assert start("check", STREAMD_CONFIG="by_variable.toml").wait(30) == 2
    assert (tmp_path / "stderr").read_text().startswith("by_variable.toml:1: a: unknown")


def test_a_copy_ends_by_a_signal_and_the_next_one_can_be_made(start: Start, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(
        '[sources.s]\ntype = "file"\npath = "log"\n[pipelines.p]\nsources = ["s"]\nsinks = ["o"]\n'
        '[sinks.o]\ntype = "file"\npath = "out"\n'
    )
    first = start("run", "--config", "c.toml")
    with pytest.raises(subprocess.TimeoutExpired):
        first.wait(0.05)
    first.kill()
    assert first.wait(30) == -signal.SIGKILL
    first.kill()
    assert start("check", "--config", "c.toml").wait(30) == 0


def test_a_command_returns_its_code_and_both_outputs(tmp_path: Path) -> None:
    done = run(["--version"], tmp_path)
    assert (done.returncode, done.stdout.startswith("streamd "), done.stderr) == (0, True, "")
    done = run(["nothing"], tmp_path)
    assert (done.returncode, done.stdout, done.stderr.startswith("usage: ")) == (2, "", True)


def test_variables_that_only_a_start_of_python_reads_need_one() -> None:
    assert Preloaded.takes({"STATE_DIRECTORY": "/x"})
    assert not any(Preloaded.takes({name: "1"}) for name in ("PYTHONUTF8", "LC_ALL", "LANG", "LD_PRELOAD"))
