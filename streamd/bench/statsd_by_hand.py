"""The baseline of the step statsd_aggregate: counters as one sums them up by hand."""

from datetime import UTC, datetime

from streamd.bench.by_hand import Loop
from streamd.core.batch import METADATA_KEYS, Record

INTERVAL_S = 10
_BEGAN = 1_769_846_400
"""2026-01-31T08:00:00Z, when the sensor stream begins."""


def counter(record: Record) -> Record:
    """A counter with the name of the sensor."""
    metadata = {key: value for key, value in record.items() if key in METADATA_KEYS}
    return {**metadata, "name": record["sensor"], "type": "counter", "value": float(record["seq"] % 7)}


def sums() -> Loop:
    """A record for each counter every ten seconds."""
    cells: dict[str, list[float]] = {}
    window = 0

    def loop(records: list[Record], at_s: float) -> list[Record]:
        nonlocal cells, window
        made: list[Record] = []
        if (reached := int(at_s // INTERVAL_S)) != window:
            begin, end = map(_text, (window, window + 1))
            metadata = {key: records[0][key] for key in METADATA_KEYS if key in records[0]}
            made = [
                {
                    "name": name, "type": "counter", "tags": {}, "window_start": begin, "window_end": end,
                    "value": total, "count": count, "rate": total / INTERVAL_S, "complete": True, **metadata,
                }
                for name, (total, count) in cells.items()
            ]  # fmt: skip
            cells, window = {}, reached
        for record in records:
            cell = cells.get(record["name"])
            if cell is None:
                cell = cells[record["name"]] = [0.0, 0.0]
            cell[0] += record["value"]
            cell[1] += 1.0
        return made

    return loop


def _text(window: int) -> str:
    at = datetime.fromtimestamp(_BEGAN + window * INTERVAL_S, UTC)
    return at.strftime("%Y-%m-%dT%H:%M:%S.000000Z")
