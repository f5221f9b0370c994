"""TLS of a listener: its options, and the files they name."""

import hashlib
import os
import ssl
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.errors import EnvironmentFault
from streamd.core.printable import printable
from streamd.core.settings import DurationS, Settings
from streamd.sources._certificate import expires_at_wall_s, first_of, names_in, normal

DAY_S = 86400.0
WARN_BEFORE_S = 14 * DAY_S
"""A certificate that holds no longer than this is worth a word."""
_VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
_SHOWN_NAME_CHARACTERS = 256
_WITHOUT_EFFECT: dict[str, Any] = {
    "client_ca": None,
    "allow_names": [],
    "handshake_timeout": 10.0,
    "min_version": "1.2",
}
"""The values that choose nothing; they may be written out where there is no TLS."""


class Credential(Settings):
    """A file that the service manager hands over at the start (systemd's `LoadCredential=`)."""

    credential: str = Field(pattern=r"^[^\x00/]+$", description="its name in $CREDENTIALS_DIRECTORY")


File = Annotated[str, StringConstraints(pattern=r"^[^\x00]+$")] | Credential


class MissingCredential(EnvironmentFault):
    """Only a start by the service manager has credentials."""


class TlsSettings(Settings):
    """TLS; off without `cert`."""

    cert: File | None = Field(
        None,
        description="PEM file with the certificate and the chain below its root, or { credential = … };"
        " given: connections have to speak TLS",
    )
    key: File | None = Field(None, description="PEM file with its private key, not encrypted")
    client_ca: File | None = Field(
        None, description="PEM file; given: a client needs a certificate that one of these has signed"
    )
    allow_names: list[Annotated[str, StringConstraints(min_length=1)]] = Field(
        [],
        description="with client_ca: a client's certificate has to name one of these (DNS, IP or URI as"
        " alternative name, or CN); empty: all that are signed",
    )
    handshake_timeout: DurationS = Field(  # type: ignore[assignment]  # parsed by the validator
        "10s", description="a connection that has not agreed on TLS by then is closed and counted"
    )
    min_version: Literal["1.2", "1.3"] = Field("1.2", description="oldest version of TLS that is spoken")

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
class Tls:
    """What was read of the files; equal where neither the options nor the files differ."""

    settings: TlsSettings
    digest: str
    """SHA-256 of all files."""
    context: ssl.SSLContext = field(compare=False)
    expires_at_wall_s: float
    key_path: Path

    @staticmethod
    def read(settings: TlsSettings, base_dir: Path) -> "Tls | None":
        """None where TLS is off. Raises `EnvironmentFault` for files that are missing or do not fit."""
        if settings.cert is None or settings.key is None:
            return None
        cert, key = _path(settings.cert, base_dir), _path(settings.key, base_dir)
        client_ca = None if settings.client_ca is None else _path(settings.client_ca, base_dir)
        # The digest first: a file that is replaced in between differs from it at the next reload.
        contents = [_content(path) for path in (cert, key, client_ca) if path is not None]
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = _VERSIONS[settings.min_version]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
        context.num_tickets = 0  # senders stay; a ticket is two messages and some memory for each
        _load_own(context, cert, key)
        if client_ca is not None:
            try:
                context.load_verify_locations(client_ca)
            except (ssl.SSLError, OSError) as error:
                raise EnvironmentFault(f"{client_ca} holds no certificate in PEM: {_why(error)}") from None
            context.verify_mode = ssl.CERT_REQUIRED
        try:
            expires = expires_at_wall_s(first_of(contents[0]))
        except (ValueError, IndexError) as error:
            raise EnvironmentFault(f"{cert} is no certificate in PEM: {error}") from None
        digest = hashlib.sha256(b"".join(hashlib.sha256(content).digest() for content in contents))
        return Tls(settings, digest.hexdigest(), context, expires, key)

    def doubts(self, now_wall_s: float) -> list[str]:
        """What lets it work, and should be mended: a sentence for each."""
        found = []
        left_s = self.expires_at_wall_s - now_wall_s
        if left_s <= 0:
            found.append(f"the certificate expired {-left_s / DAY_S:.1f} days ago: clients will refuse it")
        elif left_s < WARN_BEFORE_S:
            found.append(f"the certificate expires in {left_s / DAY_S:.1f} days")
        try:
            mode = self.key_path.stat().st_mode
        except OSError:
            return found  # gone since: the next reload says so
        if mode & stat.S_IROTH:
            found.append(f"everybody on this host can read the key {self.key_path}: chmod o= takes that away")
        return found

    def name_of(self, session: ssl.SSLObject) -> str | None:
        """The name of the client's certificate, "" where it has none; None: it is not an allowed one."""
        certificate = session.getpeercert() or {}
        names = list(names_in(certificate))
        if self.settings.allow_names:
            allowed = {normal(name) for name in self.settings.allow_names}
            names = [name for name in names if normal(name) in allowed]
            if not names:
                return None
        return printable(names[0], _SHOWN_NAME_CHARACTERS) if names else ""


def _path(file: File, base_dir: Path) -> Path:
    if not isinstance(file, Credential):
        return base_dir / file
    folder = os.environ.get("CREDENTIALS_DIRECTORY")
    if not folder:
        raise MissingCredential(
            f"the credential {file.credential!r} is not here: the service's LoadCredential= hands it over,"
            " and $CREDENTIALS_DIRECTORY is not set"
        )
    return Path(folder) / file.credential


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise EnvironmentFault(
            f"{path} cannot be read: {error.strerror}; the user of the daemon needs to"
        ) from None


def _load_own(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    def passphrase() -> str:  # without one OpenSSL would ask the terminal
        raise EnvironmentFault(f"the key {key} is encrypted; `openssl pkey` writes it as it has to be")

    try:
        context.load_cert_chain(cert, key, passphrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise EnvironmentFault(f"the key {key} does not belong to the certificate {cert}") from None
        raise EnvironmentFault(f"{cert} and {key} are no certificate and key: {_why(error)}") from None
    except OSError as error:
        raise EnvironmentFault(f"{cert} or {key} cannot be read: {error.strerror}") from None


def _why(error: OSError) -> str:
    reason = getattr(error, "reason", None)
    return reason.lower().replace("_", " ") if reason else "not in PEM"
