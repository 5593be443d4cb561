"""Credentials and tokens. Nothing here sends a request."""
