"""What a NATS server cannot do now, or refuses."""

from streamd.core.errors import EnvironmentFault


class MissingStream(EnvironmentFault):
    """There is no stream of this name."""


class NatsTrouble(Exception):  # noqa: N818 - the source and the sink wait until it is over
    """A server cannot do something now. `reason` is from a closed set, `detail` a free text."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


class NatsRefused(NatsTrouble):
    """The server refuses the login, or TLS fails: an operator has to change something."""


class ApiError(NatsTrouble):
    """JetStream answered with an error. `code` is its number in the protocol of JetStream."""

    def __init__(self, code: int, description: str) -> None:
        super().__init__("refused", f"{description} (JetStream error {code})")
        self.code = code
