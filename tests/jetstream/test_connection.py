"""Also about `jetstream/settings.py`, `jetstream/login.py`, `jetstream/streams.py`."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nats_server import MISSING, NatsServer

if MISSING:
    pytest.skip(MISSING, allow_module_level=True)

from streamd.jetstream.connection import Connector, NatsConnection
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.streams import covers
from streamd.jetstream.trouble import NatsRefused, NatsTrouble


@pytest.fixture(scope="module")
def authority(new_authority: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = new_authority(tmp_path_factory.mktemp("certificates"))
    made.issue("server")
    made.issue("client")
    made.other = new_authority(tmp_path_factory.mktemp("others"), "another CA")
    return made


@pytest.fixture(scope="module")
def secured(authority: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    """A server that requires TLS and a certificate."""
    folder = authority.folder
    server = NatsServer(
        tmp_path_factory.mktemp("secured"),
        f'tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key",'
        f' ca_file: "{authority.ca}", verify: true }}',
    )
    yield server
    server.stop()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    server = NatsServer(tmp_path_factory.mktemp("plain"))
    yield server
    server.stop()


async def connected(server: NatsServer, **options: Any) -> NatsConnection:
    settings = {"servers": [server.address], "stream": "s"} | options
    connection = await Connector(NatsSettings.model_validate(settings), Path("/"), "test").connect()
    await connection.close()
    return connection


def tls_of(authority: Any, *, ca: Path | None = None, own: bool = True, **more: Any) -> dict[str, Any]:
    pair = {"cert": str(authority.folder / "client.pem"), "key": str(authority.folder / "client.key")}
    return {"tls": {"ca": str(ca or authority.ca), **(pair if own else {}), **more}}


async def test_tls_with_a_certificate_of_its_own(secured: NatsServer, authority: Any) -> None:
    connection = await connected(secured, **tls_of(authority))
    assert connection.max_payload == 2**20


async def test_another_authority_is_not_trusted(secured: NatsServer, authority: Any) -> None:
    with pytest.raises(NatsRefused, match="the peer's certificate is not trusted"):
        await connected(secured, **tls_of(authority, ca=authority.other.ca))


async def test_another_name_is_not_trusted(secured: NatsServer, authority: Any) -> None:
    with pytest.raises(NatsRefused, match="the peer's certificate is not trusted"):
        await connected(secured, **tls_of(authority, server_name="elsewhere"))


async def test_without_a_certificate_the_server_ends_the_handshake_and_the_options_are_named(
    secured: NatsServer, authority: Any
) -> None:
    with pytest.raises(NatsTrouble, match=r"tls\.cert"):
        await connected(secured, **tls_of(authority, own=False))


async def test_a_server_that_requires_tls_says_so(secured: NatsServer) -> None:
    with pytest.raises(NatsRefused, match=r"the server requires TLS: name the authority .* tls\.ca"):
        await connected(secured)


async def test_nothing_is_sent_in_plain_text_if_tls_is_configured(plain: NatsServer, authority: Any) -> None:
    with pytest.raises(NatsRefused, match="the server does not use TLS"):
        await connected(plain, **tls_of(authority))


async def test_a_lost_connection_fails_what_waits_at_once(tmp_path: Path) -> None:
    server = NatsServer(tmp_path)
    try:
        settings = NatsSettings.model_validate({"servers": [server.address], "stream": "s"})
        connection = await Connector(settings, tmp_path, "test").connect()
        await connection.subscribe(_ignore)
        server.stop()
        with pytest.raises(NatsTrouble, match="disconnected"):
            await connection.request("nobody", b"", timeout_s=60.0)
        await connection.ended()
        assert connection.lost is not None
        await connection.close()
    finally:
        server.stop()


async def _ignore(message: Any) -> None:
    del message


@pytest.mark.parametrize(
    ("pattern", "subject", "is_covered"),
    [
        ("a", "a", True),
        ("a", "b", False),
        ("a.*", "a.b", True),
        ("a.*", "a.*", True),
        ("a.b", "a.*", False),
        ("a.*", "a", False),
        ("a.*", "a.b.c", False),
        ("a.>", "a.b.c", True),
        ("a.>", "a", False),
        (">", "a", True),
        ("a.*", "a.>", False),
        ("a.>", "a.>", True),
        ("*", "*", True),
    ],
)
def test_whether_a_stream_takes_a_subject(pattern: str, subject: str, is_covered: bool) -> None:
    assert covers(pattern, subject) is is_covered
