"""Looks at a stream of JetStream before it is used, and makes it where the configuration says so."""

from dataclasses import dataclass
from typing import Any

from streamd.core.errors import EnvironmentFault
from streamd.jetstream.connection import NatsConnection
from streamd.jetstream.create import CreateSettings
from streamd.jetstream.messages import PARTITION
from streamd.jetstream.trouble import ApiError, MissingStream

API_TIMEOUT_S = 5.0
"""Longest wait for an answer about a stream or a consumer."""
_NO_STREAM = 10059
_NS = 1_000_000_000


@dataclass(slots=True, frozen=True)
class Stream:
    """What the server says about a stream."""

    duplicate_window_s: float
    max_message_bytes: int
    """Most bytes of a message with its headers."""


async def find_stream(
    connection: NatsConnection, name: str, subjects: list[str], create: CreateSettings | None
) -> Stream:
    """Check that records can be published to the stream, and make it if it is missing and `create` is set.

    Raises `EnvironmentFault` with the command that mends the stream, or `NatsTrouble`.
    """
    config = await _config_of(connection, name)
    if config is None:
        if create is None:
            raise MissingStream(
                f"there is no stream {name}: run nats stream add {name} --subjects '{','.join(subjects)}'"
                " --discard new --storage file, or let the sink make it with create"
            )
        made = await connection.api(
            f"STREAM.CREATE.{name}", _new_config(name, subjects, create), timeout_s=API_TIMEOUT_S
        )
        config = made["config"]
    _check(name, config, subjects)
    most = config.get("max_msg_size", -1)
    payload = connection.max_payload
    return Stream(
        config.get("duplicate_window", 0) / _NS, min(payload, most) if most and most > 0 else payload
    )


async def find_partitions(connection: NatsConnection, name: str, subject: str, partitions: int) -> str:
    """When the stream was made, which tells it from another stream of its name.

    Raises `NatsTrouble`, and `EnvironmentFault` if it has messages of a partition that no worker would read.
    """
    what = {"subjects_filter": subject.replace(PARTITION, "*")}
    info = await connection.api(f"STREAM.INFO.{name}", what, timeout_s=API_TIMEOUT_S)
    place = subject.split(".").index(PARTITION)
    for found in info["state"].get("subjects") or ():
        number = found.split(".")[place]
        if number.isdecimal() and int(number) >= partitions:
            raise EnvironmentFault(
                f"the stream {name} holds messages of the subject {found}, which no worker reads with"
                f" partitions = {partitions}: set partitions as in the sink that writes the stream"
            )
    return str(info["created"])


async def _config_of(connection: NatsConnection, name: str) -> dict[str, Any] | None:
    try:
        info = await connection.api(f"STREAM.INFO.{name}", timeout_s=API_TIMEOUT_S)
    except ApiError as error:
        if error.code == _NO_STREAM:
            return None
        raise
    config: dict[str, Any] = info["config"]
    return config


def _new_config(name: str, subjects: list[str], create: CreateSettings) -> dict[str, Any]:
    return {
        "name": name,
        "subjects": subjects,
        "storage": "file",
        "discard": "new",
        "retention": create.retention,
        "num_replicas": create.replicas,
        "max_bytes": create.max_bytes,
        "max_age": int((create.max_age or 0) * _NS),
        "duplicate_window": int(create.duplicate_window * _NS),
    }


def _check(name: str, config: dict[str, Any], subjects: list[str]) -> None:
    """Raises `EnvironmentFault` for a stream that would lose records or take none."""
    if config.get("discard") != "new":
        raise EnvironmentFault(
            f"the stream {name} deletes its oldest messages when it is full, read or not: run nats stream"
            f" edit {name} --discard new"
        )
    if config.get("no_ack"):
        raise EnvironmentFault(
            f"the stream {name} acknowledges no message (no_ack): run nats stream edit {name} --ack"
        )
    taken = config.get("subjects") or []
    missing = [one for one in subjects if not any(covers(pattern, one) for pattern in taken)]
    if missing:
        raise EnvironmentFault(
            f"the stream {name} does not take the subject {missing[0]}: run nats stream edit {name}"
            f" --subjects '{','.join([*taken, *missing])}'"
        )


def covers(pattern: str, subject: str) -> bool:
    """Whether every subject that `subject` stands for, which may have wildcards too, matches the pattern."""
    wanted, given = pattern.split("."), subject.split(".")
    for index, part in enumerate(wanted):
        if part == ">":
            return len(given) > index
        if index >= len(given) or given[index] == ">":
            return False
        if part not in ("*", given[index]):
            return False
    return len(wanted) == len(given)
