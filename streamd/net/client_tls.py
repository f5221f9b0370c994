"""TLS of a connection that a sink makes: its options, the files they name, and one connection's session."""

import contextlib
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from streamd.core.printable import printable
from streamd.core.settings import DurationS, Settings
from streamd.net.tls_files import VERSIONS, File, Version, load_own, load_trusted, path_of

RECORD_BYTES = 16384
"""The most that one TLS record holds: the peer can read all of a record or nothing of it."""
_SYSTEM = "system"
_WITHOUT_EFFECT: dict[str, Any] = {
    "server_name": None, "cert": None, "handshake_timeout": 10.0, "min_version": "1.2",
}  # fmt: skip
"""The values that choose nothing; they may be written out where there is no TLS."""
_READ_BYTES = 65536
_SHOWN_CHARACTERS = 256


class ClientTlsSettings(Settings):
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
    handshake_timeout: DurationS = Field(
        "10s",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="longest time to agree on TLS, and for the peer to accept the sink's certificate",
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


@dataclass(slots=True, frozen=True)
class ClientTls:
    """What was read of the files, for the connections that begin now."""

    settings: ClientTlsSettings
    context: ssl.SSLContext

    @staticmethod
    def read(settings: ClientTlsSettings, base_dir: Path) -> "ClientTls | None":
        """None where TLS is off. Raises `EnvironmentFault` for files that do not fit. It blocks."""
        if settings.ca is None:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # which verifies, and compares the name
        context.minimum_version = VERSIONS[settings.min_version]
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        if settings.ca == _SYSTEM:
            context.load_default_certs()
        else:
            # A named certificate is trusted without a root: an intermediate authority, or the peer alone.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            load_trusted(context, path_of(settings.ca, base_dir))
        if settings.cert is not None and settings.key is not None:
            load_own(context, path_of(settings.cert, base_dir), path_of(settings.key, base_dir))
        return ClientTls(settings, context)


class Session:
    """The TLS of one connection: bytes as the network carries them on one side, ours on the other."""

    def __init__(self, tls: ClientTls, host: str) -> None:
        """Raises `ValueError` for a host that cannot be in a certificate."""
        self.ended = False
        """Whether the peer has said, in TLS, that no more comes."""
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = tls.context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=tls.settings.server_name or host
        )

    def agree(self, received: bytes) -> bool:
        """Go on with the handshake; whether both sides have agreed. Raises `ssl.SSLError`."""
        self._incoming.write(received)
        try:
            self._session.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def take(self, received: bytes) -> None:
        """What the peer says after that is ignored, but for its end. Raises `ssl.SSLError` for an alert."""
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
        """What TLS itself has to say: a part of the handshake, or why it failed."""
        return self._outgoing.read()

    def encrypt(self, data: memoryview) -> bytes:
        """One record of at most `RECORD_BYTES`. Raises `ssl.SSLError`."""
        self._session.write(data)
        return self._outgoing.read()

    def end(self) -> bytes:
        """Says that no more comes; the peer may go on. Raises `ssl.SSLError`."""
        with contextlib.suppress(ssl.SSLWantReadError):  # for the peer's own, which is awaited by reading
            self._session.unwrap()
        return self._outgoing.read()


def in_words(error: ssl.SSLError) -> str:
    """What failed, as somebody would say it who can mend it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the peer's certificate is not trusted: {_shown(error.verify_message)}"
    reason = error.reason or ""
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE"):
        return "the peer does not speak TLS"
    if reason in ("UNSUPPORTED_PROTOCOL", "VERSION_TOO_LOW") or reason.endswith("_ALERT_PROTOCOL_VERSION"):
        return "the peer speaks no version of TLS that we do"
    _, alert, why = reason.partition("_ALERT_")
    if alert:
        return f"the peer refused: {_shown(why)}"
    return _shown(reason) or "the peer broke the protocol"


def _shown(text: str) -> str:
    return printable(text if " " in text else text.lower().replace("_", " "), _SHOWN_CHARACTERS)
