"""Sockets of sources and sinks: listening, accepting, TLS, and limits by sender."""
