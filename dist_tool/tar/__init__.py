"""Tar archives: reading and writing. Knows nothing of layers."""
