"""Questions about the configuration, and its upkeep: logins, pins, explanations."""
