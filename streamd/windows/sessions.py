"""Windows that end when a key is silent for a time."""

from typing import Any

from streamd.windows.aggregates import Aggregates
from streamd.windows.keyed import LATE, TAKEN, Bucket, Closed, Keyed, Kind
from streamd.windows.moments import ALWAYS, NEVER


class Sessions(Kind):
    """Sessions: two records belong to one if less than `gap` is between them.

    A session lasts from its first record up to `gap` after its last one. A record between two sessions makes
    one of them. No session gets longer than `max_us`: a record that would make it so begins another one.
    """

    def __init__(self, gap_us: int, max_us: int | None, aggregates: Aggregates) -> None:
        self._gap_us = gap_us
        self._max_us = ALWAYS if max_us is None else max_us
        self._aggregates = aggregates

    def put(self, keyed: Keyed, moment_us: int, row: Any, losses: int) -> int:
        gap_us, buckets = self._gap_us, keyed.buckets
        touched = sorted(
            bucket.first
            for bucket in buckets.values()
            if bucket.first - gap_us < moment_us < bucket.last + gap_us
            and self._fits(min(bucket.first, moment_us), max(bucket.last, moment_us))
        )
        if touched:
            bucket = buckets.pop(touched[0])
        elif moment_us + gap_us <= keyed.watermark_us:
            return LATE
        else:
            bucket = Bucket(losses)
        bucket.rows.append(row)
        bucket.first = min(bucket.first, moment_us)
        bucket.last = max(bucket.last, moment_us)
        for first in touched[1:]:
            if self._fits(min(bucket.first, first), max(bucket.last, buckets[first].last)):
                self._merge(bucket, buckets.pop(first))
        buckets[bucket.first] = bucket
        keyed.next_us = min(bucket.last for bucket in buckets.values()) + gap_us
        return TAKEN

    def _fits(self, first_us: int, last_us: int) -> bool:
        return last_us - first_us + self._gap_us <= self._max_us

    def _merge(self, one: Bucket, other: Bucket) -> None:
        aggregates = self._aggregates
        one.states = aggregates.merge(
            aggregates.folded(one.states, one.rows), aggregates.folded(other.states, other.rows)
        )
        one.count += len(one.rows) + other.count + len(other.rows)
        one.rows = []
        one.first, one.last = min(one.first, other.first), max(one.last, other.last)
        one.losses = min(one.losses, other.losses)

    def updated(self, keyed: Keyed, moment_us: int) -> list[Closed]:
        return []

    def close(self, keyed: Keyed, watermark_us: int) -> list[Closed]:
        if watermark_us < keyed.next_us:
            keyed.watermark_us = max(keyed.watermark_us, watermark_us)
            return []
        last_us = watermark_us - self._gap_us
        ended = sorted(first for first, bucket in keyed.buckets.items() if bucket.last <= last_us)
        closed = [self._window(keyed, keyed.buckets.pop(first)) for first in ended]
        keyed.watermark_us = watermark_us
        keyed.next_us = min((bucket.last + self._gap_us for bucket in keyed.buckets.values()), default=ALWAYS)
        return closed

    def _window(self, keyed: Keyed, bucket: Bucket) -> Closed:
        values = self._aggregates.result(bucket.states, bucket.rows)
        return Closed(keyed, bucket.first, bucket.last + self._gap_us, values, bucket.losses)

    def early(self, keyed: Keyed) -> list[Closed]:
        return []

    def newest_end(self, keyed: Keyed) -> int:
        return max((bucket.last + self._gap_us for bucket in keyed.buckets.values()), default=NEVER)
