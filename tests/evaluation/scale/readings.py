"""The readings that the edges send, and the windows that must come of them.

Each partition gets the readings of one site, and each site belongs to one edge. So the readings of a
partition come in the order of their file, and no window depends on which edge is faster.
"""

import json
import zlib
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

PARTITIONS = 8
EDGES = 2
SENSORS = 10
"""Sensors of a site."""
WINDOW_S = 10
STEP_S = 10.0 / (PARTITIONS // EDGES * SENSORS * 20)
"""Time between two readings of an edge: twenty of each sensor in a window."""
DELAY_S = 3
_BEGIN = datetime(2024, 1, 1, tzinfo=UTC)


def _site_of(partition: int) -> str:
    """The first name that the sink puts into this partition."""
    names = (f"site-{number}" for number in count())
    return next(name for name in names if zlib.crc32(name.encode()) % PARTITIONS == partition)


SITES = [_site_of(partition) for partition in range(PARTITIONS)]


def time_text(seconds: float) -> str:
    """As the sinks show it: UTC with microseconds."""
    return (_BEGIN + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def readings_of(edge: int, number: int) -> Iterator[dict[str, Any]]:
    """The first `number` readings of an edge, up to two seconds out of order, and one of each site that ends
    the windows.
    """
    sites = SITES[edge::EDGES]
    for n in range(number):
        site = sites[n % len(sites)]
        late_s = (n * 7919 % 2000) / 1000
        yield {
            "seq": n * EDGES + edge,
            "site": site,
            "sensor": f"{site}/{n // len(sites) % SENSORS}",
            "at": time_text(max(0.0, n * STEP_S - late_s)),
            "value": n * 31 % 1009 / 8,
        }
    for site in sites:
        end = time_text(number * STEP_S + 10 * WINDOW_S)
        seq = (number + sites.index(site)) * EDGES + edge
        yield {"seq": seq, "site": site, "sensor": f"{site}/end", "at": end, "value": 0.0}


def windows_of(each: int) -> int:
    """How many windows of a sensor must close if each edge sends `each` readings."""
    found: dict[str, set[str]] = defaultdict(set)
    for edge in range(EDGES):
        for reading in readings_of(edge, each):
            at = datetime.fromisoformat(reading["at"])
            if not reading["sensor"].endswith("/end"):
                found[reading["sensor"]].add(time_text((at - _BEGIN).total_seconds() // WINDOW_S * WINDOW_S))
    return sum(map(len, found.values()))


def lines_of(edge: int, number: int) -> Iterator[str]:
    """`readings_of` as lines of JSON."""
    return (json.dumps(reading, separators=(",", ":")) + "\n" for reading in readings_of(edge, number))
