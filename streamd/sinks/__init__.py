"""The sinks a pipeline can name: each commits batches of records somewhere. One file, one type."""
