"""Encodes records as lines and as column values, for several sinks."""
