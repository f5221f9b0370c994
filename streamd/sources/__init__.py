"""The sources a configuration can name: each reads frames from outside. One file, one type."""
