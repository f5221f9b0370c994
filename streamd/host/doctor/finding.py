"""The finding of one check, and its text."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["problem", "advice", "unknown", "fine"]
SEVERITIES: tuple[Severity, ...] = ("problem", "advice", "unknown", "fine")
"""Most important first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `streamd doctor`: what is and what should be, and the lines of a shell that mend it.

    A `problem` loses data or keeps the daemon from starting; `advice` may one day; `unknown` could not be
    seen from here.
    """

    severity: Severity
    check: str
    text: str
    paste: tuple[str, ...] = ()


def sysctl(key: str, value: int) -> tuple[str, ...]:
    """The lines that set a kernel parameter now and at every boot."""
    return (
        f"sysctl -w {key}={value}",
        f"echo '{key} = {value}' > /etc/sysctl.d/60-streamd-{key.rpartition('.')[2]}.conf",
    )
