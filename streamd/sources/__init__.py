"""The sources a configuration can name. Each reads frames from one input. One file, one type."""
