"""What the checks read of this host."""

import re
from pathlib import Path

from streamd.config import Config
from streamd.host import units
from streamd.host.socket_unit import SocketUnit, installed


class Host:
    """Files of the kernel and of systemd. `root` is another folder than `/` in tests.

    Nothing raises: what is hidden (by a sandbox) or absent is None.
    """

    def __init__(self, config_path: Path, root: Path = Path("/")) -> None:
        self._root = root
        self._config_path = config_path
        unit = self._unit(units.SERVICE)
        self.is_service = f"--config {units.exec_word(config_path)}\n" in unit
        """Whether the service that is installed here runs this configuration."""
        self._service = unit if self.is_service else ""
        self._socket = self._unit(units.SOCKET) if self.is_service else ""

    def text(self, path: str) -> str | None:
        """A file's text."""
        try:
            return self._below(path).read_text(errors="replace")
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        """A file's only number."""
        text = (self.text(path) or "").strip()
        return int(text) if text.isascii() and text.isdigit() else None

    def service_value(self, key: str) -> str | None:
        """What the service's unit and its drop-ins say of a key; the last line counts."""
        found = self.service_values(key)
        return found[-1] if found else None

    def service_values(self, key: str) -> list[str]:
        """All lines of a key."""
        found: list[str] = re.findall(rf"^{key}=(.*)$", self._service, re.MULTILINE)
        return [value.strip() for value in found]

    @property
    def may_bind_every_port(self) -> bool:
        """Whether the service has the right to ports that others than root may not bind."""
        named = " ".join(self.service_values("AmbientCapabilities")).split()
        return "CAP_NET_BIND_SERVICE" in named and self.service_value("PrivateUsers") not in ("yes", "true")

    def socket_unit(self, config: Config) -> SocketUnit | None:
        """What of the configuration's listeners systemd holds; None where it holds none."""
        return installed(config, self._config_path, self._below(units.SERVICE), self._below(units.SOCKET))

    @property
    def socket_receive_buffer_bytes(self) -> int | None:
        """What the socket unit gives each of its listeners."""
        found = re.findall(r"^ReceiveBuffer=(\d+)$", self._socket, re.MULTILINE)
        return int(found[-1]) if found else None

    def _below(self, path: Path | str) -> Path:
        return self._root / str(path).lstrip("/")

    def _unit(self, path: Path) -> str:
        return units.unit_text(self._below(path), self._below(units.IN_RUN / path.name))
