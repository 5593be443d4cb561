"""Resolving, fetching, copying and caching objects, over the protocols of `api`."""
