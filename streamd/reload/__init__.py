"""Applies a changed configuration to a running daemon."""
