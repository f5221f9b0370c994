"""What `capture` remembers of each key, and the spans of time around flagged records."""
