"""Records tried on a configuration without a daemon."""
