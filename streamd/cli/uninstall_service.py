"""`streamd uninstall-service`: removes the files that `install-service` wrote for systemd."""

import argparse
import subprocess
from pathlib import Path

from streamd.cli.install_service import add_prefix, below
from streamd.core.errors import EnvironmentFault
from streamd.host import units

_BOOTED = Path("/run/systemd/system")
"""This folder exists if systemd runs, see sd_booted(3)."""


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add_prefix(parser)


def main(args: argparse.Namespace) -> int:
    """Stop the service and remove its units. Data and configuration stay. Raises `EnvironmentFault`."""
    prefix: Path = args.prefix.absolute()
    running = prefix == Path("/") and _BOOTED.is_dir()
    found = [
        path
        for place in (units.SOCKET, units.SERVICE, units.SYSUSERS)
        if (path := below(prefix, place)).exists()
    ]
    unit_files = [path.name for path in found if path.suffix != units.SYSUSERS.suffix]
    if running and unit_files:
        _systemctl("disable", "--now", *unit_files)
    for path in found:
        try:
            path.unlink()
        except OSError as error:
            raise EnvironmentFault(f"cannot remove {path}: {error.strerror}") from None
        print(f"removed {path}")
    if running and unit_files:
        _systemctl("daemon-reload")
    if not found:
        print("nothing was installed")
    stay = f"{below(prefix, units.STATE_DIR)}, {below(prefix, units.CONFIG.parent)} and the user streamd"
    print(f"kept    {stay}")
    return 0


def _systemctl(*arguments: str) -> None:
    command = ["systemctl", *arguments]
    print("ran    ", *command, flush=True)
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 - fixed command
    if done.returncode:
        raise EnvironmentFault(f"{' '.join(command)}: {done.stderr.strip()}")
