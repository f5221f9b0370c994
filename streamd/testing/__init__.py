"""Runs the tests of a configuration: inputs, a virtual clock, and the complete outcome that is expected."""
