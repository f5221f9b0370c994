"""A disk that is really full: a small tmpfs, and a limit on the size of files."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import asyncio, os, sys
from pathlib import Path
from streamd.core.batch import Batch
from streamd.core.shared import Shared
from streamd.core.contracts import SinkContext
from streamd.core.errors import SinkError
from streamd.sinks.sqlite import Sqlite
from streamd.sqlite.databases import Databases

folder, ballast, expected = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]


async def make_room():
    ballast.unlink()
    if expected == "io":
        import resource
        _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))


async def main():
    columns = {"a": "int", "b": "str"}
    config = Sqlite.Config(type="sqlite", path="data.db", retention={"min_free": "0B"}, columns=columns)
    sink = Sqlite(config, SinkContext("s", {}, folder, None, Shared(Databases())))
    await sink.open()
    stored, faults = 0, 0
    for n in range(40):
        batch = Batch.of([{"a": n * 2000 + i, "b": "x" * 50} for i in range(2000)], "lab", "p", "p", 0.0)
        while True:
            try:
                await sink.write([batch])
                break
            except SinkError as error:
                assert error.reason == expected, error
                faults += 1
                if faults == 3:
                    await make_room()
        stored += 2000
        if faults:
            break
    assert faults == 3, faults
    await sink.close()
    import sqlite3
    connection = sqlite3.connect(folder / "data.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    count, lowest, highest = connection.execute("SELECT count(*), min(a), max(a) FROM records").fetchone()
    assert (count, lowest, highest) == (stored, 0, stored - 1), (count, lowest, highest, stored)
    print("stored", stored)

asyncio.run(main())
"""


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "stored" in done.stdout


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root to mount a tmpfs"
)
def test_a_full_disk_loses_nothing_and_the_sink_goes_on_when_there_is_room(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    disk = tmp_path / "disk"
    disk.mkdir()
    script = (
        f"mount -t tmpfs -o size=3m tmpfs {disk} && head -c 1000000 /dev/zero > {disk}/ballast"
        f" && exec {sys.executable} {program} {disk} {disk}/ballast disk_full"
    )
    _run(["unshare", "-m", "sh", "-c", script])


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
def test_a_limit_on_file_size_loses_nothing_and_the_sink_goes_on_when_it_is_lifted(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    ballast = tmp_path / "ballast"
    ballast.touch()
    _run(
        [
            "prlimit",
            "--fsize=1000000:unlimited",
            sys.executable,
            str(program),
            str(tmp_path),
            str(ballast),
            "io",
        ]
    )
