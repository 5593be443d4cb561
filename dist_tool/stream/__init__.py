"""Bytes in flight: bodies, verification, resume, retry and temporary buffers."""
