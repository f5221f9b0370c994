"""The log of the process: events, rendering, the journal."""
