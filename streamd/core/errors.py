"""The exceptions that cross package boundaries: configuration, host faults, bad data, framing and sinks."""

from typing import Any


class StreamdError(Exception):
    """Base of the errors that a user can cause or mend. Its text is shown without a traceback."""

    exit_code = 1


class ConfigError(StreamdError):
    """The configuration is wrong. The text has `file:line`, the dotted path and a suggestion.

    A component that refuses an option gives the `keys` of the option; the caller adds the rest of the path.
    """

    exit_code = 2

    def __init__(self, text: str, keys: tuple[str | int, ...] = ()) -> None:
        super().__init__(text)
        self.keys = keys


class EnvironmentFault(StreamdError):  # noqa: N818 - an "EnvironmentError" is Python's own
    """The host refuses what the configuration asks (a port in use, a folder not writable)."""


Place = tuple[str, str]
"""`udp` or `tcp` and an address, or `unix`, `file` (its lock) or `database` and an absolute path."""


class Taken(EnvironmentFault):
    """Another process holds the address, the path of a socket or the lock of a file that a component needs.

    If a daemon with the same configuration holds `place`, this is no error: a reload keeps the place or
    passes it on.
    """

    def __init__(self, text: str, kind: str, name: str) -> None:
        super().__init__(text)
        self.place: Place = kind, name


class BadData(Exception):  # noqa: N818 - it is a verdict on data, not a fault of the program
    """A frame or record that cannot be used.

    `reason` is a short code from a closed set, because it becomes a metric label. `detail` is a free text for
    the dead letter, and may quote the data.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class Reject(BadData):
    """`streamd.Reject`, for steps in Python: the record becomes a dead letter with this text as its detail.

    Raised by a function for a record. A function for batches puts it into the list that it returns, with the
    record that it rejects, which is one of the dicts that it was given.
    """

    def __init__(self, detail: str, record: dict[str, Any] | None = None) -> None:
        super().__init__("rejected", detail)
        self.record = record


class FramingError(Exception):
    """A byte stream broke its framing. The connection is closed and its unread bytes are discarded.

    A framer counts faults that it can skip, and does not raise them. `frames` are the whole frames before the
    fault, `discarded_bytes` is the number of bytes that belong to no frame.
    """

    def __init__(self, reason: str, frames: list[bytes], discarded_bytes: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frames = frames
        self.discarded_bytes = discarded_bytes


class SinkError(Exception):
    """A sink could not write now. The delivery waits and tries the same batches again, without limit."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def describe(error: BaseException) -> str:
    """The `repr` of an exception of the user's code, or its type if `repr` fails."""
    try:
        return repr(error)
    except Exception:  # noqa: BLE001 - `__repr__` may be the user's code
        return type(error).__name__
