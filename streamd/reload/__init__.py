"""Another configuration for a daemon that runs."""
