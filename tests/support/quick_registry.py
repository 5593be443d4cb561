"""A registry remote that is asked once, and the blob that it reads."""

from __future__ import annotations

from dist_tool.context import Context
from dist_tool.names.locator import parse_locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.remotes.registry import RegistryRemote
from dist_tool.settings import Route, Settings
from dist_tool.stream.retry import Retry

NAME = "docker.io/library/redis"
DATA = b"content"
DIGEST = Digest.of(DATA)
QUICK = Retry(attempts=1)


def opened(remote: Route, settings: Settings | None = None, name: str = NAME) -> RegistryRemote:
    locator = parse_locator(name)
    target = remote.rewrite(locator, remote.own)
    return RegistryRemote(target, Context(remote.own, settings or Settings(), asked=locator))


def read(remote: RegistryRemote) -> bytes:
    body = remote.open(Descriptor(DIGEST, len(DATA), "application/octet-stream"))
    view = memoryview(bytearray(100))
    try:
        return bytes(view[: body.readinto(view)])
    finally:
        body.close()
        remote.close()
