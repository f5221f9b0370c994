"""The errors that travel between floors; each says which of the three kinds of trouble it is."""


class StreamdError(Exception):
    """Base of everything a user can cause or mend; its text is shown as it is, without a traceback."""

    exit_code = 1


class ConfigError(StreamdError):
    """The configuration is wrong. The text carries `file:line`, the dotted path and a suggestion.

    A component that refuses one of its options gives its `keys`; the caller adds the rest of the path.
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
    """Somebody holds what a component asks for: an address, a socket's path, a file's lock.

    A daemon that runs on the same configuration may be the one who holds `place`, and then it is no refusal:
    a reload keeps it or hands it over.
    """

    def __init__(self, text: str, kind: str, name: str) -> None:
        super().__init__(text)
        self.place: Place = kind, name


class BadData(Exception):  # noqa: N818 - it is a verdict on data, not a fault of the program
    """A frame or record that cannot be used.

    `reason` is a short code from a closed set (it becomes a metric label); `detail` is free text for
    the dead letter and may quote the data.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


class FramingError(Exception):
    """A byte stream broke its framing; the connection is closed and what is unread is discarded.

    Faults a framer can skip are counted by it and never raised. `frames` are the whole frames found
    before the fault, `discarded_bytes` the bytes that never made a frame.
    """

    def __init__(self, reason: str, frames: list[bytes], discarded_bytes: int) -> None:
        super().__init__(reason)
        self.reason = reason
        self.frames = frames
        self.discarded_bytes = discarded_bytes


class SinkError(Exception):
    """A sink could not write now. The wrapper waits and tries the same batches again, for ever."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


def describe(error: BaseException) -> str:
    """`repr` of an error of anybody's making, whose own text may be broken too."""
    try:
        return repr(error)
    except Exception:  # noqa: BLE001 - the text of an exception is anybody's code
        return type(error).__name__
