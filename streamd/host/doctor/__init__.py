"""The checks of `streamd doctor`, one file each: `look(loaded, host)` returns findings."""
