"""S3 when it is elsewhere, busy or says no: regions, redirects, errors (behaviours R6)."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from support import faults
from support.content import blob
from support.faults import content, redirect, s3_error
from support.fetching import Outcome, docker_config, fetch
from support.repositories import opened as open_remote
from support.server import Exchange, FaultServer, OpenServer

from dist_tool import errors
from dist_tool.remotes.paths.s3 import aws_endpoint
from dist_tool.settings import AuthSettings, Endpoint, Settings

BLOB = blob("s3", 5000)
KEY = f"/sha256/{BLOB.digest.encoded}"
ENVIRON = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": "the-secret-key"}
SETTINGS = Settings(environ=ENVIRON)


def _fetch(server: FaultServer, settings: Settings = SETTINGS, **table: object) -> Outcome:
    server.bucket = "images"
    remote = Endpoint(**table)  # type: ignore[arg-type]
    return fetch(f"s3::images@{server.host}", BLOB.digest, remote=remote, settings=settings)


def _region(authorization: str) -> str:
    match = re.search(r"Credential=AKIATEST/[0-9]{8}/([a-z0-9-]+)/s3/aws4_request", authorization)
    return match[1] if match else ""


def test_a_request_is_signed_and_its_range_is_not(server: FaultServer) -> None:
    server.script("GET", KEY, faults.cut(BLOB.data, 1234), content(BLOB.data))
    assert _fetch(server).data == BLOB.data
    for request in server.log:
        assert "SignedHeaders=host;x-amz-content-sha256;x-amz-date," in request.header("authorization")
    assert server.log[1].header("range") == "bytes=1234-"


@pytest.mark.parametrize("how", ["no keys", "auth none"])
def test_without_a_key_nothing_is_signed(server: FaultServer, how: str) -> None:
    server.script("GET", KEY, content(BLOB.data))
    if how == "no keys":
        outcome = _fetch(server, Settings())
    else:
        outcome = _fetch(server, auth=AuthSettings(source="none"))
    assert outcome.data == BLOB.data
    assert server.log[0].header("authorization") == ""


def test_the_region_is_that_of_the_environment(server: FaultServer) -> None:
    server.script("GET", KEY, content(BLOB.data))
    _fetch(server, Settings(environ={**ENVIRON, "AWS_REGION": "ap-south-1"}))
    assert _region(server.log[0].header("authorization")) == "ap-south-1"


ELSEWHERE = {
    "a header": faults.status(301, headers=[("x-amz-bucket-region", "eu-central-1")]),
    "a header and a place": faults.status(
        307, headers=[("x-amz-bucket-region", "eu-central-1"), ("Location", "http://elsewhere.invalid/")]
    ),
    "a wrong signature": s3_error(
        400, "AuthorizationHeaderMalformed", "expecting 'eu-central-1'", Region="eu-central-1"
    ),
}


@pytest.mark.parametrize("answer", ELSEWHERE.values(), ids=ELSEWHERE)
def test_another_region_is_signed_for_anew(server: FaultServer, answer: faults.Answer) -> None:
    server.script("GET", KEY, answer, content(BLOB.data))
    assert _fetch(server).data == BLOB.data
    first, second = (request.header("authorization") for request in server.log)
    assert (_region(first), _region(second)) == ("us-east-1", "eu-central-1")
    assert first.rpartition("=")[2] != second.rpartition("=")[2]


def test_the_region_is_found_once(server: FaultServer) -> None:
    moved = faults.status(301, headers=[("x-amz-bucket-region", "eu-central-1")])
    server.script("GET", KEY, moved, faults.cut(BLOB.data, 1234), content(BLOB.data))
    assert _fetch(server).data == BLOB.data
    assert [_region(request.header("authorization")) for request in server.log[1:]] == ["eu-central-1"] * 2


def test_the_region_is_found_by_threads_that_are_told_at_once(server: FaultServer) -> None:
    """Whoever is told second finds it known already, and has been told a new thing all the same."""
    together = Barrier(4)

    def step(exchange: Exchange) -> None:
        if _region(exchange.request.header("authorization")) == "us-east-1":
            together.wait(10)
            faults.status(301, headers=[("x-amz-bucket-region", "eu-central-1")])(exchange)
        else:
            content(BLOB.data)(exchange)

    server.always("GET", KEY, step)
    server.bucket = "images"
    with open_remote(f"s3::images@{server.host}", SETTINGS) as remote, ThreadPoolExecutor(4) as threads:
        bodies = list(threads.map(lambda _: remote.open(BLOB.descriptor), range(4)))
        for body in bodies:
            body.close()
    assert [body.total for body in bodies] == [len(BLOB.data)] * 4


@pytest.mark.parametrize("region", ["us-east-1", "", "evil.example/", "x" * 50])
def test_a_region_that_is_none_or_the_same_ends_it(server: FaultServer, region: str) -> None:
    server.script("GET", KEY, faults.status(301, headers=[("x-amz-bucket-region", region)]))
    assert _fetch(server).code == 7


def test_a_bucket_that_moves_for_ever_is_given_up(server: FaultServer) -> None:
    server.always(
        "GET", KEY, faults.in_turn(*(faults.status(301, headers=[("x-amz-bucket-region", f"r-{n}")]) for n in range(9)))
    )
    outcome = _fetch(server)
    assert (outcome.code, len(server.log)) == (7, 4)


def test_aws_itself_is_asked_at_the_host_of_the_region(servers: OpenServer) -> None:
    """Through a proxy, which sees the names; the other region's host is ours to say, not the answer's."""
    proxy = servers()
    here = f"http://images.s3.us-east-1.amazonaws.com{KEY}"
    there = f"http://images.s3.eu-central-1.amazonaws.com{KEY}"
    moved = [("x-amz-bucket-region", "eu-central-1"), ("Location", "http://evil.invalid/")]
    proxy.script("GET", here, faults.status(301, headers=moved))
    proxy.script("GET", there, content(BLOB.data))
    remote = Endpoint(plain_http=True, proxy=proxy.url())
    assert fetch("s3::images", BLOB.digest, remote=remote, settings=SETTINGS).data == BLOB.data
    assert [_region(request.header("authorization")) for request in proxy.log] == ["us-east-1", "eu-central-1"]


@pytest.mark.parametrize(
    ("bucket", "region", "url"),
    [
        ("images", "eu-west-1", "https://images.s3.eu-west-1.amazonaws.com/k"),
        ("my.images", "eu-west-1", "https://s3.eu-west-1.amazonaws.com/my.images/k"),
        ("images", "cn-north-1", "https://images.s3.cn-north-1.amazonaws.com.cn/k"),
    ],
)
def test_endpoints_of_aws(bucket: str, region: str, url: str) -> None:
    assert aws_endpoint(bucket, region).url("k") == url


def test_a_signature_does_not_follow_a_redirect(servers: OpenServer) -> None:
    front, other = servers(), servers()
    front.script("GET", KEY, redirect(other.url("/x")))
    other.script("GET", "/x", content(BLOB.data))
    assert _fetch(front, header={"x-tenant": "t"}).data == BLOB.data
    assert [other.log[0].header(name) for name in ("authorization", "x-amz-date", "x-tenant")] == ["", "", ""]


def test_a_redirect_that_a_registry_may_not_make_either_is_refused(servers: OpenServer) -> None:
    front, internal = servers(), servers()
    front.bucket = "images"
    front.script("GET", KEY, redirect(internal.url("/x")))
    remote = Endpoint(plain_http=True)
    outcome = fetch(f"s3::images@s3.test:{front.port}", BLOB.digest, remote=remote, settings=SETTINGS)
    assert isinstance(outcome.error, errors.PolicyRefused)
    assert internal.connections == 0


FAILURES = {
    "NoSuchKey": (s3_error(404, "NoSuchKey"), errors.NotFound),
    "NoSuchBucket": (s3_error(404, "NoSuchBucket"), errors.NotFound),
    "a bare 404": (faults.status(404), errors.NotFound),
    "AccessDenied": (s3_error(403, "AccessDenied"), errors.PermissionDenied),
    "a bare 403": (faults.status(403), errors.PermissionDenied),
    "a wrong key": (s3_error(403, "InvalidAccessKeyId"), errors.Unauthenticated),
    "a wrong secret": (s3_error(403, "SignatureDoesNotMatch"), errors.Unauthenticated),
    "an expired token": (s3_error(400, "ExpiredToken"), errors.Unauthenticated),
    "a wrong clock": (s3_error(403, "RequestTimeTooSkewed"), errors.Unauthenticated),
    "something else": (s3_error(400, "InvalidArgument"), errors.RemoteFailed),
    "no XML": (faults.status(400, body=b"\xff<html>"), errors.RemoteFailed),
    "an entity bomb": (s3_error(404, "NoSuchKey", '<!DOCTYPE x [<!ENTITY a "b">]>&a;'), errors.NotFound),
}


@pytest.mark.parametrize(("answer", "error"), FAILURES.values(), ids=FAILURES)
def test_failures_are_the_errors_of_every_remote(
    server: FaultServer, answer: faults.Answer, error: type[errors.DistError]
) -> None:
    server.script("GET", KEY, answer)
    outcome = _fetch(server)
    assert type(outcome.error) is error
    assert "the-secret-key" not in outcome.said


def test_a_refusal_says_who_asked_and_that_the_object_may_be_absent(server: FaultServer) -> None:
    server.script("GET", KEY, s3_error(403, "AccessDenied", "Access Denied"), faults.status(403))
    for settings, who in ((SETTINGS, "with the key from the environment"), (Settings(), "without a key")):
        text = str(_fetch(server, settings).error)
        assert who in text
        assert "for a missing key" in text


def test_a_wrong_clock_is_named(server: FaultServer) -> None:
    server.script("GET", KEY, s3_error(403, "RequestTimeTooSkewed"))
    assert "this machine's clock is wrong" in str(_fetch(server).error)


@pytest.mark.parametrize(
    "answer", [s3_error(503, "SlowDown"), s3_error(400, "RequestTimeout"), faults.status(500), faults.too_many("0")]
)
def test_a_busy_server_is_asked_again(server: FaultServer, answer: faults.Answer) -> None:
    server.script("GET", KEY, answer, content(BLOB.data))
    assert _fetch(server).data == BLOB.data


@pytest.mark.parametrize("scheme", ['Basic realm="x"', 'Bearer realm="http://{host}/token",service="x"'])
@pytest.mark.parametrize("keys", [{}, ENVIRON])
def test_a_challenge_is_answered_with_nothing_of_the_registries(
    server: FaultServer, scheme: str, keys: dict[str, str]
) -> None:
    """Whoever has logged in to a registry at that host has not meant its bucket."""
    server.always("GET", KEY, faults.status(401, headers=[("WWW-Authenticate", scheme.format(host=server.host))]))
    environ = {**keys, "DOCKER_AUTH_CONFIG": docker_config({server.host: "me:secret-word"})}
    outcome = _fetch(server, Settings(environ=environ))
    assert (outcome.code, outcome.data) == (4, b"")
    assert "secret-word" not in outcome.said
    proofs = {request.header("authorization").partition(" ")[0] for request in server.log}
    assert proofs == ({"AWS4-HMAC-SHA256"} if keys else {""})
    assert {request.path for request in server.log} == {KEY}


def test_messages_of_a_server_are_printable(server: FaultServer) -> None:
    server.script("GET", KEY, s3_error(403, "AccessDenied", "\x1b[31mred"))
    assert "\x1b" not in str(_fetch(server).error)


@pytest.mark.parametrize(
    "locator",
    ["s3::A", "s3::a", "s3::a_b", "s3::a..b/x", "s3::images@/x", "s3::images@host:0/x", "s3::images/../x", "s3::@h/x"],
)
def test_buckets_hosts_and_prefixes_are_checked(locator: str) -> None:
    assert isinstance(fetch(locator, BLOB.digest).error, errors.InvalidArgument)


@pytest.mark.parametrize(
    "environ", [{"AWS_REGION": "evil.example/"}, {"AWS_ENDPOINT_URL": "http://s3.test"}, {"AWS_ACCESS_KEY_ID": "x"}]
)
def test_a_wrong_environment_is_an_error_before_anything_is_asked(environ: dict[str, str]) -> None:
    assert fetch("s3::images", BLOB.digest, settings=Settings(environ=environ)).code == 2
