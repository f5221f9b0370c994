"""Detectors of unusual values, one model for each key: pure arithmetic, without any library."""
