"""The host, for `check`, `doctor` and the service commands: units, sockets and the running daemon."""
