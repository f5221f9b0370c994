"""TLS of a sink's connections: the options, the files they name, and the session of one connection."""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.credential import File, path_of
from streamd.core.printable import printable
from streamd.core.settings import DurationS, Settings
from streamd.net.tls_files import VERSIONS, Version, load_own, load_trusted

RECORD_BYTES = 16384
"""Most plaintext in one TLS record (RFC 8446 section 5.1). The peer can read only whole records."""
_SYSTEM = "system"
_READ_BYTES = 65536
_SHOWN_CHARACTERS = 256


class VerifiedTlsSettings(Settings):
    """TLS; off without `ca`. The peer's certificate is always verified."""

    ca: File | None = Field(
        None,
        description="PEM file with the authorities that may have signed the peer's certificate, or "
        'that certificate itself, or { credential = … }, or "system" for the '
        "authorities that the system trusts. If set, the connection uses TLS",
    )
    server_name: (
        Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9:][A-Za-z0-9.:_-]*$", max_length=253)] | None
    ) = Field(
        None, description="name that the peer's certificate must contain. Default: the host of the address"
    )
    cert: File | None = Field(
        None,
        description="PEM file with the sink's own certificate and the chain below its root, for a "
        "peer that asks for one",
    )
    key: File | None = Field(
        None, description="PEM file with the private key of the certificate, not encrypted"
    )
    min_version: Version = Field("1.2", description="oldest accepted version of TLS")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert and key belong together")
        if self.ca is None:
            plain = type(self)(ca=_SYSTEM)
            for name in type(self).model_fields:  # written out as it is without TLS, an option is no mistake
                if name != "ca" and getattr(self, name) != getattr(plain, name):
                    raise ValueError(
                        f'{name} does nothing without ca (ca = "system" trusts what the system does)'
                    )
        return self


class ClientTlsSettings(VerifiedTlsSettings):
    """The options of connections that agree on TLS here."""

    handshake_timeout: DurationS = Field(
        "10s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time to agree on TLS, and for the peer to accept the sink's certificate",
    )


@dataclass(slots=True, frozen=True)
class ClientTls:
    """The settings and the loaded files, for new connections."""

    settings: ClientTlsSettings
    context: ssl.SSLContext

    @staticmethod
    def read(settings: ClientTlsSettings, base_dir: Path) -> "ClientTls | None":
        """Load the files; None if TLS is off. It blocks. Raises `EnvironmentFault` for unusable files."""
        if settings.ca is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # verifies the certificate and its name by default
        context.minimum_version = VERSIONS[settings.min_version]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        if settings.ca == _SYSTEM:
            context.load_default_certs()
        else:
            # Trust a named certificate without its root: an intermediate authority, or the peer's own.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            load_trusted(context, path_of(settings.ca, base_dir))
        if settings.cert is not None and settings.key is not None:
            load_own(context, path_of(settings.cert, base_dir), path_of(settings.key, base_dir))
        return ClientTls(settings, context)


class Session:
    """The TLS of one connection. It converts between plaintext and the network's bytes, without I/O."""

    def __init__(self, tls: ClientTls, host: str) -> None:
        """Raises `ValueError` for a host that cannot be in a certificate."""
        self.ended = False
        """Whether the peer has sent its `close_notify`."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = tls.context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=tls.settings.server_name or host
        )

    def agree(self, received: bytes) -> bool:
        """Continue the handshake with received bytes. True once it is complete. Raises `ssl.SSLError`."""
        self._incoming.write(received)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def take(self, received: bytes) -> None:
        """Discard data received after the handshake, but note its end. Raises `ssl.SSLError` for an alert."""
        self._incoming.write(received)
        try:
            while self._session.read(_READ_BYTES):
                pass
            self.ended = True
        except ssl.SSLZeroReturnError:
            self.ended = True
        except ssl.SSLWantReadError:
            pass

    def to_send(self) -> bytes:
        """Bytes of the TLS protocol to send: a part of the handshake, or an alert."""
        return self._outgoing.read()

    def encrypt(self, data: memoryview) -> bytes:
        """The TLS record for at most `RECORD_BYTES` of data. Raises `ssl.SSLError`."""
        self._session.write(data)
        return self._outgoing.read()

    def end(self) -> bytes:
        """The `close_notify` to send. The peer may still send data. Raises `ssl.SSLError`."""
        with contextlib.suppress(ssl.SSLWantReadError):  # the peer's `close_notify` arrives through `take`
            self._session.unwrap()
        return self._outgoing.read()


def in_words(error: ssl.SSLError) -> str:
    """A description of the failure for an operator."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not trusted: {_shown(error.verify_message)}"
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "the peer does not speak TLS"
    if reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW") or reason.endswith("_ALERT_PROTOCOL_VERSION"):
        return "the peer and the sink have no version of TLS in common"
    _, alert, why = reason.partition("_ALERT_")
    if alert:
        return f"the peer refused: {_shown(why)}"
    return _shown(reason) or "the peer broke the protocol"


def _shown(text: str) -> str:
    return printable(text if " " in text else text.lower().replace("_", " "), _SHOWN_CHARACTERS)
