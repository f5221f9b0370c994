"""The options of a connection to NATS servers, which its source and its sink share."""

from collections.abc import Iterable
from typing import Annotated, Any, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, model_validator

from streamd.core.credential import File
from streamd.core.settings import Address, DurationS, Settings, parse_address
from streamd.net.client_tls import ClientTlsSettings

StreamName = Annotated[str, StringConstraints(pattern=r"^[^\s.*>/\\\x00-\x1f]+$", max_length=255)]
"""The name of a stream or of a consumer."""


def _server(value: Any) -> Address:
    if isinstance(value, str) and "@" in value:
        raise ValueError("a server is host:port; the options user and password hold the login")
    address = parse_address(value)
    if address.port == 0:
        raise ValueError("port 0 is not a port to connect to")
    return address


class Servers(list[Address]):
    """The addresses of the servers of one cluster."""

    def __str__(self) -> str:
        return ", ".join(map(str, self))


def _once(servers: Iterable[Address]) -> Servers:
    found = Servers(servers)
    if len(set(found)) < len(found):
        raise ValueError("a server is named twice")
    return found


class NatsSettings(Settings):
    """How the servers are reached, and the login."""

    servers: Annotated[
        list[Annotated[Address, BeforeValidator(_server, json_schema_input_type=str)]], AfterValidator(_once)
    ] = Field(
        min_length=1,
        description="addresses of the servers, host:port. One connection is used at a time; if it ends, the"
        " next server is tried",
    )
    stream: StreamName = Field(description="name of the stream")
    tls: ClientTlsSettings = Field(ClientTlsSettings(), description="TLS; off without ca")
    user: str | None = Field(None, min_length=1, description="name of the user, for a login with a password")
    password: File | None = Field(
        None, description="file with the password of the user, or { credential = … }"
    )
    token: File | None = Field(None, description="file with a token, instead of a user")
    credentials: File | None = Field(
        None, description="file with the JWT and the seed of a user (a .creds file), instead of a password"
    )
    nkey: File | None = Field(
        None, description="file with the seed of an nkey of a user, instead of a password"
    )
    connect_timeout: DurationS = Field(
        "5s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time to connect to one server, with TLS and the login",
    )

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.user is None) != (self.password is None):
            raise ValueError("user and password belong together")
        logins = [
            name for name in ("user", "token", "credentials", "nkey") if getattr(self, name) is not None
        ]
        if len(logins) > 1:
            raise ValueError(f"{logins[0]} and {logins[1]} are two logins: leave one out")
        return self
