"""What could not be used, kept."""
