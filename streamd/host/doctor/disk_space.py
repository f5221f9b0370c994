"""Checks whether the disks have space for the files that the configuration lets grow."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamd.config import Loaded
from streamd.core.errors import ConfigError
from streamd.core.listed import listed
from streamd.files.dated import files_of
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.host.notes import size
from streamd.host.rehearsal import outputs
from streamd.parquet.places import SUFFIX, Places
from streamd.sqlite.files import free_bytes

CHECK = "disk_space"


@dataclass(frozen=True, slots=True)
class OutputFile:
    """One file, or all files of a dated path. `has_bytes` is None if there is no file yet, `max_bytes` if its
    size has no limit.
    """

    owner: str
    has_bytes: int | None
    max_bytes: int | None
    min_free_bytes: int = 0
    has_max_age: bool = False


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Findings by file system. Outputs on the same file system share its free space."""
    del host
    together: dict[int, tuple[Path, list[OutputFile]]] = {}
    for path, output in _outputs(loaded):
        folder = existing(path)
        try:
            device = folder.stat().st_dev
        except OSError as error:
            yield Finding("unknown", CHECK, f"{folder}: {error.strerror}")
            continue
        together.setdefault(device, (folder, []))[1].append(output)
    for folder, found in together.values():
        yield from judge(folder, free_bytes(folder), found)


def judge(folder: Path, free: int, found: Iterable[OutputFile]) -> Iterator[Finding]:
    """Compare the possible growth of the outputs with the free space of their file system."""
    found = list(found)
    text = f"{folder} has {size(free)} free"
    for output in found:
        if free < output.min_free_bytes:
            yield Finding(
                "problem",
                CHECK,
                f"{text}, {output.owner} stops writing below {size(output.min_free_bytes)} (min_free)",
                (f"df -h {folder} && du -xh --max-depth=1 {folder} | sort -h | tail",),
            )
    growth = sum(max(0, (output.max_bytes or 0) - (output.has_bytes or 0)) for output in found)
    kept_free = max((output.min_free_bytes for output in found), default=0)
    if growth > free - kept_free:
        owners = listed(output.owner for output in found if output.max_bytes)
        yield Finding("advice", CHECK, f"{text}, {owners} may grow by {size(growth)} (max_size)")
    for output in found:
        if output.max_bytes is None and not output.has_max_age:
            key = (
                "[ledger] max_age"
                if output.owner == "ledger"
                else f"{output.owner}.retention.max_age or .max_size"
            )
            has = "no visible file yet" if output.has_bytes is None else size(output.has_bytes)
            yield Finding("advice", CHECK, f"{output.owner} has {has} and no limit: {key} would set one")
    if not any(free < output.min_free_bytes for output in found):
        yield Finding("fine", CHECK, f"{text}, {size(kept_free)} must stay free")


def existing(path: Path) -> Path:
    """The nearest existing folder above the path."""
    return next(parent for parent in path.parents if parent.exists())


def _outputs(loaded: Loaded) -> Iterator[tuple[Path, OutputFile]]:
    config = loaded.config
    for owner, path in outputs(loaded):
        has_bytes = _has_bytes(path)
        if owner == "ledger":
            has_max_age = config.ledger.max_age is not None
            yield path, OutputFile(owner, has_bytes, None, has_max_age=has_max_age)
        elif owner == "dead_letters":
            yield path, OutputFile(owner, has_bytes, config.dead_letters.max_size)
        else:
            retention: Any = getattr(config.sinks[owner.removeprefix("sinks.")], "retention", None)
            if retention is not None:
                yield (
                    path,
                    OutputFile(
                        owner,
                        has_bytes,
                        retention.max_size,
                        retention.min_free,
                        has_max_age=retention.max_age is not None,
                    ),
                )


def _has_bytes(path: Path) -> int | None:
    """The size of the files. None if there are none; files that this user may not see count as none."""
    try:
        files = Places(path).files() if path.suffix == SUFFIX else files_of(path)
        return sum(file.stat().st_size for file in files) if files else None
    except (OSError, ConfigError):
        return None
