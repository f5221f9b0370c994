"""What sinks share that send messages to another process: over connections, or as datagrams."""
