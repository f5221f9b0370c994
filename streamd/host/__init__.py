"""The host as `check`, `doctor` and the service commands see it: units, sockets, the running daemon."""
