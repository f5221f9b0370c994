"""The options of the source `nats`."""

from typing import Literal, Self

from pydantic import Field, model_validator

from streamd.core.conversion_settings import CompressedDatagrams
from streamd.core.settings import Component, DurationS, FramingSettings, SizeBytes
from streamd.jetstream.messages import PARTITION
from streamd.jetstream.settings import NatsSettings, StreamName


class NatsSourceSettings(NatsSettings, CompressedDatagrams):
    """The options of the source."""

    consumer: StreamName = Field(
        description="name of the durable consumer, which remembers what was acknowledged. Sources that"
        " share the work of a stream have the same name"
    )
    subject: str | None = Field(
        None,
        pattern=r"^[^$\s.*>][^\s.*>]*(\.([^\s.*>]+|\*))*(\.>)?$",
        description="reads only these subjects of the stream; * is any word, > any rest. Default: all",
    )
    partitions: int | None = Field(
        None,
        ge=1,
        le=1024,
        description=f"number of partitions, the same for all workers; {PARTITION} in `subject` and the"
        " name of the consumer of a partition have its number. One worker at a time reads it. Default:"
        " workers share the messages of one consumer, in any order",
    )
    takeover: DurationS = Field(
        "5s",  # type: ignore[assignment]  # parsed by the validator
        ge=1,
        le=600,
        description="with partitions: how long a worker may be silent before another one reads its"
        " partitions",
    )
    start: Literal["beginning", "end"] = Field(
        "beginning",
        description="where a new consumer begins: beginning (the oldest message) or end (messages that"
        " come after it was made)",
    )
    framing: Component | None = Field(
        "newline",  # type: ignore[assignment]  # parsed by the validator
        description="the framing, which cuts a message into frames; none: a message is one frame",
    )
    max_frame: SizeBytes = Field("64KiB", description="longest frame in a message")  # type: ignore[assignment]  # parsed by the validator
    oversize: Literal["truncate", "drop"] = Field(
        "truncate",
        description="what happens to a longer frame: truncate (keep max_frame bytes, with a flag) "
        "or drop (and count it)",
    )
    pull: int = Field(32, ge=1, le=10_000, description="most messages that are on their way to the source")
    ack_wait: DurationS = Field(
        "30s",  # type: ignore[assignment]  # parsed by the validator
        ge=1,
        description="how long after the last sign of life a message is delivered again",
    )
    max_ack_pending: int = Field(
        20_000,
        ge=1,
        description="most messages of the consumer that are being processed, by all its sources. Steps"
        " that keep records, such as windows, keep their messages unacknowledged",
    )
    max_deliver: int = Field(
        5,
        ge=1,
        description="deliveries without an acknowledgement after which a message is a dead letter",
    )

    @model_validator(mode="after")
    def _has_partitions(self) -> Self:
        has_place = self.subject is not None and PARTITION in self.subject.split(".")
        if (self.partitions is not None) != has_place:
            raise ValueError(
                f"with partitions, a word of the subject is {PARTITION}, as in readings.{PARTITION}"
                if self.partitions is not None
                else f"{PARTITION} in the subject needs partitions: their number"
            )
        for name, why in (
            ("start", "all messages that are not stored are read"),
            ("max_deliver", "a message is read again until it is stored"),
            ("ack_wait", "it is as long as takeover"),
        ):
            if self.partitions is not None and name in self.model_fields_set:
                raise ValueError(f"{name} has no effect with partitions: {why}")
        if self.partitions is None and "takeover" in self.model_fields_set:
            raise ValueError("takeover needs partitions")
        return self

    @property
    def claims_inputs(self) -> bool:
        """With partitions."""
        return self.partitions is not None

    @property
    def cut_by(self) -> FramingSettings | None:
        """None without a framing: a message is one frame."""
        if self.framing is None or self.framing.type == "none":
            return None
        return FramingSettings(self.framing, self.max_frame, self.oversize)
