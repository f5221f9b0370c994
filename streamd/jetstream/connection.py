"""One connection to a NATS server. It is never mended: when it has ended, its owner makes the next one."""

import asyncio
import contextlib
import json
import ssl
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error, NoRespondersError
from nats.errors import TimeoutError as NatsTimeoutError

from streamd.core.printable import printable
from streamd.core.settings import Address
from streamd.jetstream.login import login_of
from streamd.jetstream.settings import NatsSettings
from streamd.jetstream.trouble import ApiError, NatsRefused, NatsTrouble
from streamd.net.client_tls import ClientTls, in_words

PING_S = 2.0
"""Seconds between two pings. A server that answers neither of two is given up."""
_WATCH_S = 0.1
_SHOWN_CHARACTERS = 256
_PENDING_BYTES = 8 << 20

Result = TypeVar("Result")


class NatsConnection:
    """A connection to one server."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self.lost: str | None = None
        """Why the connection has ended; None while it is open."""
        self._client = Client()
        self._requests: set[asyncio.Task[Any]] = set()
        self._ended = asyncio.Event()
        self._last_error = ""
        self._noted: Exception | None = None
        """The last error that the client has reported."""
        self._watching: asyncio.Task[None] | None = None

    @property
    def max_payload(self) -> int:
        """Most bytes of a message with its headers."""
        return int(self._client.max_payload)

    @classmethod
    async def to(
        cls, address: Address, settings: NatsSettings, base_dir: Path, name: str
    ) -> "NatsConnection":
        """Connect and log in; the files are read again. Raises `NatsTrouble` or `EnvironmentFault`."""
        tls, login = await asyncio.to_thread(_read_files, settings, base_dir)
        self = cls(address)
        try:
            async with asyncio.timeout(settings.connect_timeout):
                await self._connect(settings, tls, login, name)
        except (OSError, Error, TimeoutError, EOFError, ValueError) as error:
            # Of two reasons the one that the client noted first says more.
            trouble = self._in_words(error, settings)
        except BaseException:
            await self.close()
            raise
        else:
            self._watching = asyncio.create_task(self._watch())
            return self
        await self.close()
        raise trouble

    async def _watch(self) -> None:
        """Notice the end of the connection if the client does not report it.

        It does not if it had something to send when the socket broke.
        """
        while not self._client.is_closed:
            await asyncio.sleep(_WATCH_S)
        await self._closed()

    async def _connect(
        self, settings: NatsSettings, tls: ClientTls | None, login: dict[str, Any], name: str
    ) -> None:
        client = self._client
        process_info = client._process_info  # noqa: SLF001 - the client offers no other way to insist on TLS

        async def insist_on_tls(info: dict[str, Any], initial_connection: bool = False) -> None:
            if initial_connection and bool(info.get("tls_required")) != (tls is not None):
                raise NatsRefused(
                    "tls_failed",
                    "the server does not use TLS: leave tls out, or switch it on there"
                    if tls is not None
                    else "the server requires TLS: name the authority of its certificate, tls.ca",
                )
            await process_info(info, initial_connection)

        client._process_info = insist_on_tls  # noqa: SLF001 - the same
        process_op_err = client._process_op_err  # noqa: SLF001 - the same

        async def end(error: Exception) -> None:
            # The client flushes a socket that is broken, and then neither ends nor reports it.
            with contextlib.suppress(OSError, RuntimeError):
                await process_op_err(error)
            await self._closed()

        client._process_op_err = end  # noqa: SLF001 - the same
        secured = {} if tls is None else {
            "tls": tls.context, "tls_hostname": tls.settings.server_name or self.address.host
        }  # fmt: skip
        await client.connect(
            servers=[f"nats://{self.address}"],
            name=name,
            error_cb=self._note,
            closed_cb=self._closed,
            allow_reconnect=False,
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            connect_timeout=settings.connect_timeout,
            ping_interval=PING_S,
            max_outstanding_pings=2,
            pending_size=_PENDING_BYTES,
            **secured,
            **login,
        )

    async def _note(self, error: Exception) -> None:
        self._last_error = printable(str(error) or type(error).__name__, _SHOWN_CHARACTERS)
        self._noted = error

    async def _closed(self) -> None:
        if self._ended.is_set():
            return
        error = self._client.last_error
        self.lost = printable(str(error), _SHOWN_CHARACTERS) if error is not None else "the server ended it"
        self._ended.set()
        for request in list(self._requests):
            request.cancel()

    def _in_words(self, error: BaseException, settings: NatsSettings) -> NatsTrouble:
        """The reason why a connection failed."""
        noted = self._noted if self._noted is not None and not isinstance(self._noted, Error) else error
        text = printable(str(noted) or type(noted).__name__, _SHOWN_CHARACTERS)
        if isinstance(noted, ssl.SSLError):
            words = in_words(noted)
            if "certificate required" in words:
                words += " (tls.cert and tls.key)"
            return NatsRefused("tls_failed", f"{self.address}: {words}")
        if "authorization" in text.lower() or "authentication" in text.lower():
            return NatsRefused("unauthorized", f"{self.address}: the server refuses the login")
        if isinstance(noted, ConnectionError | EOFError) and settings.tls.ca is not None:
            hint = (
                ""
                if settings.tls.cert is not None
                else "; it may ask for a certificate (tls.cert and tls.key)"
            )
            return NatsTrouble("connect", f"{self.address}: it ended the TLS handshake: {text}{hint}")
        if isinstance(error, TimeoutError):
            text = f"no answer within {settings.connect_timeout:g} s"
        return NatsTrouble("connect", f"{self.address}: {text}")

    async def ended(self) -> None:
        """Wait for the end of the connection."""
        await self._ended.wait()

    async def close(self) -> None:
        """Close the connection. Raises nothing but `CancelledError`; then it is closed too."""
        self.lost = self.lost or "it was closed"
        try:
            async with asyncio.timeout(PING_S):
                await self._client.close()
        except (OSError, Error, TimeoutError, AttributeError):  # a half open one cannot be flushed
            pass
        finally:
            self.abort()

    def abort(self) -> None:
        """Close the socket."""
        if self._watching is not None:
            self._watching.cancel()
        transport = self._client._transport  # noqa: SLF001 - the only way to its socket
        if transport is not None:
            transport.close()

    async def request(
        self,
        subject: str,
        payload: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        timeout_s: float,
    ) -> Msg:
        """The answer to a request. Raises `NatsTrouble`: disconnected, no_stream or no_answer."""
        return await self._unless_lost(
            subject, lambda: self._client.request(subject, payload, timeout=timeout_s, headers=headers)
        )

    async def _unless_lost(self, subject: str, call: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        if self.lost is not None:
            raise NatsTrouble("disconnected", f"{self.address}: {self.lost}")
        current = asyncio.current_task()
        cancels = current.cancelling() if current is not None else 0
        task = asyncio.ensure_future(call())
        self._requests.add(task)
        try:
            result = await task
            # `asyncio.wait_for`, which the client uses, forgets a cancellation that comes with the answer.
            if current is not None and current.cancelling() > cancels:
                raise asyncio.CancelledError  # noqa: TRY301 - it is handled as one that came in time
            return result  # noqa: TRY300 - the errors below are those of the call
        except asyncio.CancelledError:
            if self.lost is None or (current is not None and current.cancelling() > cancels):
                raise
            raise NatsTrouble("disconnected", f"{self.address}: {self.lost}") from None
        except NoRespondersError:
            raise NatsTrouble(
                "no_stream", f"no stream takes {subject}, or its servers are electing a leader"
            ) from None
        except (NatsTimeoutError, TimeoutError):
            raise NatsTrouble("no_answer", f"{self.address}: none in time{self._why()}") from None
        except (Error, OSError) as error:
            text = printable(str(error) or type(error).__name__, _SHOWN_CHARACTERS)
            raise NatsTrouble("disconnected", f"{self.address}: {text}") from None
        finally:
            self._requests.discard(task)

    def _why(self) -> str:
        """The last error that the server sent by itself, such as a missing permission."""
        return f" ({self._last_error})" if self._last_error else ""

    async def api(
        self, what: str, content: Mapping[str, Any] | None = None, *, timeout_s: float
    ) -> dict[str, Any]:
        """Call the API of JetStream. Raises `NatsTrouble` or `ApiError`."""
        body = b"" if content is None else json.dumps(content).encode()
        return answered(await self.request(f"$JS.API.{what}", body, timeout_s=timeout_s))

    async def publish(self, subject: str, payload: bytes, reply: str = "") -> None:
        """Send a message that nobody answers. Raises `NatsTrouble`."""
        await self._unless_lost(subject, lambda: self._client.publish(subject, payload, reply=reply))

    async def subscribe(self, take: Callable[[Msg], Awaitable[None]]) -> tuple[str, Any]:
        """A new inbox, whose messages are given to `take`, and its subscription. Raises `NatsTrouble`."""
        inbox = self._client.new_inbox()
        subscription = await self._unless_lost(inbox, lambda: self._client.subscribe(inbox, cb=take))
        return inbox, subscription

    async def forget(self, subscription: Any) -> None:
        """End a subscription. Its messages that are on their way are lost. Raises `NatsTrouble`."""
        await self._unless_lost("the inbox", subscription.unsubscribe)

    async def unsubscribe(self, subscription: Any) -> None:
        """End a subscription. Its messages that are on their way are taken first. Raises `NatsTrouble`."""
        client = self._client

        async def end() -> None:
            # The method of the subscription itself discards what comes before the server's answer.
            await client._send_unsubscribe(subscription._id)  # noqa: SLF001 - the same
            await client.flush(timeout=PING_S)
            async with asyncio.timeout(PING_S):
                while subscription.pending_msgs:
                    await asyncio.sleep(0)
            await subscription.unsubscribe()

        await self._unless_lost("the inbox", end)


def answered(message: Msg) -> dict[str, Any]:
    """The content of JetStream's answer. Raises `ApiError`."""
    try:
        content = json.loads(message.data)
        fault = content.get("error")
    except (ValueError, AttributeError):
        raise NatsTrouble("refused", "the answer is not one of JetStream") from None
    if fault:
        text = printable(str(fault.get("description", "")), _SHOWN_CHARACTERS)
        raise ApiError(int(fault.get("err_code", 0)), text)
    found: dict[str, Any] = content
    return found


def _read_files(settings: NatsSettings, base_dir: Path) -> tuple[ClientTls | None, dict[str, Any]]:
    return ClientTls.read(settings.tls, base_dir), login_of(settings, base_dir)


class Connector:
    """Makes connections to the servers, one after the other in their order."""

    def __init__(self, settings: NatsSettings, base_dir: Path, name: str) -> None:
        self._settings = settings
        self._base_dir = base_dir
        self._name = name
        self._next = 0

    async def connect(self) -> NatsConnection:
        """A connection to the first server that can be reached, from the next one on.

        Raises `NatsTrouble` of the last server, `NatsRefused` if one refuses, or `EnvironmentFault`.
        """
        servers = self._settings.servers
        trouble = NatsTrouble("connect", "there is no server")
        for _ in servers:
            address = servers[self._next % len(servers)]
            try:
                return await NatsConnection.to(address, self._settings, self._base_dir, self._name)
            except NatsRefused:
                self._next += 1
                raise
            except NatsTrouble as failed:
                self._next += 1
                trouble = failed
        raise trouble

    def read_files(self) -> None:
        """Read the files of TLS and of the login. Raises `EnvironmentFault`."""
        _read_files(self._settings, self._base_dir)
