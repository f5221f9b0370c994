"""The way of a record inside the daemon: buffers, workers, pipelines, fan-out and delivery."""
