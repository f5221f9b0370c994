"""The checks of `streamd doctor`, one file each. `look(loaded, host)` of each file yields findings."""
