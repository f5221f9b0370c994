from collections.abc import Callable, Mapping
from fractions import Fraction
from hashlib import blake2b
from typing import ClassVar, Literal, Self

import msgspec
from pydantic import Field, model_validator

from streamd.core.batch import Record
from streamd.core.contracts import BadRecord, Processed, Step, StepContext
from streamd.core.errors import BadData
from streamd.core.now import Now
from streamd.core.record_key import Key, KeyTexts, RecordKey
from streamd.core.settings import Settings

_State = tuple[Literal["sample"], int]
_HASH_BYTES = 8
_HASHES = 256**_HASH_BYTES


class Sample(Step["Sample.Config"]):
    """Lets a part of the records pass, and filters out the others.

    With a key, all records of a key pass or none: a hash of the key decides, so the choice is the same in
    every run and on every machine, and a larger `rate` passes the same keys and more. Without a key, the
    records pass at even distances, beginning with the first: with `one_in = 10` the 1st, the 11th, the 21st.

    A record costs about 0.9 µs with a key and 0.05 µs without one. Without a key the state is one
    number; with a key there is none.
    """

    in_each_process = True

    counters: ClassVar[Mapping[str, str]] = {"not_sampled": "records filtered out by the choice"}

    class Config(Settings):
        """Which part passes: either `rate` or `one_in`."""

        rate: float | None = Field(None, gt=0, lt=1, description="share that passes; or set one_in")
        one_in: int | None = Field(None, ge=2, le=2**32, description="one of this number passes; or set rate")
        key: KeyTexts = Field(
            [],
            description="expressions, mostly names of fields; all records with the same values pass, or none."
            " Default: a count of the records decides",
        )

        @model_validator(mode="after")
        def _check(self) -> Self:
            if (self.rate is None) == (self.one_in is None):
                raise ValueError("a sample step has either rate or one_in")
            return self

        @property
        def share(self) -> Fraction:
            """The share that passes; a rate is read as the decimal number that it is written as."""
            return Fraction(1, self.one_in) if self.one_in else Fraction(repr(self.rate))

    def __init__(self, config: Config, context: StepContext) -> None:
        super().__init__(config, context)
        self._passing, self._of = config.share.as_integer_ratio()
        self._count = 0
        """`_passing` times the number of records, modulo `_of`; below `_passing` a record passes."""
        self._key: Callable[[Record], Key] | None = None
        if config.key:
            self._key = RecordKey(config.key, context.fields).of
            self._below = -(-_HASHES * self._passing // self._of)

    def process(self, records: list[Record], now: Now) -> Processed:
        done = self._counted(records) if self._key is None else self._by_key(records, self._key)
        done.filtered = len(records) - len(done.records) - len(done.rejects)
        if done.filtered:
            self.context.counters.add("not_sampled", done.filtered)
        return done

    def _counted(self, records: list[Record]) -> Processed:
        passing, of, count = self._passing, self._of, self._count
        chosen = []
        for record in records:
            if count < passing:
                chosen.append(record)
            count += passing
            if count >= of:
                count -= of
        self._count = count
        return Processed(chosen)

    def _by_key(self, records: list[Record], key_of: Callable[[Record], Key]) -> Processed:
        below = self._below
        done = Processed([])
        for record in records:
            try:
                key = key_of(record)
            except BadData as bad:
                done.rejects.append(BadRecord(record, bad.reason, bad.detail))
                continue
            text = key.encode() if isinstance(key, str) else key
            if int.from_bytes(blake2b(text, digest_size=_HASH_BYTES).digest(), "big") < below:
                done.records.append(record)
        return done

    @property
    def is_stateful(self) -> bool:
        """Whether a count decides."""
        return self._key is None

    def snapshot(self) -> bytes | None:
        state: _State = ("sample", self._count)
        return msgspec.msgpack.encode(state)

    def restore(self, state: bytes, now: Now) -> None:
        del now
        _, count = msgspec.msgpack.decode(state, type=_State)
        if not 0 <= count < self._of:
            raise ValueError("the count is out of range")
        self._count = count

    def fields_after(self) -> frozenset[str] | None:
        return self.context.fields
