"""A read-only OCI registry over an image layout (distribution-spec: pull and content discovery).

For demonstrations, tests and sharing on a local network. The modules, from the lowest up:

    message   HTTP/1.1: strict parser for requests, serializer for responses
    layout    repositories, tags and blobs of an image layout
    documents manifests, parsed once: media types, subjects and children
    referrers referrers of each subject, computed once per index.json
    access    access control: none, Basic, or bearer tokens
    routes    the endpoints of the distribution-spec: request -> response
    channel, connection, loop, server    an event loop over non-blocking sockets
"""

from __future__ import annotations

from dist_tool.service.http.server import RegistryServer
from dist_tool.service.http.settings import AccessLogEntry, ServerLimits

__all__ = ["AccessLogEntry", "RegistryServer", "ServerLimits"]
