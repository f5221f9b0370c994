"""Sends dead letters through the pipelines again."""
