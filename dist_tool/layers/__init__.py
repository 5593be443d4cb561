"""Container layers: reading them and applying them to a directory (image-spec layer.md).

`compression` and `tar.reader` parse untrusted input, `changeset` applies the entries through
`rootfs.root`.
"""
