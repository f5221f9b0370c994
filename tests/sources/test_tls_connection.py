import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from streamd import registry
from streamd.core.books import FrameBook
from streamd.core.contracts import SourceContext
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]
BYTES_THAT_ARE_NO_TEXT = "DER:30:05:82:03:61:ff:fe"
"""One DNS name, `a` and two bytes that are no UTF-8."""


def tcp(folder: Path, **tls: str) -> Tcp:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0", "tls": tls})
    framing = registry.load("framing", config.framing.type)

    def new_framer() -> Any:
        return framing(framing.Config(), config.max_frame, config.oversize)

    files = Tcp.read_files(config, folder)
    return Tcp(config, SourceContext("floor", FrameBook("floor"), new_framer, files=files))


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
    async with asyncio.timeout(10):
        assert await reader.read() == b""
    writer.close()
    await until(lambda: not source.connections)
    assert source.context.book.notes["tls_failed", "protocol"] == 1
    assert capture.payloads == []
    assert faults == []
    await source.stop()
