"""Whether a source file belongs to streamd, to a library or to the user."""

import sysconfig
from pathlib import Path

_OURS = f"{Path(__file__).parents[1]}/"
_INSTALLED = tuple(
    {sysconfig.get_path(name).rstrip("/") + "/" for name in ("stdlib", "platstdlib", "purelib", "platlib")}
)
_PACKAGES = ("/site-packages/", "/dist-packages/")


def is_streamd(filename: str) -> bool:
    """Whether the file belongs to streamd, or is one of Python's `<frozen …>` modules."""
    return filename.startswith((_OURS, "<"))


def is_installed(filename: str) -> bool:
    """Whether the file belongs to Python or to an installed package."""
    return filename.startswith(_INSTALLED) or any(part in filename for part in _PACKAGES)
