"""The interfaces of a running daemon: metrics and health over HTTP, the control socket, and its client."""
