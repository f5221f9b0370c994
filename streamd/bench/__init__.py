"""The parts of `streamd bench`."""
