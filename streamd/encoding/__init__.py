"""Records as lines and as values of columns: the way out that several sinks share."""
