"""Checks when the certificates of sources expire, and whether their keys are readable by every user."""

import stat
import time
from collections.abc import Iterator
from pathlib import Path
from shlex import quote

from streamd.config import Loaded
from streamd.core.credential import MissingCredential
from streamd.core.errors import EnvironmentFault
from streamd.host.doctor.finding import Finding
from streamd.host.doctor.host import Host
from streamd.net.listener_tls import DAY_S, WARN_BEFORE_S, ListenerTls

CHECK = "certificates"


def look(loaded: Loaded, host: Host) -> Iterator[Finding]:
    """Two findings for each source with TLS."""
    del host
    for name, source in loaded.config.sources.items():
        settings = getattr(source, "tls", None)
        try:
            tls = None if settings is None else ListenerTls.read(settings, loaded.base_dir)
            if tls is not None:
                yield judge_expiry(name, tls.expires_at_wall_s - time.time())
                yield judge_key(name, tls.key_path, tls.key_path.stat().st_mode)
        except MissingCredential:
            yield Finding("unknown", CHECK, f"sources.{name}: only the service can read its credentials")
        except EnvironmentFault as fault:
            yield Finding("problem", CHECK, f"sources.{name}: {fault}")
        except OSError as error:
            yield Finding("unknown", CHECK, f"sources.{name}: {error}")


def judge_expiry(source: str, left_s: float) -> Finding:
    """Judge the time until the certificate expires, which is negative after that."""
    if left_s <= 0:
        text = f"sources.{source}: the certificate expired {-left_s / DAY_S:.1f} days ago: clients refuse it"
        return Finding("problem", CHECK, text)
    text = f"sources.{source}: the certificate expires in {left_s / DAY_S:.1f} days"
    return Finding("advice" if left_s < WARN_BEFORE_S else "fine", CHECK, text)


def judge_key(source: str, path: Path, mode: int) -> Finding:
    """Judge whether users other than the owner and group of the key can read it."""
    text = f"sources.{source}: the key {path} has mode {stat.S_IMODE(mode):04o}"
    if mode & stat.S_IROTH:
        paste = (f"chmod o= {quote(str(path))}",)
        return Finding("problem", CHECK, f"{text}: every user of this host can read it", paste)
    return Finding("fine", CHECK, text)
