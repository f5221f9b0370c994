"""A login with a file of credentials, at a server whose accounts are signed by an operator."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nats_server import MISSING, NatsServer

if MISSING:
    pytest.skip(MISSING, allow_module_level=True)

import nkeys

from streamd.jetstream.connection import Connector
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.trouble import NatsRefused

BASE = ("subs", "data", "payload", "imports", "exports", "conn", "leaf")
JETSTREAM = ("mem_storage", "disk_storage", "streams", "consumer")


class Signer:
    """An operator, an account or a user."""

    def __init__(self, number: int, kind: int) -> None:
        self.seed = nkeys.encode_seed(bytes([number] * 32), kind)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def token(self, subject: "Signer", claims: dict[str, Any]) -> str:
        """A signed token about the subject."""
        head = {"typ": "JWT", "alg": "ed25519-nkey"}
        body = {"jti": "x", "iat": 1, "iss": self.public, "name": "n", "sub": subject.public,
                "nats": {"version": 2, **claims}}  # fmt: skip
        text = ".".join(_encoded(json.dumps(part).encode()) for part in (head, body))
        return f"{text}.{_encoded(self._pair.sign(text.encode()))}"


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


OPERATOR = Signer(1, nkeys.PREFIX_BYTE_OPERATOR)
SYSTEM, ACCOUNT = (Signer(number, nkeys.PREFIX_BYTE_ACCOUNT) for number in (2, 3))
USER, STRANGER = (Signer(number, nkeys.PREFIX_BYTE_USER) for number in (4, 5))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    accounts = "".join(
        f"{one.public}: {OPERATOR.token(one, {'type': 'account', 'limits': dict.fromkeys(limits, -1)})}\n"
        for one, limits in ((SYSTEM, BASE), (ACCOUNT, (*BASE, *JETSTREAM)))
    )
    made = NatsServer(
        tmp_path_factory.mktemp("nats"),
        f"operator: {OPERATOR.token(OPERATOR, {'type': 'operator'})}\nsystem_account: {SYSTEM.public}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{accounts}}}",
    )
    yield made
    made.stop()


def credentials(user: Signer, signer: Signer) -> str:
    """The file as the program `nsc` writes it."""
    token = signer.token(user, {"type": "user", "pub": {}, "sub": {}, "subs": -1, "data": -1, "payload": -1})
    return (
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        "************************* IMPORTANT *************************\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n------END USER NKEY SEED------\n"
    )


async def login(server: NatsServer, folder: Path, text: str) -> None:
    (folder / "edge.creds").write_text(text)
    settings = {"servers": [server.address], "stream": "s", "credentials": "edge.creds"}
    connection = await Connector(NatsSettings.model_validate(settings), folder, "test").connect()
    await connection.close()


async def test_a_user_of_the_account_is_admitted(server: NatsServer, tmp_path: Path) -> None:
    await login(server, tmp_path, credentials(USER, ACCOUNT))


async def test_a_user_whom_somebody_else_has_signed_is_refused(server: NatsServer, tmp_path: Path) -> None:
    stranger = Signer(6, nkeys.PREFIX_BYTE_ACCOUNT)
    with pytest.raises(NatsRefused):
        await login(server, tmp_path, credentials(STRANGER, stranger))
