"""TLS of listeners, and `net/tls_files.py`, which loads their files."""

import asyncio
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from streamd.components import framers
from streamd.core.contracts import SourceContext
from streamd.core.counters import Counters
from streamd.core.credential import MissingCredential
from streamd.core.errors import EnvironmentFault
from streamd.core.peer import Peer
from streamd.net.certificate import names_in, normal
from streamd.net.listener_tls import DAY_S, ListenerTls, ListenerTlsSettings
from streamd.sources.tcp import Tcp

Until = Callable[[Callable[[], bool]], Awaitable[None]]
SERVER = {"cert": "server.pem", "key": "server.key"}
MUTUAL = {**SERVER, "client_ca": "ca.pem"}


@pytest.fixture(scope="module")
def authority(new_authority: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    made = new_authority(tmp_path_factory.mktemp("certificates"))
    made.issue("server")
    made.issue("client", "DNS:Sensor-1.example,URI:spiffe://lab/1,IP:10.0.0.7")
    return made


def tls(folder: Path, **options: Any) -> ListenerTls:
    found = ListenerTls.read(ListenerTlsSettings.model_validate(options), folder)
    assert found is not None
    return found


def tcp(folder: Path, tls: dict[str, Any], **options: Any) -> Tcp:
    config = Tcp.Config.model_validate({"type": "tcp", "listen": "127.0.0.1:0", "tls": tls} | options)
    files = Tcp.read_files(config, folder)
    return Tcp(config, SourceContext("floor", Counters(), framers(config.cut_by), files=files))


def client(authority: Any, name: str | None = None, **options: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.ca)
    if name is not None:
        context.load_cert_chain(authority.folder / f"{name}.pem", authority.folder / f"{name}.key")
    for key, value in options.items():
        setattr(context, key, value)
    return context


async def connect(source: Tcp, context: ssl.SSLContext) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = source.address
    return await asyncio.open_connection(host, port, ssl=context, server_hostname="localhost")


async def refused(source: Tcp, context: ssl.SSLContext) -> None:
    """What was written is not read, and the connection ends with or without a word."""
    async with asyncio.timeout(30):
        try:
            reader, writer = await connect(source, context)
            writer.write(b"never\n")
            assert await reader.read() == b""
            writer.close()
        except OSError:
            pass


def failures(source: Tcp) -> dict[str, int]:
    notes = source.context.counters.items()
    return {reason: n for (counter, reason), n in notes if counter == "tls_failed"}


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_frames_come_out_of_tls_however_they_were_written(
    capture: Any, until: Until, authority: Any, version: ssl.TLSVersion
) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    reader, writer = await connect(source, client(authority, maximum_version=version))
    assert writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
    writer.write(b"a\nhalf")
    await until(lambda: capture.payloads == [b"a"])
    writer.write(b" a line\n" + b"x" * 60_000 + b"\n" + b"y\n" * 100_000)
    await until(lambda: len(capture.payloads) == 100_003)
    assert capture.payloads[1:4] == [b"half a line", b"x" * 60_000, b"y"]
    host, port = writer.get_extra_info("sockname")
    assert set(capture.peers) == {f"{host}:{port}"}
    writer.write(b"rest")
    writer.close()
    await until(lambda: not source.connections)
    assert capture.payloads[-1] == b"rest"
    assert source.context.counters["unterminated", ""] == 1
    assert failures(source) == {}
    assert reader is not None
    await source.stop()


async def test_a_session_that_is_ended_in_order_is_answered_in_order(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)

    def send() -> None:
        with (
            socket.create_connection(source.address, timeout=30) as sock,
            client(authority).wrap_socket(sock, server_hostname="localhost") as secured,
        ):
            secured.sendall(b"a\nb")
            secured.unwrap().close()

    await asyncio.to_thread(send)
    await until(lambda: capture.payloads == [b"a", b"b"])
    await until(lambda: not source.connections)
    assert failures(source) == {}
    await source.stop()


async def test_a_full_buffer_stops_reading_and_nothing_decrypted_waits(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    _, writer = await connect(source, client(authority))
    await until(lambda: any(not c._handshaking for c in source.connections))  # type: ignore[attr-defined]
    capture.accepting = False
    writer.write(b"first\n")
    await until(lambda: source.paused)
    (connection,) = source.connections
    assert connection._transport is not None
    assert not connection._transport.is_reading()
    writer.write(b"x" * 9 + b"\n" + b"y\n" * 2_000_000)
    await until(lambda: connection.unread_bytes > 10_000)
    assert capture.payloads == [b"first"]
    assert connection._session.pending() == 0  # type: ignore[attr-defined]
    late = asyncio.create_task(connect(source, client(authority)))  # a handshake goes on meanwhile
    _, other = await asyncio.wait_for(late, 10)
    capture.accepting = True
    capture.resume()
    await until(lambda: len(capture.payloads) == 2_000_002)
    writer.close()
    other.close()
    await source.stop()


async def test_only_a_certificate_of_the_clients_authority_gets_in(
    capture: Any, until: Until, authority: Any, new_authority: Any, tmp_path: Path
) -> None:
    stranger = new_authority(tmp_path, "somebody else's CA")
    stranger.issue("stranger")
    authority.issue("expired", days=-1)
    source = tcp(authority.folder, MUTUAL)
    await source.open(capture)
    await refused(source, client(authority))
    context = client(authority)
    context.load_cert_chain(tmp_path / "stranger.pem", tmp_path / "stranger.key")
    await refused(source, context)
    await refused(source, client(authority, "expired"))
    await until(lambda: sum(failures(source).values()) == 3)
    assert failures(source) == {"no_certificate": 1, "untrusted": 1, "expired": 1}
    _, writer = await connect(source, client(authority, "client"))
    writer.write(b"mine\n")
    await until(lambda: capture.payloads == [b"mine"])
    host, port = writer.get_extra_info("sockname")
    assert capture.peers == [f"{host}:{port} Sensor-1.example"]
    writer.close()
    await source.stop()


@pytest.mark.parametrize(
    ("allowed", "shown"),
    [
        ("sensor-1.EXAMPLE", "Sensor-1.example"), ("spiffe://lab/1", "spiffe://lab/1"),
        ("10.0.0.7", "10.0.0.7"), ("client", "client"), ("spiffe://lab/2", None), ("example", None),
    ],
)  # fmt: skip
async def test_only_allowed_names_get_in(
    capture: Any, until: Until, authority: Any, allowed: str, shown: str | None
) -> None:
    source = tcp(authority.folder, {**MUTUAL, "allow_names": ["another", allowed]})
    await source.open(capture)
    if shown is None:
        await refused(source, client(authority, "client"))
        await until(lambda: failures(source) == {"name_not_allowed": 1})
        await until(lambda: not source.connections)
        assert capture.payloads == []
    else:
        _, writer = await connect(source, client(authority, "client"))
        writer.write(b"mine\n")
        await until(lambda: capture.payloads == [b"mine"])
        assert capture.peers[0].partition(" ")[2] == shown
        writer.close()
    await source.stop()


async def test_old_versions_and_what_is_no_tls_are_told_apart(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, {**SERVER, "min_version": "1.3"})
    await source.open(capture)
    await refused(source, client(authority, maximum_version=ssl.TLSVersion.TLSv1_2))
    await until(lambda: failures(source) == {"version": 1})

    def distrust() -> None:
        with socket.create_connection(source.address, timeout=30) as sock, pytest.raises(ssl.SSLError):
            ssl.create_default_context().wrap_socket(sock, server_hostname="localhost")

    await asyncio.to_thread(distrust)
    await until(lambda: failures(source) == {"version": 1, "refused_by_peer": 1})
    for sent, reason in (
        (b"<13>plain text\n", "not_tls"), (b"GET / HTTP/1.1\r\n\r\n", "not_tls"), (b"\0", "not_tls"),
        (b"\x16\3\1\0\x05hello", "protocol"), (b"\x16\3\1\xff\xff" + b"x" * 70_000, "protocol"),
        (b"\x16\3\1", "closed"), (b"", "closed"),
    ):  # fmt: skip
        before = failures(source).get(reason, 0)
        _, writer = await asyncio.open_connection(*source.address)
        writer.write(sent)
        if reason == "closed":
            writer.close()
        await until(lambda: failures(source).get(reason, 0) == before + 1)  # noqa: B023 - awaited here
        await until(lambda: not source.connections)
        writer.close()
    assert capture.payloads == []
    await source.stop()


async def test_a_client_of_tls_1_1_is_refused_by_its_version(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    command = ["openssl", "s_client", "-connect", str(source.address), "-tls1_1"]
    command += ["-cipher", "ALL:@SECLEVEL=0"]
    done = await asyncio.to_thread(
        subprocess.run, command, input=b"never\n", capture_output=True, timeout=20, check=False
    )
    assert done.returncode != 0
    await until(lambda: failures(source) == {"version": 1})
    await source.stop()


async def test_a_silent_client_counts_from_its_accept_and_is_closed_at_the_timeout(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, {**SERVER, "handshake_timeout": "300ms"}, max_connections=2)
    await source.open(capture)
    began = time.monotonic()
    silent = [await asyncio.open_connection(*source.address) for _ in range(2)]
    silent[1][1].write(b"\x16\3\1")
    await until(lambda: source.open_connections == 2)
    await refused(source, client(authority))
    assert source.context.counters["connections_refused", "max_connections"] == 1
    async with asyncio.timeout(30):
        for reader, _ in silent:
            assert await reader.read() == b""
    assert 0.25 < time.monotonic() - began < 9  # the default is 10 s
    await until(lambda: failures(source) == {"timeout": 2})
    await until(lambda: source.open_connections == 0)
    for _, writer in silent:
        writer.close()
    await source.stop()


async def test_bytes_that_were_changed_on_the_way_end_the_connection_and_are_no_frame(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    _, writer = await connect(source, client(authority))
    writer.write(b"good\n")
    await until(lambda: capture.payloads == [b"good"])
    os.write(writer.get_extra_info("socket").fileno(), b"\x17\3\3\0\x20" + b"z" * 32)
    await until(lambda: failures(source) == {"protocol": 1})
    await until(lambda: not source.connections)
    assert capture.payloads == [b"good"]
    writer.close()
    await source.stop()


class Stuck:
    """A transport to a peer that reads nothing."""

    aborted = False

    def write(self, data: bytes) -> None:
        assert data

    def get_write_buffer_size(self) -> int:
        return 70_000

    def is_closing(self) -> bool:
        return self.aborted

    def is_reading(self) -> bool:
        return True

    def abort(self) -> None:
        self.aborted = True


def hello(authority: Any) -> bytes:
    """The first bytes of a client."""
    outgoing = ssl.MemoryBIO()
    session = client(authority).wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        session.do_handshake()
    return outgoing.read()


async def test_a_peer_that_asks_and_reads_no_answer_is_closed(capture: Any, authority: Any) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    stuck, connection = Stuck(), source.new_connection(Peer("127.0.0.1:1"), "127.0.0.1")
    connection.connection_made(stuck)  # type: ignore[arg-type]  # as much of one as is used
    sent = hello(authority)
    connection.get_buffer(len(sent))[: len(sent)] = sent
    connection.buffer_updated(len(sent))
    assert stuck.aborted
    assert failures(source) == {"protocol": 1}
    source.connections.clear()
    await source.stop()


async def test_connects_and_aborts_leave_nothing_behind(capture: Any, until: Until, authority: Any) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    first = hello(authority)
    for cut in (0, 3, len(first) // 2, len(first)):
        for _ in range(10):
            sock = socket.create_connection(source.address)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            sock.sendall(first[:cut])
            sock.close()
            await asyncio.sleep(0)
    await until(lambda: failures(source) == {"closed": 40})
    assert not source.connections
    await source.stop()


async def test_the_stop_of_the_source_is_no_failure_of_who_is_connecting(
    capture: Any, until: Until, authority: Any
) -> None:
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    _, connecting = await asyncio.open_connection(*source.address)
    _, writer = await connect(source, client(authority))
    writer.write(b"half")
    await until(lambda: any(c._framer and c._framer.waiting_bytes for c in source.connections))
    await source.stop()
    assert capture.payloads == [b"half"]
    assert failures(source) == {}
    connecting.close()
    writer.close()


async def test_new_certificates_are_for_new_connections(
    capture: Any, until: Until, authority: Any, new_authority: Any, tmp_path: Path
) -> None:
    other = new_authority(tmp_path)
    other.issue("server")
    source = tcp(authority.folder, SERVER)
    await source.open(capture)
    _, old = await connect(source, client(authority))
    replaced = SourceContext(
        "floor", source.context.counters, source.new_framer, files=tls(tmp_path, **SERVER)
    )
    source.become(source.config, replaced)
    _, new = await connect(source, client(other))
    old.write(b"old\n")
    await until(lambda: capture.payloads == [b"old"])
    new.write(b"new\n")
    await until(lambda: capture.payloads == [b"old", b"new"])
    old.close()
    new.close()
    await source.stop()


def test_what_was_read_is_equal_until_a_file_changes(new_authority: Any, tmp_path: Path) -> None:
    made = new_authority(tmp_path)
    made.issue("server")
    first = tls(tmp_path, **MUTUAL)
    assert first == tls(tmp_path, **MUTUAL)
    assert first != tls(tmp_path, **SERVER)
    made.issue("server")
    assert first != tls(tmp_path, **MUTUAL)
    with (tmp_path / "ca.pem").open("a") as file:
        file.write("\n")
    assert tls(tmp_path, **MUTUAL) == tls(tmp_path, **MUTUAL)


def test_files_that_cannot_be_used_say_why(authority: Any, tmp_path: Path) -> None:
    folder = authority.folder
    encrypted, empty = tmp_path / "encrypted.key", tmp_path / "empty.pem"
    command = ["openssl", "pkey", "-in", folder / "server.key", "-aes256", "-passout", "pass:x"]
    subprocess.run([*command, "-out", encrypted], check=True)
    empty.write_text("nothing\n")
    for options, said in (
        ({**SERVER, "cert": "none.pem"}, "none.pem cannot be read: No such file"),
        ({**SERVER, "key": "client.key"}, "client.key does not belong to the certificate"),
        ({**SERVER, "key": str(encrypted)}, "is encrypted"),
        ({**SERVER, "cert": str(empty)}, "are no certificate and key"),
        ({**SERVER, "client_ca": str(empty)}, "empty.pem holds no certificate"),
        ({**SERVER, "client_ca": str(tmp_path)}, "cannot be read: Is a directory"),
    ):
        with pytest.raises(EnvironmentFault, match=said):
            tls(folder, **options)


def test_a_credential_is_looked_for_where_the_service_manager_puts_it(
    authority: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"cert": {"credential": "server.pem"}, "key": {"credential": "server.key"}}
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    with pytest.raises(MissingCredential, match=r"LoadCredential="):
        tls(tmp_path, **options)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(authority.folder))
    assert tls(tmp_path, **options).key_path == authority.folder / "server.key"


def test_expiry_and_a_key_that_everybody_may_read_are_doubts(authority: Any) -> None:
    _, key = authority.issue("doubtful", days=20)
    found = tls(authority.folder, cert="doubtful.pem", key="doubtful.key")
    assert abs(found.expires_at_wall_s - time.time() - 20 * DAY_S) < 600
    key.chmod(0o640)
    assert found.doubts(found.expires_at_wall_s - 15 * DAY_S) == []
    assert found.doubts(found.expires_at_wall_s - 9 * DAY_S) == ["the certificate expires in 9.0 days"]
    (expired,) = found.doubts(found.expires_at_wall_s + DAY_S)
    assert expired == "the certificate expired 1.0 days ago: clients will refuse it"
    key.chmod(0o644)
    (readable,) = found.doubts(0)
    assert "every user of this host can read the key" in readable
    key.unlink()
    assert found.doubts(0) == []


def test_a_certificate_of_the_far_future_says_when(authority: Any) -> None:
    authority.issue("late", days=365 * 60)  # beyond 2049 the time is written in another way
    found = tls(authority.folder, cert="late.pem", key="late.key")
    assert abs(found.expires_at_wall_s - time.time() - 365 * 60 * DAY_S) < 600


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"cert": "a"}, "belong together"),
        ({"key": "a"}, "belong together"),
        ({"min_version": "1.3"}, "min_version does nothing"),
        ({"client_ca": "a"}, "client_ca does nothing"),
        ({**SERVER, "allow_names": ["a"]}, "allow_names needs client_ca"),
        ({**MUTUAL, "allow_names": [""]}, "at least 1 character"),
        ({**SERVER, "min_version": "1.1"}, "'1.2' or '1.3'"),
        ({"cert": {"credential": "../a"}, "key": "a"}, "pattern"),
        ({"cert": "a\0b", "key": "a"}, "pattern"),
    ],
)
def test_options_that_do_nothing_or_make_no_sense_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        ListenerTlsSettings.model_validate(options)


def test_names_have_one_spelling_to_be_compared_by() -> None:
    certificate = {
        "subject": ((("countryName", "DE"),), (("commonName", "CN"),)),
        "subjectAltName": (("email", "a@b"), ("IP Address", "2001:DB8:0:0:0:0:0:1\n"), ("DNS", "A.b")),
    }
    assert list(names_in(certificate)) == ["2001:DB8:0:0:0:0:0:1", "A.b", "CN"]
    assert normal("2001:DB8:0:0:0:0:0:1") == normal("2001:db8::1")
    assert normal("A.b") == "a.b"
    assert normal("spiffe://Lab/A") == "spiffe://Lab/A"
    assert list(names_in({})) == []
