"""Reads the usual message of RFC 3164: `<34>Oct 11 22:14:15 host tag[pid]: message`."""

import re
from functools import lru_cache
from typing import Any

from streamd.syslog import stamps
from streamd.syslog.priority import HIGHEST

_PRIORITIES = {f"{number}": (number >> 3, number & 7) for number in range(HIGHEST + 1)}
_MESSAGE = re.compile(
    r"""<([0-9]{1,3})>
    ([A-Z][a-z]{2}[ ][ 0-3][0-9][ ][0-2][0-9]:[0-5][0-9]:[0-6][0-9])[ ]
    (?!(?:19|20)[0-9]{2}[ ]|[A-Z]++[ ]|From[ ])  # a year, the name of a zone, AIX
    ([A-Za-z0-9][\w.-]{0,254}+)[ ]
    ([A-Za-z_][\w./-]{0,127}+)(?:\[([0-9]{1,20}+)\])?:[ ]""",
    re.ASCII | re.VERBOSE,
)
_DAY_S = 86_400


def read(text: str, received_at: float, timezone: str) -> tuple[Any, ...] | None:
    """The values of a `SyslogMessage`; None for a text that `any_format.read` has to read.

    `any_format.read` gives the same values. Costs a fifth of it.
    """
    found = _MESSAGE.match(text)
    if found is None:
        return None
    number, stamp, hostname, appname, procid = found.groups()
    priority = _PRIORITIES.get(number)
    timestamp = _time(stamp, int(received_at // _DAY_S), timezone)
    if priority is None or timestamp is None:
        return None
    return timestamp, *priority, hostname, appname, procid, None, None, text[found.end() :]


@lru_cache(4096)
def _time(stamp: str, received_day: int, timezone: str) -> str | None:
    found = stamps.read(stamp, 0, received_day * _DAY_S, timezone)
    return None if found is None else found.timestamp
