"""Other clients against `dist serve`'s registry: they get the bytes, and the digests agree."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.content import Image, Index, blob, image, index, write_blob, write_layout
from support.processes import Authority, optional_program, require_program, run_program

from dist_tool.oci.digest import Digest
from dist_tool.oci.platform import Platform
from dist_tool.service.http import AccessLogEntry, RegistryServer

REDIS = index(image("redis-amd64"), image("redis-arm64", platform=Platform("linux", "arm64")))
PLAIN = image("plain")
DOCKER = image("docker", docker=True)
LARGE = blob("large", 500_000)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    path = write_layout(tmp_path / "img", {"v1": PLAIN, "docker.io/library/redis:7": REDIS, "d": DOCKER})
    write_blob(path, LARGE)
    return path


@pytest.fixture
def log() -> list[AccessLogEntry]:
    return []


@pytest.fixture(params=["open", "tokens"])
def address(layout: Path, log: list[AccessLogEntry], request: pytest.FixtureRequest) -> Iterator[str]:
    """The same with and without a token server: clients answer the challenge by themselves."""
    with RegistryServer(layout, name="demo", token_auth=request.param == "tokens", observe=log.append) as server:
        yield server.address


def skopeo(*args: str) -> bytes:
    return run_program("skopeo", "--insecure-policy", *args)


def copied(directory: Path, content: Image | Index) -> list[Digest]:
    """The blobs of `content` that are in a layout, and are what their names say."""
    found = []
    for each in content.blobs():
        file = directory / "blobs" / each.digest.algorithm / each.digest.encoded
        if file.exists():
            assert file.read_bytes() == each.data
            found.append(each.digest)
    return found


@pytest.mark.parametrize(
    ("name", "content"), [("demo:v1", PLAIN), ("library/redis:7", REDIS), ("docker.io/library/redis:7", REDIS)]
)
def test_skopeo_copies_an_image_whole(address: str, tmp_path: Path, name: str, content: Image | Index) -> None:
    target = tmp_path / "copy"
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{address}/{name}", f"oci:{target}:x")
    assert copied(target, content) == [each.digest for each in content.blobs()]
    entries = json.loads((target / "index.json").read_bytes())["manifests"]
    assert [entry["digest"] for entry in entries] == [str(content.root.digest)]


def test_skopeo_copies_by_digest(address: str, tmp_path: Path) -> None:
    child = REDIS.entries[1]
    target = tmp_path / "copy"
    source = f"docker://{address}/library/redis@{child.root.digest}"
    skopeo("copy", "--src-tls-verify=false", source, f"oci:{target}:x")
    assert copied(target, child) == [each.digest for each in child.blobs()]


def test_skopeo_reads_docker_types(address: str) -> None:
    raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{address}/demo:d")
    assert raw == DOCKER.root.data


def test_skopeo_inspects_and_lists_tags(address: str) -> None:
    found = json.loads(skopeo("inspect", "--tls-verify=false", f"docker://{address}/demo:v1"))
    assert found["Digest"] == str(PLAIN.root.digest)
    assert found["RepoTags"] == ["d", "v1"]
    assert found["Layers"] == [str(layer.digest) for layer in PLAIN.layers]
    tags = json.loads(skopeo("list-tags", "--tls-verify=false", f"docker://{address}/demo"))
    assert tags["Tags"] == ["d", "v1"]


def test_skopeo_logs_in_with_a_password(layout: Path, tmp_path: Path, log: list[AccessLogEntry]) -> None:
    settings = {"name": "demo", "token_auth": True, "user": "me", "password": "hunter2"}
    with RegistryServer(layout, observe=log.append, **settings) as server:  # type: ignore[arg-type]
        source = f"docker://{server.address}/demo:v1"
        skopeo("copy", "--src-tls-verify=false", "--src-creds=me:hunter2", source, f"oci:{tmp_path / 'copy'}:x")
    assert copied(tmp_path / "copy", PLAIN) == [each.digest for each in PLAIN.blobs()]
    spoken = [entry for entry in log if entry.method]  # skopeo tries TLS first, which is no request here
    assert {(entry.status, entry.has_authorization) for entry in spoken} == {(401, False), (200, True)}


def test_skopeo_cannot_push(layout: Path, log: list[AccessLogEntry]) -> None:
    require_program("skopeo")
    before = sorted(path.relative_to(layout) for path in layout.rglob("*"))
    with RegistryServer(layout, name="demo", observe=log.append) as server:
        target = f"docker://{server.address}/demo:new"
        with pytest.raises(pytest.fail.Exception):
            skopeo("copy", "--dest-tls-verify=false", f"oci:{layout}:v1", target)
    assert [entry.status for entry in log if entry.method not in ("", "GET", "HEAD")] == [405]
    assert sorted(path.relative_to(layout) for path in layout.rglob("*")) == before


def test_crane_pulls_lists_and_digests(address: str, tmp_path: Path) -> None:
    optional_program("crane")
    digest = run_program("crane", "digest", "--insecure", f"{address}/library/redis:7")
    assert digest.decode().strip() == str(REDIS.root.digest)
    assert run_program("crane", "ls", "--insecure", f"{address}/demo").split() == [b"d", b"v1"]
    assert run_program("crane", "catalog", "--insecure", address).split() == [
        b"demo",
        b"docker.io/library/redis",
        b"library/redis",
    ]
    assert run_program("crane", "blob", "--insecure", f"{address}/demo@{LARGE.digest}") == LARGE.data
    target = tmp_path / "pulled"
    run_program("crane", "pull", "--insecure", "--format=oci", f"{address}/demo:v1", str(target))
    assert copied(target, PLAIN) == [each.digest for each in PLAIN.blobs()]


def test_curl_resumes(layout: Path, tmp_path: Path, log: list[AccessLogEntry]) -> None:
    part = tmp_path / "part"
    part.write_bytes(LARGE.data[:123_456])
    with RegistryServer(layout, name="demo", observe=log.append) as server:
        url = f"http://{server.address}/v2/demo/blobs/{LARGE.digest}"
        run_program("curl", "-sSf", "-C", "-", "-o", str(part), url)
        assert part.read_bytes() == LARGE.data
        headers = run_program("curl", "-sS", "-r", "-5", "-D", "-", "-o", str(part), url).decode()
    assert part.read_bytes() == LARGE.data[-5:]
    assert "content-range: bytes 499995-499999/500000" in headers.lower()
    assert [entry.status for entry in log] == [206, 206]


def test_curl_verifies_tls(layout: Path, tmp_path: Path, authority: Authority) -> None:
    certificate, key = authority.issue("dist serve")
    with RegistryServer(layout, name="demo", tls=(certificate, key)) as server:
        url = f"https://{server.address}/v2/demo/blobs/{LARGE.digest}"
        got = run_program("curl", "-sSf", "--cacert", authority.ca, url)
        assert got == LARGE.data
        skopeo("inspect", "--raw", "--tls-verify=false", f"docker://{server.address}/demo:v1")


def test_a_copied_layout_is_served_again_with_the_same_digests(address: str, tmp_path: Path) -> None:
    first = tmp_path / "first"
    skopeo("copy", "--all", "--src-tls-verify=false", f"docker://{address}/library/redis:7", f"oci:{first}:again")
    with RegistryServer(first, name="redis") as again:
        raw = skopeo("inspect", "--tls-verify=false", "--raw", f"docker://{again.address}/redis:again")
    assert raw == REDIS.root.data
