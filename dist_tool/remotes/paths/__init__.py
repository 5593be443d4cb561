"""Places that know paths and nothing of images: HTTP trees, S3 buckets (behaviours R5, R6)."""
