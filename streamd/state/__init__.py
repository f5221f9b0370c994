"""The state that steps keep over a restart, in one SQLite file, stored in order with source positions."""
