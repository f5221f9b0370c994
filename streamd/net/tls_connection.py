"""A connection with TLS.

TLS is done here and not by asyncio's transport. So a connection counts from its accept, each failure has a
reason code, and decrypted data waits nowhere but in the buffer.
"""

import asyncio
import contextlib
import ssl
from typing import Any

import structlog

from streamd.core.clock import read_clock
from streamd.core.peer import Peer
from streamd.net.listener_tls import ListenerTls
from streamd.net.stream_connection import StreamConnection
from streamd.net.stream_source import READ_BYTES, StreamSource

log = structlog.get_logger()

LINGER_S = 5.0
"""Longest time to send the final alert or `close_notify`."""
_MAX_UNSENT_BYTES = 65536
"""Most unsent bytes of TLS answers. Only a peer that provokes answers without reading them exceeds it."""
_HEADER_BYTES = 5
"""Size of a TLS record's header: type, version, and two bytes for the length of the rest."""
_HANDSHAKE = 0x16
"""The first byte of a TLS client's first record."""

_REASONS = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "no_certificate",
    "UNSUPPORTED_PROTOCOL": "version",
    "VERSION_TOO_LOW": "version",
    "WRONG_VERSION_NUMBER": "version",
    "NO_SHARED_CIPHER": "no_common_cipher",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "no_common_cipher",
}
_EXPIRED = 10
"""X509_V_ERR_CERT_HAS_EXPIRED."""


def reason_of(error: ssl.SSLError) -> str:
    """The reason code of a failure, one of a few."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "expired" if error.verify_code == _EXPIRED else "untrusted"
    reason = error.reason or ""
    if "_ALERT_" in reason:
        return "version" if reason.endswith("PROTOCOL_VERSION") else "refused_by_peer"
    return _REASONS.get(reason, "protocol")


class TlsConnection(StreamConnection):
    """A connection that makes a TLS handshake first. Decrypted bytes are cut into frames as without TLS."""

    __slots__ = (
        "_greeted", "_handshaking", "_header", "_incoming", "_missing_bytes", "_outgoing", "_session",
        "_timer", "_tls",
    )  # fmt: skip

    def __init__(self, source: StreamSource[Any], peer: Peer, sender: str | None, tls: ListenerTls) -> None:
        super().__init__(source, peer, sender)
        self._tls = tls
        self._session: ssl.SSLObject | None = None
        self._handshaking = True
        self._greeted = False
        self._header = bytearray()
        """Header of the unfinished TLS record; empty between two records."""
        self._missing_bytes = 0
        """Bytes of the record still to come, once its header is complete."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin the handshake, which must be complete within `handshake_timeout`."""
        super().connection_made(transport)
        if self._transport is None:
            return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = self._tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._timer = asyncio.get_running_loop().call_later(
            self._tls.settings.handshake_timeout, self._fail, "timeout"
        )

    def buffer_updated(self, nbytes: int) -> None:
        """Decrypt the bytes of one read."""
        session = self._session
        if session is None:
            return
        read = self._source.read_buffer[:nbytes]
        if not self._greeted and read[0] != _HANDSHAKE:
            self._fail("not_tls")
            return
        self._greeted = True
        self._incoming.write(read)
        self._follow(read)
        try:
            if self._handshaking:
                session.do_handshake()
                self._on_handshake(session)
            if self._session is not None and self._decrypt(session):
                self._end_in_order(session)
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLError as error:
            self._fail(reason_of(error), error.reason or "")
            return
        self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection was closed by either side, or reset."""
        if self._handshaking and self._session is not None:
            self._note_failure("closed", "")
        self._session = None
        self._cancel_timer()
        super().connection_lost(exc)

    @property
    def unread_bytes(self) -> int:
        """Unread bytes in the kernel, and the bytes of an unfinished record, which cannot be decrypted."""
        if self._transport is None or self._transport.is_closing():
            return 0
        begun_bytes = len(self._header)
        if begun_bytes == _HEADER_BYTES:
            begun_bytes += int.from_bytes(self._header[3:]) - self._missing_bytes
        return super().unread_bytes + begun_bytes

    def end(self) -> None:
        """Close because the source stops."""
        self._session = None
        super().end()

    def pause(self) -> None:
        """Stop reading while the buffer is full. A handshake continues; it has a timeout of its own."""
        if not self._handshaking:
            super().pause()

    def check_timeouts(self, now_mono_s: float) -> None:
        """Check the timeouts once the handshake is complete; `first_byte_timeout` counts from there."""
        if not self._handshaking:
            super().check_timeouts(now_mono_s)

    def _on_handshake(self, session: ssl.SSLObject) -> None:
        try:
            name = self._tls.name_of(session)
        except UnicodeDecodeError:  # an authority may have signed arbitrary bytes as a name
            self._fail("protocol", "a name in the certificate is no text")
            return
        if name is None:
            self._fail("name_not_allowed")
            return
        self._handshaking = False
        self._cancel_timer()
        if name:
            self._peer = Peer(f"{self._peer} {name}")
        self._since_mono_s = read_clock().mono_s
        self.pause()

    def _follow(self, read: memoryview) -> None:
        """Track the boundaries of TLS records: OpenSSL does not tell how many bytes of one it holds."""
        header, at = self._header, 0
        while at < len(read):
            if len(header) < _HEADER_BYTES:
                part = read[at : at + _HEADER_BYTES - len(header)]
                header += part
                at += len(part)
                self._missing_bytes = int.from_bytes(header[3:])
            taken = min(self._missing_bytes, len(read) - at)
            if len(header) == _HEADER_BYTES:
                at += taken
                self._missing_bytes -= taken
                if not self._missing_bytes:
                    header.clear()

    def _decrypt(self, session: ssl.SSLObject) -> bool:
        """Hand on decrypted bytes. True if the peer has ended the session. Raises `ssl.SSLError`."""
        parts = []
        try:
            while data := session.read(READ_BYTES):
                parts.append(data)
        except ssl.SSLZeroReturnError:
            return True
        finally:
            if parts:
                self.take(b"".join(parts))
        return True

    def _end_in_order(self, session: ssl.SSLObject) -> None:
        self._flush()
        with contextlib.suppress(ssl.SSLError):  # only our close_notify is needed; the peer's is not awaited
            session.unwrap()
        self._send_rest_and_close()

    def _fail(self, reason: str, detail: str = "") -> None:
        self._note_failure(reason, detail)
        self._flush()
        self._send_rest_and_close()

    def _note_failure(self, reason: str, detail: str) -> None:
        context = self._source.context
        context.counters.add("tls_failed", reason=reason)
        log.warning(
            "tls_failed", source=context.name, peer=context.shown(self._peer), reason=reason, detail=detail
        )

    def _send_rest_and_close(self) -> None:
        """Send the final alert or `close_notify`, and close."""
        self._send()
        self._session = None
        self._cancel_timer()
        transport = self._transport
        if transport is not None and not transport.is_closing():
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, transport.abort)
            transport.close()

    def _send(self) -> None:
        transport = self._transport
        if not self._outgoing.pending or transport is None or transport.is_closing():
            return
        transport.write(self._outgoing.read())
        if transport.get_write_buffer_size() > _MAX_UNSENT_BYTES:
            self._session = None
            self._note_failure("protocol", "the peer does not read the answers")
            transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
