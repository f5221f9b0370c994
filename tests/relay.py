"""A TCP link to a server that a test can cut, in the two ways in which links fail."""

import contextlib
import socket
import threading
from typing import Literal

DEADLINE_S = 30.0


class Relay:
    """Forwards connections to a port of 127.0.0.1, in both directions."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._forwards = threading.Event()
        self._forwards.set()
        self._answers = threading.Event()
        self._answers.set()
        self._refuses = False
        self._open: list[socket.socket] = []
        self._closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self, how: Literal["closed", "silent", "no_answers"]) -> None:
        """`closed`: end all connections, and each new one at once. `silent`: forward nothing, end nothing.

        `no_answers`: forward nothing from the server.
        """
        if how != "closed":
            self._answers.clear()
            if how == "silent":
                self._forwards.clear()
            return
        self._refuses = True
        for one in self._open:
            _end(one)

    def mend(self) -> None:
        """Forward again, also what came while the link was silent."""
        self._refuses = False
        self._forwards.set()
        self._answers.set()

    def close(self) -> None:
        """End all connections, and take no more."""
        self._closed = True
        self.mend()
        _end(self._listener)
        self._listener.close()
        for one in self._open:
            _end(one)

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(client)
            threading.Thread(target=self._forward, args=(client,), daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        self._forwards.wait()
        if self._refuses or self._closed:
            client.close()
            return
        try:
            server = socket.create_connection(("127.0.0.1", self._port), DEADLINE_S)
        except OSError:
            client.close()
            return
        server.settimeout(None)
        self._open.append(server)
        back = threading.Thread(target=self._pump, args=(server, client, self._answers), daemon=True)
        back.start()
        self._pump(client, server, self._forwards)
        back.join()
        client.close()
        server.close()

    @staticmethod
    def _pump(start: socket.socket, end: socket.socket, forwards: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := start.recv(65536):
                forwards.wait()
                end.sendall(data)
        forwards.wait()
        _end(start)
        _end(end)


def _end(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
