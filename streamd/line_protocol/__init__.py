"""InfluxDB's line protocol: its grammar, the records of its lines, and lines of one shape read by columns."""
