"""The options of a connection to PostgreSQL, without the driver, which is loaded only if a sink is made."""

import re
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.credential import File
from streamd.core.settings import Address, Settings, parse_address
from streamd.net.tls_files import Version

_SOCKET = re.compile(r"/(?:[^\x00]*/)?\.s\.PGSQL\.\d{1,5}")
_WITHOUT_EFFECT: dict[str, Any] = {"server_name": None, "cert": None, "min_version": "1.2"}


class ServerTlsSettings(Settings):
    """TLS; off without `ca`. The server's certificate is always verified."""

    ca: File | None = Field(
        None,
        description="PEM file with the authorities that may have signed the server's certificate, or "
        'that certificate itself, or { credential = … }, or "system" for the authorities that the system'
        " trusts. If set, the connection uses TLS",
    )
    server_name: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]*$", max_length=253)] | None
    ) = Field(
        None, description="name that the server's certificate must contain. Default: the host of the address"
    )
    cert: File | None = Field(
        None,
        description="PEM file with the sink's own certificate and the chain below its root, for a "
        "server that asks for one",
    )
    key: File | None = Field(
        None,
        description="PEM file with the private key of the certificate, not encrypted; only its owner, or"
        " its owner root and a group, may read it",
    )
    min_version: Version = Field("1.2", description="oldest accepted version of TLS")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        chosen = [name for name, plain in _WITHOUT_EFFECT.items() if getattr(self, name) != plain]
        if self.ca is None and chosen:
            raise ValueError(
                f'{chosen[0]} does nothing without ca (ca = "system" trusts what the system does)'
            )
        return self


def parse_server(value: Any) -> Address | str:
    """`host:port`, or the path of the server's unix socket."""
    if isinstance(value, str) and value.startswith("/"):
        if _SOCKET.fullmatch(value) is None:
            name = f"{value.rstrip('/')}/.s.PGSQL.5432"
            raise ValueError(f'the path of a socket of PostgreSQL ends in .s.PGSQL.PORT; write "{name}"')
        return value
    if isinstance(value, str) and value.startswith(("postgresql://", "postgres://")):
        raise ValueError(
            'a URL is not taken, because it may hold a password; write address = "host:port", database and'
            " user, and the password into the file that password names"
        )
    address = parse_address(value)
    if address.port == 0:
        raise ValueError("port 0 is not a port to connect to; PostgreSQL's is 5432")
    return address
