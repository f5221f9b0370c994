"""The ledger: the books in a SQLite table, written in the background and in the sinks' own transactions."""
