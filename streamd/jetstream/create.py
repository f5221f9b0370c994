"""The options of a stream that streamd makes itself."""

from typing import Literal

from pydantic import Field

from streamd.core.settings import DurationS, Settings, SizeBytes


class CreateSettings(Settings):
    """The stream that the sink makes if there is none of this name."""

    max_bytes: SizeBytes = Field(
        gt=0, description="size at which the stream is full; a full stream makes the sink wait"
    )
    replicas: int = Field(1, ge=1, le=5, description="how many servers of the cluster keep each message")
    retention: Literal["workqueue", "limits"] = Field(
        "workqueue",
        description="workqueue (a message is removed once a worker has acknowledged it) or limits (messages"
        " stay until max_age, and several groups of workers may read them)",
    )
    max_age: DurationS | None = Field(
        None, gt=0, description="messages that are older are removed, read or not. Default: none is"
    )
    duplicate_window: DurationS = Field(
        "2m",  # type: ignore[assignment]  # parsed by the validator
        gt=0,
        description="how long the server knows the id of a message, so that a message that is sent again"
        " after an outage is stored once",
    )
