import asyncio
import fcntl
import ssl
import sys
import termios
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]
BYTES_THAT_ARE_NO_TEXT = "DER:30:05:82:03:61:ff:fe"
"""One DNS name, `a` and two bytes that are no UTF-8."""


def tcp(folder: Path, **tls: str) -> Tcp:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0", "tls": tls})
    files = Tcp.read_files(config, folder)
    return Tcp(config, SourceContext("floor", Counters(), framers(config.cut_by), files=files))


def kernel_bytes(connection: Any) -> int:
    """What has come for the connection and was not read yet."""
    count = bytearray(4)
    fcntl.ioctl(connection._transport.get_extra_info("socket").fileno(), termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


async def test_a_certificate_with_a_name_that_is_no_text_is_refused_with_a_reason(
    capture: Any, until: Until, new_authority: Any, tmp_path: Path
) -> None:
    authority = new_authority(tmp_path)
    authority.issue("server")
    cert, key = authority.issue("client", BYTES_THAT_ARE_NO_TEXT)
    source = tcp(tmp_path, cert="server.pem", key="server.key", client_ca="ca.pem")
    await source.open(capture)
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, fault: faults.append(fault))
    context = ssl.create_default_context(cafile=authority.ca)
    context.load_cert_chain(cert, key)
    host, port = source.address
    reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="localhost")
    writer.write(b"never\n")
    async with asyncio.timeout(30):
        assert await reader.read() == b""
    writer.close()
    await until(lambda: not source.connections)
    assert source.context.counters["tls_failed", "protocol"] == 1
    assert capture.payloads == []
    assert faults == []
    await source.stop()


@pytest.mark.parametrize("cut", [3, 5, 4000])
async def test_what_came_of_an_unfinished_record_is_unread_at_the_stop(
    capture: Any, until: Until, new_authority: Any, tmp_path: Path, cut: int
) -> None:
    authority = new_authority(tmp_path)
    authority.issue("server")
    source = tcp(tmp_path, cert="server.pem", key="server.key")
    await source.open(capture)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=authority.ca)
    session = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    reader, writer = await asyncio.open_connection(*source.address)
    done = False
    while not done:
        try:
            session.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            writer.write(outgoing.read())
            incoming.write(await reader.read(65536))
    session.write(b"first\n")
    writer.write(outgoing.read())
    await until(lambda: capture.payloads == [b"first"])
    session.write(b"whole\n" * 1000)
    sent = outgoing.read()[:cut]
    for at in range(0, cut, 999):
        writer.write(sent[at : at + 999])
        await asyncio.sleep(0)
    (connection,) = source.connections
    await until(lambda: connection.unread_bytes == cut)
    await until(lambda: kernel_bytes(connection) == 0)
    await source.stop()
    assert source.context.counters["unread_bytes", ""] == cut
    assert capture.payloads == [b"first"]
    writer.close()
