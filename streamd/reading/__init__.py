"""Reads stored records as data frames, also while the daemon writes."""
