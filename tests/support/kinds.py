"""The kinds of remotes that speak HTTP, each asking a server for the same paths: a fault is a fault to all."""

from __future__ import annotations

from collections.abc import Callable

from support.server import FaultServer

REPOSITORY = "team/app"
Locate = Callable[..., str]  # of a server, and of a name for it


def registry(server: FaultServer, name: str = "127.0.0.1") -> str:
    return f"{name}:{server.port}/{REPOSITORY}"


def http(server: FaultServer, name: str = "127.0.0.1") -> str:
    return f"http::{name}:{server.port}/v2/{REPOSITORY}/blobs/{{digest}}"


def s3(server: FaultServer, name: str = "127.0.0.1") -> str:
    server.bucket = "bucket"
    return f"s3::bucket@{name}:{server.port}/v2/{REPOSITORY}/blobs/{{digest}}"


KINDS: dict[str, Locate] = {"registry": registry, "http": http, "s3": s3}
