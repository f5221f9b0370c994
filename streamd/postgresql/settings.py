"""The options of a connection to PostgreSQL, without the driver, which is loaded only if a sink is made."""

import re
from typing import Any

from pydantic import Field

from streamd.core.credential import File
from streamd.core.settings import Address, parse_address
from streamd.net.client_tls import VerifiedTlsSettings

_SOCKET = re.compile(r"/(?:[^\x00]*/)?\.s\.PGSQL\.\d{1,5}")


class ServerTlsSettings(VerifiedTlsSettings):
    """The options of connections that agree on TLS in the driver, which is strict about the key's file."""

    key: File | None = Field(
        None,
        description="PEM file with the private key of the certificate, not encrypted; only its owner, or"
        " its owner root and a group, may read it",
    )


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
