"""The steps a pipeline can name: each changes, filters or adds records. One file, one type."""
