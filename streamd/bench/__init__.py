"""The scenarios of `streamd bench`, and the processes and baselines that they use."""
