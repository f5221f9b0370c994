"""Functions and classes of the user: found, loaded, called, and what they return."""
