"""Stored records as frames, beside a daemon that writes."""
