"""Senders that feel it when a daemon reads nothing."""

import json
import socket
import threading

STALLED_S = 0.5


class Sender(threading.Thread):
    """Sends numbered lines over one connection, until the daemon has read and closed it."""

    def __init__(self, address: tuple[str, int], name: str, lines: int) -> None:
        super().__init__(daemon=True)
        self.sent_bytes = 0
        self.error: OSError | None = None
        self._address = address
        self._data = b"".join(
            json.dumps({"sender": name, "seq": seq, "fill": "x" * 2000}).encode() + b"\n"
            for seq in range(lines)
        )
        self.start()

    def run(self) -> None:
        try:
            with socket.create_connection(self._address, timeout=60) as sock:
                while self.sent_bytes < len(self._data):
                    self.sent_bytes += sock.send(self._data[self.sent_bytes : self.sent_bytes + 65536])
                sock.shutdown(socket.SHUT_WR)
                sock.recv(1)
        except OSError as error:
            self.error = error

    def is_pushed_back(self) -> bool:
        """Nothing of what is left went out for a while."""
        before = self.sent_bytes
        self.join(STALLED_S)
        return self.is_alive() and 0 < before == self.sent_bytes < len(self._data)

    def finish(self) -> None:
        self.join(60)
        assert not self.is_alive()
        assert self.error is None
