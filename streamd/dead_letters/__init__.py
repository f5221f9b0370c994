"""The dead letters: rejected frames and records, stored in SQLite, and the queries that read them."""
