"""The receiver of `streamd send`: `udp://host:port`, `tcp://host:port` or `unix:///path`."""

from pathlib import Path
from typing import Literal, NamedTuple
from urllib.parse import unquote

from streamd.core.errors import ConfigError
from streamd.core.printable import escape
from streamd.core.settings import Address, parse_address

Protocol = Literal["udp", "tcp", "unix"]
_KNOWN = "udp://HOST:PORT, tcp://HOST:PORT and unix:///PATH"
_OTHERS = {
    "tls": "send has no TLS; use openssl s_client -quiet -connect HOST:PORT",
    "file": "name a file by its path alone",
}


class Target(NamedTuple):
    """A receiver: its protocol, and its address or the path of its socket."""

    protocol: Protocol
    to: Address | Path

    def __str__(self) -> str:
        return f"{self.protocol} to {self.to}"


def is_url(text: str) -> bool:
    """Whether the word is the URL of a receiver, not a file."""
    return "://" in text


def target(url: str) -> Target:
    """The receiver of a URL. Raises `ConfigError`."""
    scheme, _, rest = url.partition("://")
    protocol = scheme.lower()
    if protocol in ("udp", "tcp"):
        try:
            return Target("udp" if protocol == "udp" else "tcp", parse_address(rest.removesuffix("/")))
        except ValueError as error:
            raise ConfigError(f"{escape(url)}: {error}") from None
    if protocol == "unix":
        if not rest or "\0" in rest:
            raise ConfigError(f"{escape(url)}: a unix socket is a path, like unix:///run/lab.sock")
        return Target("unix", Path(unquote(rest)))
    why = _OTHERS.get(protocol, f"there is no {escape(scheme)}://")
    raise ConfigError(f"{escape(url)}: {why}; send accepts {_KNOWN}")
