"""Checks the version of Python and the presence of uvloop."""

import importlib.util
import sys
from collections.abc import Iterator

from streamd.config import Loaded
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host

CHECK = "python"
_OLDEST = (3, 11)
_NEWEST_TESTED = (3, 13)


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """One finding."""
    del loaded, host
    yield judge(sys.version_info[:3], has_uvloop=importlib.util.find_spec("uvloop") is not None)


def judge(version: tuple[int, ...], *, has_uvloop: bool) -> Finding:
    """Judge an interpreter's version and event loop."""
    text = f"Python {'.'.join(map(str, version))}"
    if version < _OLDEST:
        return Finding("problem", CHECK, f"{text}, streamd needs 3.11")
    if not has_uvloop:
        return Finding(
            "problem", CHECK, f"{text} without uvloop", (f"{sys.executable} -m pip install uvloop",)
        )
    if version[:2] > _NEWEST_TESTED:
        return Finding("advice", CHECK, f"{text} with uvloop; streamd is tested on 3.11 to 3.13")
    return Finding("fine", CHECK, f"{text} with uvloop")
