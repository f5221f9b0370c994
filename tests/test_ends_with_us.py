import os
import select
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ends_with_us import ends_with_us
from tests.nats_server import needs_server
from tests.postgresql_server import needs_postgresql

ROOT = Path(__file__).parent.parent
SLEEPS = """
import subprocess
server = subprocess.Popen(["sleep", "600"])
print(server.pid, flush=True)
"""
NATS = """
import tempfile
from pathlib import Path
from tests.nats_server import NatsServer
print(NatsServer(Path(tempfile.mkdtemp(dir=".")))._process.pid, flush=True)
"""
POSTGRESQL = """
from tests.postgresql_server import PostgresqlServer
server = PostgresqlServer()
print(server.data.joinpath("postmaster.pid").read_text().split()[0], flush=True)
"""


@pytest.mark.parametrize(
    "starts",
    [
        SLEEPS,
        pytest.param(NATS, marks=needs_server, id="nats"),
        pytest.param(POSTGRESQL, marks=needs_postgresql, id="postgresql"),
    ],
)
def test_a_server_ends_with_tests_that_are_killed(starts: str, tmp_path: Path) -> None:
    program = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    program += (
        f"from tests.ends_with_us import all_end_with_us; all_end_with_us()\n{starts}\nsys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as tests:
        assert tests.stdout is not None
        server = os.pidfd_open(int(tests.stdout.readline()))
        assert select.select([server], [], [], 0) == ([], [], [])
        tests.kill()
    assert select.select([server], [], [], 60) == ([server], [], [])
    os.close(server)


def test_a_process_that_has_ended_is_no_matter() -> None:
    with subprocess.Popen(["true"]) as process:
        ends_with_us(process.pid)
    ends_with_us(process.pid)
