"""The framings a source can name: each cuts one stream of bytes into frames. One file, one type."""
