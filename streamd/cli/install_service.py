"""`streamd install-service`: systemd's files for this interpreter and this configuration."""

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
"""What the service does not see, by the line of its unit that hides it."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"the service's configuration (default {units.CONFIG}, an example where there is none)",
    )
    add_prefix(parser)
    parser.add_argument("--dry-run", action="store_true", help="print the files, write none")


def add_prefix(parser: argparse.ArgumentParser) -> None:
    """Declare `--prefix`."""
    parser.add_argument(
        "--prefix", metavar="DIR", type=Path, default=Path("/"), help="the root of another system (default /)"
    )


def main(args: argparse.Namespace) -> int:
    """Write the files and say what to run next. Raises `ConfigError` or `EnvironmentFault`."""
    prefix: Path = args.prefix.absolute()
    path: Path = (args.config or units.CONFIG).absolute()
    staged = below(prefix, path)
    files: dict[Path, str] = {}
    if args.config is not None or staged.exists():
        loaded = config.load(path if args.config is not None else staged)
    else:
        loaded = config.load(EXAMPLE)
        files[path] = EXAMPLE.read_text()
    # The path it was started by: what that is a link to knows nothing of the virtual environment.
    python = Path(sys.executable)
    refuse_unreachable([python, Path(sys.base_prefix), Path(streamd.__file__).parent])
    refuse_incomplete(python)
    if hidden := _hidden(path):
        raise EnvironmentFault(f"{path}: the service could not read it ({hidden}): move it to {units.CONFIG}")
    files[units.SERVICE] = units.service_unit(loaded.config, python, path)
    if (socket_unit := units.socket_unit(loaded.config)) is not None:
        files[units.SOCKET] = socket_unit
    files[units.SYSUSERS] = units.SYSUSERS_TEXT
    if args.dry_run:
        for place, text in files.items():
            print(f"# {below(prefix, place)}\n{text}")
        return 0
    again = below(prefix, units.SERVICE).exists()
    became = {}
    for place, text in files.items():
        became[place] = _written(below(prefix, place), text)
        print(f"{became[place]} {below(prefix, place)}")
    if path not in files:
        print(f"kept    {staged}")
    if socket_unit is None:
        below(prefix, units.SOCKET).unlink(missing_ok=True)
    unit_files = [place for place in (units.SOCKET, units.SERVICE) if place in files]
    old = [units.SOCKET] if became.get(units.SOCKET) == _SAME else []
    _say_next(
        path,
        units.outside(loaded.config),
        unit_files,
        [unit for unit in unit_files if again and unit not in old],
    )
    return 0


def below(prefix: Path, place: Path) -> Path:
    """Where a file of the other system is on this one."""
    return prefix / place.relative_to("/")


def refuse_unreachable(paths: Iterable[Path]) -> None:
    """Raises `EnvironmentFault` for the first path the service could not reach, saying what to do."""
    advice = (
        "run `make install PYTHON=/usr/bin/python3` in the checkout: it makes /opt/streamd and the service"
    )
    for path in paths:
        for seen in dict.fromkeys((path.absolute(), path.resolve())):
            why = _hidden(seen) or _forbidden(seen)
            if why:
                raise EnvironmentFault(f"the service could not run {seen} ({why}); {advice}")


def refuse_incomplete(python: Path) -> None:
    """Raises `EnvironmentFault` where the interpreter finds streamd only by this shell's environment."""
    alone = [str(python), "-I", "-c", "import streamd.daemon"]
    done = subprocess.run(alone, check=False, capture_output=True, text=True, cwd="/")  # noqa: S603 - our own words
    if done.returncode:
        why = done.stderr.strip().splitlines()[-1:]
        raise EnvironmentFault(
            f"{python} does not find streamd by itself ({' '.join(why)}): install it there;"
            " neither PYTHONPATH nor a user's own packages exist for the service"
        )


def _hidden(path: Path) -> str | None:
    """By which line of the unit the service does not see the path; None where it does."""
    for real in (path, path.resolve()):
        for line, folders in _HIDDEN.items():
            for folder in folders:
                if real.is_relative_to(folder):
                    return f"{line} hides {folder}"
    return None


def _forbidden(path: Path) -> str | None:
    """Which part of the path is closed to other users."""
    for part in (path, *path.parents):
        mode = part.stat().st_mode
        needed = stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH
        if not mode & needed:
            return f"{part} is closed to other users"
    return None


def _written(path: Path, text: str) -> str:
    """Write the file, whole or not at all; what became of it. Raises `EnvironmentFault`."""
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


def _say_next(path: Path, outside: list[Path], unit_files: list[Path], restarted: list[Path]) -> None:
    """`restarted`: which of the units may run as they were before; none where nothing was installed."""
    print(f"\nLook at {path}, then run")
    print("  systemd-sysusers")
    for folder in outside:
        print(f"  install -d -o streamd -g streamd -m 0750 {folder}    # the configuration writes there")
    print("  systemctl daemon-reload")
    if restarted:  # both at once: a socket cannot start beside a service that holds its port
        print(f"  systemctl enable {' '.join(unit.name for unit in unit_files)}")
        print(f"  systemctl restart {' '.join(unit.name for unit in restarted)}")
        return
    print(f"  systemctl enable --now {' '.join(unit.name for unit in unit_files)}")
    print("and to read the databases, as a member of its group")
    print("  usermod -aG streamd NAME")
