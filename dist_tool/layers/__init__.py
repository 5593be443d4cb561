"""Changesets: reading layers and applying them to a directory (image-spec layer.md).

`compression` and `tarstream` read what a publisher wrote, `root` is the only module that
touches the file system, `apply` joins them.
"""
