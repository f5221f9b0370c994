"""`3 of 5`: how often values must be unusual before a record is flagged."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import AfterValidator

from streamd.anomalies.detector import KeyModel

MOST = 64
"""Most values that are looked back at."""
_WRITTEN = re.compile(r"(\d{1,3}) of (\d{1,3})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Persistence:
    """A value counts as an anomaly if it and enough of the values before it were outside the band."""

    needed: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3 of 5`. Raises `ValueError`."""
        found = _WRITTEN.fullmatch(text.strip())
        if found is None:
            raise ValueError(f'{text!r} is not like "3 of 5"')
        needed, of = map(int, found.groups())
        if not 1 <= needed <= of <= MOST:
            raise ValueError(
                f"{text!r}: at least 1, and at most {MOST} values, of which no more can be unusual"
            )
        return cls(needed, of)

    def judge(self, models: Sequence[KeyModel | None], flags: list[bool | None]) -> None:
        """Note for each model whether its next value was unusual, and clear the flag if too few were.

        A value whose flag is None does not count.
        """
        needed, mask = self.needed, (1 << self.of) - 1
        for place, (model, unusual) in enumerate(zip(models, flags, strict=True)):
            if model is not None and unusual is not None:
                model.last = last = (model.last << 1 | unusual) & mask
                flags[place] = unusual and last.bit_count() >= needed


def _check(text: str) -> str:
    Persistence.parse(text)
    return text


PersistenceText = Annotated[str, AfterValidator(_check)]
"""A persistence in the configuration."""
