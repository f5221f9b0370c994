"""Parquet files: their Arrow columns, names, whole writes and retention."""
