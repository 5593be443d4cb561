"""Places that objects come from. docs/writing-a-remote.md tells how to write one."""
