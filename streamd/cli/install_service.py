"""`streamd install-service`: writes systemd units for this interpreter and this configuration."""

import argparse
import os
import stat
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import streamd
from streamd import config
from streamd.core.errors import EnvironmentFault
from streamd.host import units

EXAMPLE = Path(streamd.__file__).parent / "example.toml"

_SAME = "same   "
_HIDDEN = {
    "ProtectHome=": ("/home", "/root", "/run/user"),
    "PrivateTmp=": ("/tmp", "/var/tmp"),  # noqa: S108 - nothing is written there
}
"""Folders that the service cannot see, by the line of its unit that hides them."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"the service's configuration (default {units.CONFIG}, written as an example if missing)",
    )
    add_prefix(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the files, and write none")


def add_prefix(parser: argparse.ArgumentParser) -> None:
    """Declare `--prefix`."""
    parser.add_argument(
        "--prefix", metavar="DIR", type=Path, default=Path("/"), help="the root of another system (default /)"
    )


def main(args: argparse.Namespace) -> int:
    """Write the files and print the next commands. Raises `ConfigError` or `EnvironmentFault`."""
    prefix: Path = args.prefix.absolute()
    path: Path = (args.config or units.CONFIG).absolute()
    staged = below(prefix, path)
    files: dict[Path, str] = {}
    if args.config is not None or staged.exists():
        loaded = config.load(path if args.config is not None else staged)
    else:
        loaded = config.load(EXAMPLE)
        files[path] = EXAMPLE.read_text()
    python = Path(sys.executable)  # not resolved: the target of the link is outside the virtual environment
    refuse_unreachable([python, Path(sys.base_prefix), Path(streamd.__file__).parent])
    refuse_incomplete(python)
    if hidden := _hidden(path):
        raise EnvironmentFault(f"{path}: the service cannot read it ({hidden}): move it to {units.CONFIG}")
    files[units.SERVICE] = units.service_unit(loaded.config, python, path)
    if (socket_unit := units.socket_unit(loaded.config)) is not None:
        files[units.SOCKET] = socket_unit
    files[units.SYSUSERS] = units.SYSUSERS_TEXT
    if args.dry_run:
        for place, text in files.items():
            print(f"# {below(prefix, place)}\n{text}")
        return 0
    was_installed = below(prefix, units.SERVICE).exists()
    results = {}
    for place, text in files.items():
        results[place] = _written(below(prefix, place), text)
        print(f"{results[place]} {below(prefix, place)}")
    if path not in files:
        print(f"kept    {staged}")
    if socket_unit is None:
        below(prefix, units.SOCKET).unlink(missing_ok=True)
    unit_files = [place for place in (units.SOCKET, units.SERVICE) if place in files]
    unchanged = [units.SOCKET] if results.get(units.SOCKET) == _SAME else []
    _print_next(
        path,
        units.outside(loaded.config),
        unit_files,
        [unit for unit in unit_files if was_installed and unit not in unchanged],
    )
    return 0


def below(prefix: Path, place: Path) -> Path:
    """The path on this system for a path of the system at `prefix`."""
    return prefix / place.relative_to("/")


def refuse_unreachable(paths: Iterable[Path]) -> None:
    """Raises `EnvironmentFault` with advice for the first path that the service cannot reach."""
    advice = (
        "run `make install PYTHON=/usr/bin/python3` in the checkout: it makes /opt/streamd and the service"
    )
    for path in paths:
        for seen in dict.fromkeys((path.absolute(), path.resolve())):
            why = _hidden(seen) or _forbidden(seen)
            if why:
                raise EnvironmentFault(f"the service cannot run {seen} ({why}); {advice}")


def refuse_incomplete(python: Path) -> None:
    """Raises `EnvironmentFault` if the interpreter finds streamd only through this shell's environment."""
    alone = [str(python), "-I", "-c", "import streamd.daemon"]
    done = subprocess.run(alone, check=False, capture_output=True, text=True, cwd="/")  # noqa: S603 - fixed command
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:]
        raise EnvironmentFault(
            f"{python} does not find streamd by itself ({' '.join(why)}): install it there;"
            " the service has neither PYTHONPATH nor a user's own packages"
        )


def _hidden(path: Path) -> str | None:
    """The line of the unit that hides the path from the service, or None."""
    for real in (path, path.resolve()):
        for line, folders in _HIDDEN.items():
            for folder in folders:
                if real.is_relative_to(folder):
                    return f"{line} hides {folder}"
    return None


def _forbidden(path: Path) -> str | None:
    """The part of the path that other users cannot read or enter, or None."""
    for part in (path, *path.parents):
        mode = part.stat().st_mode
        needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & needed:
            return f"{part} is closed to other users"
    return None


def _written(path: Path, text: str) -> str:
    """Write the file atomically. Returns a word for the result. Raises `EnvironmentFault`."""
    try:
        if path.exists() and path.read_text() == text:
            return _SAME
        made = "changed" if path.exists() else "made   "
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f".{path.name}.new")
        fresh.write_text(text)
        fresh.chmod(0o644)
        fresh.replace(path)
    except OSError as error:
        root = "" if os.geteuid() == 0 else "; run this as root, or with --prefix or --dry-run"
        raise EnvironmentFault(f"cannot write {path}: {error.strerror}{root}") from None
    return made


def _print_next(path: Path, outside: list[Path], unit_files: list[Path], restarted: list[Path]) -> None:
    """Print the next commands. `restarted` are changed units that may be running."""
    print(f"\nLook at {path}, then run")
    print("  systemd-sysusers")
    for folder in outside:
        print(f"  install -d -o streamd -g streamd -m 0750 {folder}    # the configuration writes there")
    print("  systemctl daemon-reload")
    if restarted:  # in one command, because a socket cannot start while the service holds its port
        print(f"  systemctl enable {' '.join(unit.name for unit in unit_files)}")
        print(f"  systemctl restart {' '.join(unit.name for unit in restarted)}")
        return
    print(f"  systemctl enable --now {' '.join(unit.name for unit in unit_files)}")
    print("and, for each user who reads the databases")
    print("  usermod -aG streamd NAME")
