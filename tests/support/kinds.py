"""The kinds of remote that speak HTTP: each asks the same server for the same paths, so one script does for all."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from dist_tool.settings import Settings
from support import faults
from support.fetching import docker_config, with_environment
from support.server import Exchange, FaultServer, Step

REPOSITORY = "team/app"
BUCKET = "bucket"
# What `login` knows. The first is never sent by S3, whose signatures are made with it; the second is by all but http.
PASSWORD, TOKEN = "pass-w0rd", "t0ken-issued"


class Kind(NamedTuple):
    """One kind of remote. `form` is its locator for a `{host}`, `names` where it looks for what is no digest.

    `lock` makes a step of one that asks first for what the kind proves itself by.
    """

    name: str
    form: str
    names: str
    lock: Callable[[FaultServer, Step], Step]

    def at(self, server: FaultServer | None, host: str = "") -> str:
        """The locator by which `server` is asked: under `host`, a HOST[:PORT], where that is not its own."""
        if server is not None and self.name == "s3":
            server.bucket = BUCKET
        return self.form.format(host=host or (server.host if server else ""))

    def path(self, name: str) -> str:
        """Where such a remote looks for an object that is no digest."""
        return f"/v2/{REPOSITORY}/{self.names}/{name}"


def _tokens(server: FaultServer, step: Step) -> Step:
    tokens = faults.TokenServer(server.url("/token"), f"repository:{REPOSITORY}:pull", prefix=TOKEN)
    server.always("GET", "/token", tokens.issue)
    return tokens.protect(step)


def _unless(known: Callable[[Exchange], bool], step: Step, refusal: Step) -> Step:
    return lambda exchange: (step if known(exchange) else refusal)(exchange)


def _basic(server: FaultServer, step: Step) -> Step:
    refusal = faults.status(401, headers=[("WWW-Authenticate", 'Basic realm="files"')])
    return _unless(lambda exchange: exchange.request.header("authorization").startswith("Basic "), step, refusal)


def _signature(server: FaultServer, step: Step) -> Step:
    refusal = faults.s3_error(403, "AccessDenied", "Access Denied")
    return _unless(lambda exchange: exchange.request.header("x-amz-security-token") == TOKEN, step, refusal)


KINDS = {
    kind.name: kind
    for kind in (
        Kind("registry", f"{{host}}/{REPOSITORY}", "manifests", _tokens),
        Kind("http", f"http::{{host}}/v2/{REPOSITORY}/blobs/{{{{digest}}}}", "blobs", _basic),
        Kind("s3", f"s3::{BUCKET}@{{host}}/v2/{REPOSITORY}/blobs/{{{{digest}}}}", "blobs", _signature),
    )
}

# For what the others have not: tokens, manifests, an API with a root.
REGISTRY = KINDS["registry"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of remote that speaks HTTP."""
    return KINDS[request.param]


@pytest.fixture(params=["http", "s3"])
def tree(request: pytest.FixtureRequest) -> Kind:
    """Each kind of remote that has files without a known digest."""
    return KINDS[request.param]


def login(*hosts: str) -> Settings:
    """Settings with what opens the `lock` of each kind at HOST[:PORT]s: a password, an access key with its token."""
    return with_environment(
        DOCKER_AUTH_CONFIG=docker_config(dict.fromkeys(hosts, f"me:{PASSWORD}")),
        AWS_ACCESS_KEY_ID="AKIATEST",
        AWS_SECRET_ACCESS_KEY=PASSWORD,
        AWS_SESSION_TOKEN=TOKEN,
    )
