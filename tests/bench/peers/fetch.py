"""The other systems, as a user would have them: Debian's packages and wheels, unpacked without root."""

import shutil
import subprocess
import sys
import venv
from pathlib import Path

DEBIAN = (
    "rsyslog", "libestr0", "libfastjson4", "liblognorm5",
    "syslog-ng-core", "syslog-ng-mod-sql", "libivykis0", "libnet1", "libdbi1", "libdbd-sqlite3",
    "libpcre3", "libwrap0", "libjson-c5",
)  # fmt: skip
WHEELS = ("tenzir==6.20.0", "aiosyslogd==1.5.0")


def debian(folder: Path) -> str | None:
    """Unpack Debian's packages into `folder/root`. Why that failed, or None."""
    root = folder / "root"
    if (root / "usr/sbin/rsyslogd").exists() and (root / "usr/sbin/syslog-ng").exists():
        return None
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        return "there is no apt-get here"
    packages = folder / "debian"
    packages.mkdir(parents=True, exist_ok=True)
    # One by one: another release of Debian may not have all of them, or not need them.
    for name in DEBIAN:
        subprocess.run(["apt-get", "download", "-qq", name], cwd=packages, check=False, capture_output=True)
    for package in packages.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, root], check=True)
    for library in root.glob("usr/lib/*/libdbi.so.1.*"):
        _look_here(library)
    missing = [name for name in ("rsyslogd", "syslog-ng") if not (root / "usr/sbin" / name).exists()]
    return f"apt-get could not download it: {', '.join(missing)}" if missing else None


def _look_here(library: Path) -> None:
    """Let libdbi look for its drivers in `./dbd`: the folder built into it only root can write."""
    place = f"/usr/lib/{library.parent.name}/dbd".encode()
    library.write_bytes(library.read_bytes().replace(place, b"./dbd".ljust(len(place), b"\0")))


def wheels(folder: Path) -> str | None:
    """Install the wheels into a virtual environment in `folder/venv`. Why that failed, or None."""
    python = folder / "venv/bin/python"
    if not python.exists():
        venv.create(folder / "venv", with_pip=True)
    pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *WHEELS]
    done = subprocess.run(pip, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return "pip could not install it"
    return None
