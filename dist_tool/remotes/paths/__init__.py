"""Remotes that serve files by path, without a concept of images: HTTP trees, S3 buckets (behaviours R5, R6)."""
