"""The OCI distribution API: registries."""

from dist_tool.remotes.registry.client import RegistryRemote

open_remote = RegistryRemote

__all__ = ["RegistryRemote", "open_remote"]
