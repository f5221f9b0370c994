"""Another host, as a network namespace with a cable to this one, tries to reach the admin address."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from streamd.admin.server import AdminServer

OURS, THEIRS = "198.18.7.1", "198.18.7.2"
TOKEN = "0123456789abcdef0123456789abcdef"  # noqa: S105 - of a test
ASK = """
import http.client, sys
host, port, path, *headers = sys.argv[1:]
connection = http.client.HTTPConnection(host, int(port), timeout=30)
try:
    connection.request("GET", path, headers=dict(header.split(": ", 1) for header in headers))
    print(connection.getresponse().status)
except OSError as error:
    print(type(error).__name__)
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to make a network namespace")


def ip(*words: str, inside: int | None = None) -> None:
    enter = ["nsenter", f"--net=/proc/{inside}/ns/net"] if inside else []
    subprocess.run([*enter, "ip", *words], check=True, capture_output=True, timeout=10)


@pytest.fixture
def outside() -> Iterator[int]:
    """The id of a process on the other host."""
    keeper = subprocess.Popen(["unshare", "-n", "sh", "-c", "echo; exec sleep 60"], stdout=subprocess.PIPE)
    assert keeper.stdout is not None
    keeper.stdout.readline()
    name = f"sd{keeper.pid % 100000}"
    try:
        ip("link", "add", name, "type", "veth", "peer", "name", "out0", "netns", str(keeper.pid))
        ip("address", "add", f"{OURS}/30", "dev", name)
        ip("link", "set", name, "up")
        ip("address", "add", f"{THEIRS}/30", "dev", "out0", inside=keeper.pid)
        ip("link", "set", "out0", "up", inside=keeper.pid)
        ip("link", "set", "lo", "up", inside=keeper.pid)
        yield keeper.pid
    except (subprocess.CalledProcessError, FileNotFoundError) as error:
        pytest.skip(f"this host makes no virtual cable: {error}")
    finally:
        with suppress(subprocess.CalledProcessError, FileNotFoundError):
            ip("link", "delete", name)
        keeper.kill()
        keeper.wait()
        keeper.stdout.close()


async def ask(outside: int, host: str, port: int, path: str, *headers: str) -> str:
    words = ["nsenter", f"--net=/proc/{outside}/ns/net", sys.executable, "-c", ASK, host, str(port), path]
    asking = await asyncio.create_subprocess_exec(*words, *headers, stdout=asyncio.subprocess.PIPE)
    return (await asking.communicate())[0].decode().strip()


async def test_another_host_does_not_reach_the_default_address(
    make_server: Callable[..., AdminServer], outside: int
) -> None:
    server = make_server()
    await server.open()
    try:
        port = server.listening[0].port
        assert await ask(outside, OURS, port, "/healthz") == "ConnectionRefusedError"
        assert await ask(outside, "127.0.0.1", port, "/healthz") == "ConnectionRefusedError"  # its own
        assert server.refused == {}
    finally:
        await server.close()


async def test_another_host_gets_no_numbers_and_no_data_without_the_token(
    make_server: Callable[..., AdminServer], outside: int, tmp_path: Path
) -> None:
    (tmp_path / "page.token").write_text(TOKEN)
    (tmp_path / "page.token").chmod(0o600)
    server = make_server(listen="0.0.0.0:0", token="page.token")  # noqa: S106 - the name of a file
    await server.open()
    try:
        port = server.listening[0].port
        assert await ask(outside, OURS, port, "/healthz") == "200"
        for path in ("/status", "/metrics", "/query?sql=select%201", "/configuration"):
            assert await ask(outside, OURS, port, path) == "401"
        assert await ask(outside, OURS, port, "/status", f"Authorization: Bearer {TOKEN}") == "200"
        right = f"Authorization: Bearer {TOKEN}"
        assert await ask(outside, OURS, port, "/status", right, "Host: evil.example") == "421"
        assert await ask(outside, OURS, port, "/status", right, "Origin: http://evil.example") == "403"
        assert server.refused == {"token": 4, "host": 1, "origin": 1}
    finally:
        await server.close()


async def test_another_host_cannot_hold_the_address_up_with_slow_streams(
    make_server: Callable[..., AdminServer], outside: int, tmp_path: Path
) -> None:
    (tmp_path / "page.token").write_text(TOKEN)
    (tmp_path / "page.token").chmod(0o600)
    server = make_server(listen="0.0.0.0:0", token="page.token")  # noqa: S106 - the name of a file
    await server.open()
    opened = []
    try:
        port = server.listening[0].port
        right = f"Authorization: Bearer {TOKEN}"
        for _ in range(20):  # more than there may be streams, and none of them reads
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(f"GET /events HTTP/1.1\r\nHost: localhost\r\n{right}\r\n\r\n".encode())
            opened.append((reader, writer))
        async with asyncio.timeout(20):
            while server.refused["streams"] < 4:
                await asyncio.sleep(0.01)
        assert await ask(outside, OURS, port, "/status", right) == "200"
        assert await ask(outside, OURS, port, "/healthz") == "200"
        assert server.refused == {"streams": 4}
    finally:
        for _, writer in opened:
            writer.close()
        await server.close()
