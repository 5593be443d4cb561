"""Servers: an OCI registry over an image layout, and the same operations over gRPC."""
