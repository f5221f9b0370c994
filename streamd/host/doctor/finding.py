"""The finding of a check."""

from dataclasses import dataclass
from typing import Literal

Severity = Literal["problem", "advice", "unknown", "fine"]
SEVERITIES: tuple[Severity, ...] = ("problem", "advice", "unknown", "fine")
"""Most important first."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `streamd doctor`. `paste` are shell commands that correct it.

    A `problem` loses data or prevents a start. `advice` may lead to that later. `unknown` could not be
    checked from here.
    """

    severity: Severity
    check: str
    text: str
    paste: tuple[str, ...] = ()


def sysctl(key: str, value: int) -> tuple[str, ...]:
    """The shell commands that set a kernel parameter now and at every boot."""
    return (
        f"sysctl -w {key}={value}",
        f"echo '{key} = {value}' > /etc/sysctl.d/60-streamd-{key.rpartition('.')[2]}.conf",
    )
