"""The sinks a pipeline can name. Each commits batches of records to one destination. One file, one type."""
