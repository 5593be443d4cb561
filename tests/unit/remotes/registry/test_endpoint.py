"""A registry as a mirror: another path of the API, `?ns=`, http where https is not to be had, its own proxy."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import responses
from support.quick_registry import DATA, DIGEST, QUICK, opened, read
from support.routes import route

from dist_tool.errors import DistError, PolicyRefused, Unauthenticated
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.settings import Policy, Settings


@pytest.fixture
def mocked() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=True) as mock:
        yield mock


def asked(mock: responses.RequestsMock) -> list[str]:
    return [str(call.request.url) for call in mock.calls]


def test_a_mirror_gets_the_registry_as_ns_parameter(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"https://m.test/hub/v2/library/redis/blobs/{DIGEST}", body=DATA)
    remote = route("docker.io", location="m.test", api_path="/hub/v2", ns=True, retry=QUICK)
    assert read(opened(remote)) == DATA
    assert asked(mocked) == [f"https://m.test/hub/v2/library/redis/blobs/{DIGEST}?ns=docker.io"]


def test_the_port_of_the_registry_is_part_of_its_name(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"https://m.test/v2/x/blobs/{DIGEST}", body=DATA)
    remote = route("a.test:5000", location="m.test", ns=True, retry=QUICK)
    read(opened(remote, name="a.test:5000/x"))
    assert asked(mocked) == [f"https://m.test/v2/x/blobs/{DIGEST}?ns=a.test:5000"]


def test_the_origin_gets_no_ns_parameter(mocked: responses.RequestsMock) -> None:
    mocked.add("GET", f"https://a.test/v2/x/blobs/{DIGEST}", body=DATA)
    read(opened(route("a.test", retry=QUICK), name="a.test/x"))
    assert asked(mocked) == [f"https://a.test/v2/x/blobs/{DIGEST}"]


def test_pages_of_tags_are_followed_below_another_path(mocked: responses.RequestsMock) -> None:
    first = "https://m.test/api/x/tags/list"
    link = {"Link": '</api/x/tags/list?last=a&ns=a.test>; rel="next"'}
    mocked.add("GET", first, json={"name": "x", "tags": ["a"]}, headers=link)
    mocked.add("GET", first, json={"name": "x", "tags": ["b"]})
    remote = opened(route("a.test", location="m.test", api_path="/api", ns=True, retry=QUICK), name="a.test/x")
    assert list(remote.tags()) == ["a", "b"]
    remote.close()
    assert all(url.count("ns=a.test") == 1 for url in asked(mocked))


def test_a_challenge_is_looked_for_at_the_root_of_the_same_api(mocked: responses.RequestsMock) -> None:
    mocked.add("HEAD", "https://m.test/api/x/manifests/v1", status=401)
    mocked.add("GET", "https://m.test/api/", status=404)
    remote = opened(route("a.test", location="m.test", api_path="/api", retry=QUICK), name="a.test/x")
    with pytest.raises(DistError):
        remote.resolve("v1", Hints())
    remote.close()


def test_the_error_of_a_401_without_a_challenge_repeats_its_message(mocked: responses.RequestsMock) -> None:
    body = {"errors": [{"code": "UNAUTHORIZED", "message": "the trial is over"}]}
    mocked.add("GET", f"https://a.test/v2/x/blobs/{DIGEST}", status=401, json=body)
    mocked.add("GET", "https://a.test/v2/", status=200)
    remote = opened(route("a.test", retry=QUICK), name="a.test/x")
    with pytest.raises(Unauthenticated, match="the trial is over"):
        remote.open(Descriptor(DIGEST, len(DATA), "application/octet-stream"))
    remote.close()


# `insecure` of registries.conf (behaviours D10).


# Proxies (behaviours D14).


# `policy.redirect_hosts`.


@pytest.mark.parametrize(("allowed", "refused"), [(("*.cdn.test",), False), (("other.test",), True), ((), False)])
def test_policy_says_where_any_remote_may_redirect_to(
    allowed: tuple[str, ...], refused: bool, mocked: responses.RequestsMock
) -> None:
    url = f"https://a.test/v2/x/blobs/{DIGEST}"
    mocked.add("GET", url, status=307, headers={"Location": "https://eu.cdn.test/b"})
    settings = Settings(policy=Policy(redirect_hosts=allowed))
    remote = opened(route("a.test", retry=QUICK), settings, "a.test/x")
    if refused:
        with pytest.raises(PolicyRefused, match=r"redirects to eu\.cdn\.test, which policy\.redirect_hosts does not"):
            read(remote)
        remote.close()
    else:
        mocked.add("GET", "https://eu.cdn.test/b", body=DATA)
        assert read(remote) == DATA
