"""A read-only OCI registry over an image layout (distribution-spec, the pull and discovery parts).

For demonstrations, tests and sharing on a local network. The parts, each below the next:

    message   HTTP/1.1 requests, read strictly, and responses
    layout    which repositories and tags a layout holds, and its blobs
    documents the manifests in it, parsed once: media types, subjects and children
    referrers which manifests refer to which, found once for each index.json
    access    who may read: nobody asks, Basic, or a token server
    routes    request -> response, as the distribution-spec has them
    connection, server    one loop over sockets that never block
"""

from __future__ import annotations

from dist_tool.service.http.server import RegistryServer
from dist_tool.service.http.settings import AccessLogEntry, ServerLimits

__all__ = ["AccessLogEntry", "RegistryServer", "ServerLimits"]
