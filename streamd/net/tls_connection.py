"""One sender's stream inside TLS.

The TLS is ours, not the transport's: so a connection counts from its accept, each failure has a reason, and
of what was decrypted nothing waits anywhere but in the buffer.
"""

import asyncio
import contextlib
import ssl
from typing import Any

import structlog

from streamd.core.clock import read_clock
from streamd.core.peer import Peer
from streamd.net.listener_tls import ListenerTls
from streamd.net.stream_source import READ_BYTES, StreamConnection, StreamSource

log = structlog.get_logger()

LINGER_S = 5.0
"""How long the last word (why we close) may take to be sent."""
_MAX_UNSENT_BYTES = 65536
"""Of our own answers; only a peer that provokes them and reads none gets there."""
_HEADER_BYTES = 5
"""Of a record: its type, the version, and two bytes that say how long the rest is."""
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
    """The reason code of a failure: one of a few, whatever OpenSSL calls it."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "expired" if error.verify_code == _EXPIRED else "untrusted"
    reason = error.reason or ""
    if "_ALERT_" in reason:
        return "version" if reason.endswith("PROTOCOL_VERSION") else "refused_by_peer"
    return _REASONS.get(reason, "protocol")


class TlsConnection(StreamConnection):
    """A connection that first agrees on TLS; what comes then is cut into frames like any other's."""

    __slots__ = (
        "_greeted", "_handshaking", "_header", "_incoming", "_missing_bytes", "_outgoing", "_session",
        "_timer", "_tls",
    )  # fmt: skip

    def __init__(self, source: StreamSource[Any], peer: Peer, sender: str, tls: ListenerTls) -> None:
        super().__init__(source, peer, sender)
        self._tls = tls
        self._session: ssl.SSLObject | None = None
        self._handshaking = True
        self._greeted = False
        self._header = bytearray()
        """Of the record that is unfinished; empty between two."""
        self._missing_bytes = 0
        """Of its rest, once the header is whole."""
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Admit it or close it at once; then it has `handshake_timeout`."""
        super().connection_made(transport)
        if self._transport is None:
            return
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._session = self._tls.context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._timer = asyncio.get_running_loop().call_later(
            self._tls.settings.handshake_timeout, self._fail, "timeout"
        )

    def buffer_updated(self, nbytes: int) -> None:
        """One read: at most so much is decrypted."""
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
        """Closed by either side, or reset."""
        if self._handshaking and self._session is not None:
            self._note_failure("closed", "")
        self._session = None
        self._cancel_timer()
        super().connection_lost(exc)

    @property
    def unread_bytes(self) -> int:
        """What the kernel holds, and what was read of an unfinished record: nobody can decrypt it."""
        if self._transport is None or self._transport.is_closing():
            return 0
        begun_bytes = len(self._header)
        if begun_bytes == _HEADER_BYTES:
            begun_bytes += int.from_bytes(self._header[3:]) - self._missing_bytes
        return super().unread_bytes + begun_bytes

    def end(self) -> None:
        """The daemon stops."""
        self._session = None
        super().end()

    def pause(self) -> None:
        """Stop reading while the buffer is full; a handshake goes on, it has a time limit of its own."""
        if not self._handshaking:
            super().pause()

    def check_timeouts(self, now_mono_s: float) -> None:
        """The first byte is awaited from the end of the handshake."""
        if not self._handshaking:
            super().check_timeouts(now_mono_s)

    def _on_handshake(self, session: ssl.SSLObject) -> None:
        try:
            name = self._tls.name_of(session)
        except UnicodeDecodeError:  # an authority may sign whatever bytes it was asked to
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
        """Keep account of where records end; OpenSSL does not tell what it holds of one."""
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
        """Hand on what is whole. Whether the peer has ended the session. Raises `ssl.SSLError`."""
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
        with contextlib.suppress(ssl.SSLError):  # half of it, the answer, is all that is wanted
            session.unwrap()
        self._last_word()

    def _fail(self, reason: str, detail: str = "") -> None:
        self._note_failure(reason, detail)
        self._flush()
        self._last_word()

    def _note_failure(self, reason: str, detail: str) -> None:
        source = self._source
        source.context.counters.add("tls_failed", reason=reason)
        log.warning("tls_failed", source=source.context.name, peer=self._peer, reason=reason, detail=detail)

    def _last_word(self) -> None:
        """Send what TLS still has to say, an alert or the end, and close."""
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
            self._note_failure("protocol", "the peer reads none of our answers")
            transport.abort()

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
