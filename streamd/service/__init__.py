"""The link to the service manager: notifications and the watchdog."""
