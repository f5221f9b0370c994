"""The link to the service manager: inherited sockets, notifications, watchdog."""
