"""Looks at a durable pull consumer of a stream, and makes it if it is missing."""

from dataclasses import dataclass
from typing import Any, Literal

from streamd.core.errors import EnvironmentFault
from streamd.jetstream.connection import NatsConnection
from streamd.jetstream.streams import API_TIMEOUT_S
from streamd.jetstream.trouble import ApiError, MissingStream

_NO_STREAM = 10059
_NO_CONSUMER = 10014
_NS = 1_000_000_000
GROUP = "streamd"
"""The group of the workers of which one reads a partition."""


@dataclass(slots=True, frozen=True)
class Consumer:
    """The options of a consumer."""

    stream: str
    name: str
    subject: str | None
    """The subjects that it reads; None for all of the stream."""
    new_only: bool
    """Whether a new consumer begins behind the last message."""
    ack_wait_s: float
    max_ack_pending: int
    pull: int
    """Most messages that are on their way."""
    takeover_s: float | None = None
    """Set if one worker at a time reads it: how long that one may be silent before the server lets another
    one read."""

    @property
    def config(self) -> dict[str, Any]:
        """The configuration for the server."""
        config: dict[str, Any] = {
            "durable_name": self.name,
            "name": self.name,
            "ack_policy": "explicit",
            "ack_wait": int(self.ack_wait_s * _NS),
            "max_ack_pending": self.max_ack_pending,
            "deliver_policy": "new" if self.new_only else "all",
        }
        if self.takeover_s is not None:
            config |= {
                "priority_groups": [GROUP],
                "priority_policy": "pinned_client",
                "priority_timeout": int(self.takeover_s * _NS),
            }
        return config if self.subject is None else config | {"filter_subject": self.subject}


async def find_consumer(
    connection: NatsConnection, consumer: Consumer, if_missing: Literal["make", "pass", "refuse"]
) -> None:
    """Check the consumer, or make it. Raises `EnvironmentFault` or `NatsTrouble`."""
    stream, name, wanted = consumer.stream, consumer.name, consumer.config
    config = await _config_of(connection, stream, name)
    if config is None and if_missing == "pass":
        return
    if config is None and if_missing == "refuse":
        raise EnvironmentFault(
            f"the consumer {name} of {stream} was deleted; a restart makes a new one, which begins at `start`"
        )
    if config is None:
        what = f"CONSUMER.CREATE.{stream}.{name}" + (
            "" if consumer.subject is None else f".{consumer.subject}"
        )
        made = await connection.api(
            what, {"stream_name": stream, "config": wanted, "action": "create"}, timeout_s=API_TIMEOUT_S
        )
        config = made["config"]
    _check(stream, name, config, wanted)


async def _config_of(connection: NatsConnection, stream: str, name: str) -> dict[str, Any] | None:
    try:
        config: dict[str, Any] = (await consumer_info(connection, stream, name))["config"]
    except ApiError as error:
        if error.code == _NO_STREAM:
            raise MissingStream(
                f"there is no stream {stream}: start what writes to it first, or run nats stream add {stream}"
            ) from None
        if error.code == _NO_CONSUMER:
            return None
        raise
    return config


async def consumer_info(connection: NatsConnection, stream: str, name: str) -> dict[str, Any]:
    """The state of the consumer. Raises `NatsTrouble`."""
    return await connection.api(f"CONSUMER.INFO.{stream}.{name}", timeout_s=API_TIMEOUT_S)


def _check(stream: str, name: str, config: dict[str, Any], wanted: dict[str, Any]) -> None:
    """Raises `EnvironmentFault` for a consumer that does not do as the options say."""
    remove = f"remove it with nats consumer rm {stream} {name}, or choose another name"
    if config.get("deliver_subject"):
        raise EnvironmentFault(f"the consumer {name} of {stream} pushes, and the source pulls: {remove}")
    if config.get("ack_policy") != "explicit":
        raise EnvironmentFault(f"the consumer {name} of {stream} needs no acknowledgements: {remove}")
    for key, option in (
        ("filter_subject", "subject"),
        ("ack_wait", "ack_wait" if "priority_timeout" not in wanted else "takeover"),
        ("max_ack_pending", "max_ack_pending"),
        ("priority_groups", "partitions"),
        ("priority_timeout", "takeover"),
    ):
        if (config.get(key) or None) != wanted.get(key):
            shown = config.get(key)
            if key in ("ack_wait", "priority_timeout") and isinstance(shown, int):
                shown = f"{shown / _NS:g}s"
            raise EnvironmentFault(
                f"the consumer {name} of {stream} has another {option}, {shown or 'none'}: {remove}, or set"
                f" {option} to that"
            )
    if config.get("max_deliver", -1) > 0:
        raise EnvironmentFault(
            f"the consumer {name} of {stream} gives messages up by itself (max_deliver), which loses them:"
            f" run nats consumer edit {stream} {name} --max-deliver=-1"
        )
