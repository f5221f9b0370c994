"""The machine on which the figures were measured."""

import os
import platform
import sqlite3
import sys
from pathlib import Path
from typing import Any

from streamd import __version__


def facts(folder: Path) -> dict[str, Any]:
    """Processor, memory, versions, and the file system under `folder`."""
    return {
        "streamd": __version__,
        "cores": os.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "processor": _first(Path("/proc/cpuinfo"), "model name"),
        "memory_kib": _first(Path("/proc/meminfo"), "MemTotal").removesuffix(" kB"),
        "load_before": os.getloadavg()[0],
        "kernel": platform.release(),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": sqlite3.sqlite_version,
        "platform": sys.platform,
        "file_system": _file_system(folder),
        "rmem_max": _read(Path("/proc/sys/net/core/rmem_max")),
    }


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""


def _first(path: Path, key: str) -> str:
    return next(
        (line.partition(":")[2].strip() for line in _read(path).splitlines() if line.startswith(key)), ""
    )


def _file_system(folder: Path) -> str:
    """The type of the file system, from the longest mount point above the folder."""
    best, kind = "", ""
    for line in _read(Path("/proc/self/mounts")).splitlines():
        _, point, found, *_ = line.split(" ")
        if folder.resolve().is_relative_to(point) and len(point) >= len(best):
            best, kind = point, found
    return kind
