"""Remotes: sources of objects. docs/writing-a-remote.md describes how to write one."""
