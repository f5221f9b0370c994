"""TLS of a listener: the options, and the files they name."""

import hashlib
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.credential import File, content_of, path_of
from streamd.core.errors import EnvironmentFault
from streamd.core.printable import printable
from streamd.core.settings import DurationS, Settings
from streamd.net.certificate import expires_at_wall_s, first_of, names_in, normal
from streamd.net.tls_files import VERSIONS, Version, load_own, load_trusted

DAY_S = 86400.0
WARN_BEFORE_S = 14 * DAY_S
"""A certificate that expires within this time is warned about."""
_SHOWN_NAME_CHARACTERS = 256
_WITHOUT_EFFECT: dict[str, Any] = {
    "client_ca": None,
    "allow_names": [],
    "handshake_timeout": 10.0,
    "min_version": "1.2",
}
"""The defaults of options that need TLS. Without TLS they may be written out, but not changed."""


class ListenerTlsSettings(Settings):
    """TLS; off without `cert`."""

    cert: File | None = Field(
        None,
        description="PEM file with the certificate and the chain below its root, or { credential = "
        "… }. If set, connections must use TLS",
    )
    key: File | None = Field(
        None, description="PEM file with the private key of the certificate, not encrypted"
    )
    client_ca: File | None = Field(
        None,
        description="PEM file with authorities. If set, a client needs a certificate signed by one of them",
    )
    allow_names: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        [],
        description="with client_ca: names of which a client's certificate must contain one (DNS, "
        "IP or URI as alternative name, or CN); empty: every signed certificate is "
        "accepted",
    )
    handshake_timeout: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
        "10s", description="a connection that has not agreed on TLS after this time is closed and counted"
    )
    min_version: Version = Field("1.2", description="oldest accepted version of TLS")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        chosen = [name for name, plain in _WITHOUT_EFFECT.items() if getattr(self, name) != plain]
        if self.cert is None and chosen:
            raise ValueError(f"{chosen[0]} does nothing without cert and key")
        if self.client_ca is None and self.allow_names:
            raise ValueError("allow_names needs client_ca: without it clients show no certificate")
        return self


@dataclass(slots=True, frozen=True)
class ListenerTls:
    """The settings and the loaded files. Two are equal if neither the options nor the files differ."""

    settings: ListenerTlsSettings
    digest: str
    """SHA-256 of all files."""
    context: ssl.SSLContext = field(compare=False)
    expires_at_wall_s: float
    key_path: Path

    @staticmethod
    def read(settings: ListenerTlsSettings, base_dir: Path) -> "ListenerTls | None":
        """Load the files; None if TLS is off. Raises `EnvironmentFault` for missing or unusable files."""
        if settings.cert is None or settings.key is None:
            return None
        cert, key = path_of(settings.cert, base_dir), path_of(settings.key, base_dir)
        client_ca = None if settings.client_ca is None else path_of(settings.client_ca, base_dir)
        # Read for the digest first: if a file is replaced before it is loaded, the next reload sees that.
        contents = [content_of(path) for path in (cert, key, client_ca) if path is not None]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = VERSIONS[settings.min_version]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0  # senders stay connected; tickets would cost two messages and memory each
        load_own(context, cert, key)
        if client_ca is not None:
            load_trusted(context, client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
        try:
            expires = expires_at_wall_s(first_of(contents[0]))
        except (ValueError, IndexError) as error:
            raise EnvironmentFault(f"{cert} is no certificate in PEM: {error}") from None
        digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents))
        return ListenerTls(settings, digest.hexdigest(), context, expires, key)

    def doubts(self, now_wall_s: float) -> list[str]:
        """Problems that do not prevent TLS but need attention, one sentence each."""
        found = []
        left_s = self.expires_at_wall_s - now_wall_s
        if left_s <= 0:
            found.append(f"the certificate expired {-left_s / DAY_S:.1f} days ago: clients will refuse it")
        elif left_s < WARN_BEFORE_S:
            found.append(f"the certificate expires in {left_s / DAY_S:.1f} days")
        try:
            mode = self.key_path.stat().st_mode
        except OSError:
            return found  # the file is gone, which the next reload reports
        if mode & stat.S_IROTH:
            found.append(f"every user of this host can read the key {self.key_path}: run chmod o= on it")
        return found

    def name_of(self, session: ssl.SSLObject) -> str | None:
        """A name in the client's certificate, "" if it has none; None if `allow_names` has none of them."""
        certificate = session.getpeercert() or {}
        names = list(names_in(certificate))
        if self.settings.allow_names:
            allowed = {normal(name) for name in self.settings.allow_names}
            names = [name for name in names if normal(name) in allowed]
            if not names:
                return None
        return printable(names[0], _SHOWN_NAME_CHARACTERS) if names else ""
