"""What the process has of whoever started it: sockets, notification, watchdog."""
