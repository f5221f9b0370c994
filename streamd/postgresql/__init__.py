"""Tables of a PostgreSQL server: the connection, the columns, and the writer of one table."""
