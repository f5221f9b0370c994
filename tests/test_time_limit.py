"""A test that hangs ends the run red, in a limited time, and says where it hangs."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HANGING = """
import asyncio

async def test_hangs():
    await asyncio.Event().wait()
"""


def test_a_test_that_idles_in_uvloop_is_ended_with_the_line_it_awaits(tmp_path: Path) -> None:
    path = tmp_path / "test_hanging.py"
    path.write_text(HANGING)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-c",
        str(ROOT / "pyproject.toml"),
        "-p",
        "conftest",
        str(path),
    ]
    environ = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    done = subprocess.run(
        [*command, "-o", "timeout=2"],
        cwd=tmp_path,
        env=environ,
        capture_output=True,
        check=False,
        timeout=60,
        text=True,
    )
    assert done.returncode == 1, done
    assert "test_hangs takes too long" in done.stdout + done.stderr
    assert "await asyncio.Event().wait()" in done.stdout + done.stderr
