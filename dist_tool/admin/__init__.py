"""Administration: logins, pins, and explaining the configuration of a name."""
