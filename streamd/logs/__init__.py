"""The log of the process: events, rendering, rate limit, stderr and the systemd journal."""
