"""The path of a record through the daemon: buffers, workers, pipelines, fan-out and delivery."""
