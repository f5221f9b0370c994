"""How a running daemon is seen and asked: metrics, health, the control socket, and its client."""
