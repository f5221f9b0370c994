"""Tables that steps look values up in: read from a file into memory, and read again when the file changes."""
