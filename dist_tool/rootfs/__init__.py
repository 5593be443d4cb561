"""File operations confined to a root directory."""
