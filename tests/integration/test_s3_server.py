"""A real S3 server that checks signatures: what we sign is what it computes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.buckets import S3, s3_server
from support.content import blob
from support.fetching import Outcome, fetch, with_environment
from support.processes import run_dist

from dist_tool import errors
from dist_tool.remotes.paths.sigv4 import Keys

BLOB = blob("signed", 5000)
NAME = "dir/a file~1.bin"  # servers before moto 5.2.5 are wrong about names that are odder


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[S3, Keys]]:
    """A server that takes signed requests only, save for a public object; and an administrator's key."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        server.create("images")
        server.put("images", f"sha256/{BLOB.digest.encoded}", BLOB.data)
        server.put("images", "dir/a%20file~1.bin", BLOB.data)
        yield server, server.demand_signatures()


def _fetch(bucket: tuple[S3, Keys], object_id: object, keys: Keys) -> Outcome:
    environ = {"AWS_ACCESS_KEY_ID": keys.access_key, "AWS_SECRET_ACCESS_KEY": keys.secret_key}
    return fetch(f"s3::images@{bucket[0].host}", object_id, settings=with_environment(**environ))


@pytest.mark.parametrize("object_id", [BLOB.digest, NAME], ids=["digest", "name"])
def test_a_signed_request_is_answered(bucket: tuple[S3, Keys], object_id: object) -> None:
    outcome = _fetch(bucket, object_id, bucket[1])
    assert (outcome.data, outcome.error) == (BLOB.data, None)


def test_a_wrong_secret_and_an_unknown_key_are_refused(bucket: tuple[S3, Keys]) -> None:
    access_key = bucket[1].access_key
    for keys in (Keys(access_key, "wrong"), Keys("AKIANOBODY", "wrong")):
        outcome = _fetch(bucket, BLOB.digest, keys)
        assert isinstance(outcome.error, errors.Unauthenticated)


def test_nobody_is_refused(bucket: tuple[S3, Keys]) -> None:
    outcome = fetch(f"s3::images@{bucket[0].host}", BLOB.digest)
    assert isinstance(outcome.error, errors.PermissionDenied)


def test_what_is_not_there_is_not_found(bucket: tuple[S3, Keys]) -> None:
    assert isinstance(_fetch(bucket, blob("absent", 1).digest, bucket[1]).error, errors.NotFound)


def test_the_command_reads_the_shared_credentials_file(bucket: tuple[S3, Keys], isolation: Path) -> None:
    server, keys = bucket
    (isolation / ".aws").mkdir()
    (isolation / ".aws" / "credentials").write_text(
        f"[default]\naws_access_key_id = {keys.access_key}\naws_secret_access_key = {keys.secret_key}\n"
    )
    result = run_dist(["fetch", "s3::images", str(BLOB.digest)], env={"AWS_ENDPOINT_URL_S3": f"http://{server.host}"})
    assert (result.stdout, result.code, result.stderr) == (BLOB.data, 0, "")
