"""What steps remember over a restart: one SQLite file, and the order in which it and positions are saved."""
