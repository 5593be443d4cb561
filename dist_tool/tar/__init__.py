"""Tar archives: reader and writer. Independent of container layers."""
