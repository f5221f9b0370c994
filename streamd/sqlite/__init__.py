"""SQLite files: opened, written, recovered, kept in bounds and read."""
