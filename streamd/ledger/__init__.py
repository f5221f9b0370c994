"""The books, written beside the data."""
