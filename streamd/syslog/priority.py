"""The priority of a message: `<34>` is facility 4 and severity 2."""

import re

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv",
    "ftp", "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5",
    "local6", "local7",
)  # fmt: skip
"""The names of facilities 0 to 23 (RFC 5424 section 6.2.1), as rsyslog and `logger` write them."""
SEVERITIES = ("emerg", "alert", "crit", "err", "warning", "notice", "info", "debug")
"""The names of severities 0 to 7."""
HIGHEST = 191
"""The highest priority: facility 23, severity 7."""

_PRIORITY = re.compile(r"<(\d{1,3})>", re.ASCII)


def priority(text: str) -> tuple[int, int] | None:
    """The priority at the beginning of `text`, and where it ends; None if there is none from 0 to 191."""
    found = _PRIORITY.match(text)
    if found is None or (number := int(found[1])) > HIGHEST:
        return None
    return number, found.end()
