"""Sends a sample of records through a configuration without a daemon."""
