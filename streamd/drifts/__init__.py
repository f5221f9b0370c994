"""Detectors of change points: a lasting change of the level of a series."""
