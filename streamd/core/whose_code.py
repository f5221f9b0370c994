"""Whose a source file is: streamd's, a library's, or the user's."""

import sysconfig
from pathlib import Path

_OURS = f"{Path(__file__).parents[1]}/"
_INSTALLED = tuple(
    {sysconfig.get_path(name).rstrip("/") + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_PACKAGES = ("/site-packages/", "/dist-packages/")


def is_ours(filename: str) -> bool:
    """Whether it is a file of streamd, or Python's own `<frozen …>`."""
    return filename.startswith((_OURS, "<"))


def is_installed(filename: str) -> bool:
    """Whether it belongs to Python or to an installed package."""
    return filename.startswith(_INSTALLED) or any(part in filename for part in _PACKAGES)
