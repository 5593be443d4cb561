"""Move container content: fetch, ingest, unpack. See docs/python.md for use as a library."""

__version__ = "0.1.0"
