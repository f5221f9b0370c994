"""SQLite files: opening, writing, recovery, retention and reading."""
