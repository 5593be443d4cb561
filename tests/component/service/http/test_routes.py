"""The endpoints, over real sockets: distribution-spec "Pull" and "Content Discovery"."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

import pytest
from support.content import REF_NAME, Blob, image, index, to_json, write_blob, write_layout
from support.serving import Sample, ask

from dist_tool.oci.mediatypes import DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST
from dist_tool.service.http import AccessLogEntry, RegistryServer, ServerLimits
from dist_tool.service.http.documents import Documents
from dist_tool.service.http.layout import ServedLayout
from dist_tool.service.http.referrers import Referrers, Unfinished

ABSENT = "sha256:" + "0" * 64


def test_the_base_says_that_this_is_a_registry(address: str) -> None:
    for path in ("/v2/", "/v2"):
        answer = ask(address, path)
        assert (answer.status, answer.body) == (200, b"{}")
        assert answer.headers["Docker-Distribution-Api-Version"] == "registry/2.0"


@pytest.mark.parametrize("name", ["library/redis", "docker.io/library/redis"])
def test_a_tag_is_served_with_digest_type_and_length(address: str, sample: Sample, name: str) -> None:
    root = sample.redis.root
    answer = ask(address, f"/v2/{name}/manifests/7")
    assert (answer.status, answer.body) == (200, root.data)
    assert answer.headers["Content-Type"] == OCI_INDEX
    assert answer.headers["Docker-Content-Digest"] == str(root.digest)
    assert answer.headers["ETag"] == f'"{root.digest}"'
    head = ask(address, f"/v2/{name}/manifests/7", "HEAD")
    assert (head.status, head.body) == (200, b"")
    assert {**head.headers, "Date": ""} == {**answer.headers, "Date": ""}
    assert head.headers["Content-Length"] == str(len(root.data))


def test_content_is_served_as_it_is_whatever_accept_says(address: str, sample: Sample) -> None:
    answer = ask(address, "/v2/demo/manifests/v1", headers={"Accept": DOCKER_MANIFEST})
    assert (answer.status, answer.body) == (200, sample.plain.root.data)
    assert answer.headers["Content-Type"] == OCI_MANIFEST


def test_manifests_within_an_index_are_served_by_digest_with_their_own_type(address: str, sample: Sample) -> None:
    for entry in sample.redis.entries:
        answer = ask(address, f"/v2/library/redis/manifests/{entry.root.digest}")
        assert (answer.status, answer.body) == (200, entry.root.data)
        assert answer.headers["Content-Type"] == entry.root.media_type


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_layer_or_a_config_is_no_manifest(address: str, sample: Sample, method: str) -> None:
    for content in (sample.plain.layers[0], sample.plain.config, sample.large):
        for _ in range(2):  # the second is answered from memory
            answer = ask(address, f"/v2/demo/manifests/{content.digest}", method)
            assert answer.status == 404
            assert method == "HEAD" or answer.codes == ["MANIFEST_UNKNOWN"]


def test_a_manifest_without_a_media_type_is_served_by_what_it_is(address: str, sample: Sample) -> None:
    document = json.loads(sample.plain.root.data)
    del document["mediaType"]
    content = Blob(to_json(document))
    write_blob(sample.path, content)
    answer = ask(address, f"/v2/demo/manifests/{content.digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_MANIFEST)


def test_docker_types_are_served_as_declared(tmp_path: Path) -> None:
    content = index(image("d", docker=True), docker=True)
    write_layout(tmp_path, {"1": content})
    with RegistryServer(tmp_path, name="d") as server:
        assert ask(server.address, "/v2/d/manifests/1").headers["Content-Type"] == DOCKER_LIST
        child = ask(server.address, f"/v2/d/manifests/{content.entries[0].root.digest}")
        assert child.headers["Content-Type"] == DOCKER_MANIFEST


def test_every_blob_is_served_from_every_repository(address: str, sample: Sample) -> None:
    for content in (sample.large, *sample.plain.blobs(), *sample.redis.blobs()):
        for name in ("demo", "library/redis", "docker.io/library/redis"):
            answer = ask(address, f"/v2/{name}/blobs/{content.digest}")
            assert (answer.status, answer.body) == (200, content.data)
            assert answer.headers["Content-Type"] == "application/octet-stream"
            assert answer.headers["Docker-Content-Digest"] == str(content.digest)
            assert answer.headers["Accept-Ranges"] == "bytes"


def test_an_empty_blob_is_served(address: str, sample: Sample) -> None:
    empty = Blob(b"")
    write_blob(sample.path, empty)
    answer = ask(address, f"/v2/demo/blobs/{empty.digest}")
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")


def test_other_algorithms_are_served(address: str, sample: Sample) -> None:
    content = Blob(b"x" * 10, algorithm="sha512")
    write_blob(sample.path, content)
    assert ask(address, f"/v2/demo/blobs/{content.digest}").body == content.data


SIZE = 300_000  # of the sample's large blob


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=0-", 0, SIZE - 1),
        ("bytes=1000-1999", 1000, 1999),
        ("bytes=100000-", 100_000, SIZE - 1),
        (f"bytes={SIZE - 1}-", SIZE - 1, SIZE - 1),
        (f"bytes=299990-{10**18}", 299_990, SIZE - 1),
        ("bytes=-1", SIZE - 1, SIZE - 1),
        ("bytes=-300001", 0, SIZE - 1),
        ("Bytes=5-9", 5, 9),
    ],
)
def test_one_range_is_served_exactly(address: str, sample: Sample, asked: str, first: int, last: int) -> None:
    answer = ask(address, f"/v2/demo/blobs/{sample.large.digest}", headers={"Range": asked})
    assert answer.status == 206
    assert answer.body == sample.large.data[first : last + 1]
    assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert answer.headers["Content-Length"] == str(last - first + 1)


@pytest.mark.parametrize("asked", [f"bytes={SIZE}-", "bytes=9999999-", "bytes=-0", f"bytes={SIZE}-{SIZE + 5}"])
def test_a_range_beyond_the_end_is_refused_with_the_size(address: str, sample: Sample, asked: str) -> None:
    answer = ask(address, f"/v2/demo/blobs/{sample.large.digest}", headers={"Range": asked})
    assert answer.status == 416
    assert answer.headers["Content-Range"] == f"bytes */{SIZE}"


def test_an_empty_blob_has_no_range(address: str, sample: Sample) -> None:
    empty = Blob(b"")
    write_blob(sample.path, empty)
    answer = ask(address, f"/v2/demo/blobs/{empty.digest}", headers={"Range": "bytes=0-"})
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize(
    "asked", ["bytes=0-1,3-4", "bytes=5-3", "bytes=", "bytes=-", "bytes=a-b", "lines=0-1", "bytes=+1-2", "bytes=1_0-"]
)
def test_what_is_no_single_range_gets_the_whole(address: str, sample: Sample, asked: str) -> None:
    answer = ask(address, f"/v2/demo/blobs/{sample.large.digest}", headers={"Range": asked})
    assert (answer.status, answer.body) == (200, sample.large.data)


def test_if_range_decides_between_the_range_and_the_whole(address: str, sample: Sample) -> None:
    path = f"/v2/demo/blobs/{sample.large.digest}"
    same = ask(address, path, headers={"Range": "bytes=5-9", "If-Range": f'"{sample.large.digest}"'})
    assert (same.status, same.body) == (206, sample.large.data[5:10])
    for other in (f'"{ABSENT}"', f'W/"{sample.large.digest}"', "Wed, 21 Oct 2015 07:28:00 GMT"):
        answer = ask(address, path, headers={"Range": "bytes=5-9", "If-Range": other})
        assert (answer.status, answer.body) == (200, sample.large.data)


def test_a_range_means_nothing_to_head(address: str, sample: Sample) -> None:
    answer = ask(address, f"/v2/demo/blobs/{sample.large.digest}", "HEAD", {"Range": "bytes=5-9"})
    assert (answer.status, answer.headers["Content-Length"]) == (200, str(SIZE))


def test_who_has_the_content_is_told_so(address: str, sample: Sample) -> None:
    path = "/v2/demo/manifests/v1"
    etag = f'"{sample.plain.root.digest}"'
    answer = ask(address, path, headers={"If-None-Match": f'"other", {etag}'})
    assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
    assert ask(address, path, headers={"If-None-Match": '"other"'}).status == 200
    for same in ("*", f"W/{etag}", f'W/"other", W/{etag}'):
        assert ask(address, path, headers={"If-None-Match": same}).status == 304


def test_a_precondition_that_does_not_hold_fails(address: str, sample: Sample) -> None:
    path = "/v2/demo/manifests/v1"
    etag = f'"{sample.plain.root.digest}"'
    for held in (etag, "*", f'"other", {etag}'):
        assert ask(address, path, headers={"If-Match": held}).status == 200
    for other in ('"other"', f"W/{etag}", ""):
        assert ask(address, path, headers={"If-Match": other}).status == 412


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v2/demo/manifests/absent", 404, "MANIFEST_UNKNOWN"),
        ("/v2/demo/manifests/.INVALID", 404, "MANIFEST_UNKNOWN"),
        ("/v2/library/redis/manifests/v1", 404, "MANIFEST_UNKNOWN"),
        (f"/v2/demo/manifests/{ABSENT}", 404, "MANIFEST_UNKNOWN"),
        ("/v2/demo/manifests/sha256:1", 400, "DIGEST_INVALID"),
        ("/v2/demo/manifests/sha256:" + "A" * 64, 400, "DIGEST_INVALID"),
        (f"/v2/demo/blobs/{ABSENT}", 404, "BLOB_UNKNOWN"),
        ("/v2/demo/blobs/v1", 400, "DIGEST_INVALID"),
        ("/v2/demo/blobs/sha256:", 400, "DIGEST_INVALID"),
        ("/v2/demo/blobs/uploads", 400, "DIGEST_INVALID"),
        ("/v2/demo/blobs/x:" + "a" * 600, 400, "DIGEST_INVALID"),
        ("/v2/demo/blobs/x:" + "a" * 500, 404, "BLOB_UNKNOWN"),
        ("/v2/demo/referrers/v1", 400, "DIGEST_INVALID"),
        ("/v2/other/tags/list", 404, "NAME_UNKNOWN"),
        (f"/v2/other/blobs/{ABSENT}", 404, "NAME_UNKNOWN"),
        ("/v2/Demo/tags/list", 400, "NAME_INVALID"),
        ("/v2//demo/tags/list", 400, "NAME_INVALID"),
        ("/v2/tags/list", 400, "NAME_INVALID"),
        ("/v2/demo:5000/tags/list", 400, "NAME_INVALID"),
        ("/v2/a%40b/tags/list", 400, "NAME_INVALID"),
        ("/v2/" + "a" * 300 + "/tags/list", 400, "NAME_INVALID"),
        ("/v2/demo/tags/list?n=x", 400, "UNSUPPORTED"),
        ("/v2/demo/tags/list?n=-1", 400, "UNSUPPORTED"),
        ("/v2/demo/tags/list?n=1&n=2", 400, "UNSUPPORTED"),
        ("/v2/demo/tags", 404, "UNSUPPORTED"),
        ("/v2/demo", 404, "UNSUPPORTED"),
        ("/v2/demo/tags/list/", 404, "UNSUPPORTED"),
        ("/", 404, "UNSUPPORTED"),
        ("/v1/", 404, "UNSUPPORTED"),
        ("/token", 404, "UNSUPPORTED"),
        ("/v2/demo/manifests/../blobs", 400, "UNKNOWN"),
        ("/v2/demo/manifests/%2e%2e", 400, "UNKNOWN"),
    ],
)
def test_an_error_has_status_and_code(address: str, path: str, status: int, code: str) -> None:
    answer = ask(address, path)
    assert (answer.status, answer.codes) == (status, [code])
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FOO"])
def test_whoever_would_write_is_told_that_this_is_read_only(address: str, sample: Sample, method: str) -> None:
    for path in ("/v2/demo/blobs/uploads/", "/v2/demo/manifests/v1", f"/v2/demo/blobs/{sample.large.digest}"):
        answer = ask(address, path, method, body=b"content")
        assert (answer.status, answer.codes, answer.headers["Allow"]) == (405, ["UNSUPPORTED"], "GET, HEAD")


def test_a_blob_that_is_a_socket_or_a_pipe_is_not_there(address: str, sample: Sample, tmp_path: Path) -> None:
    blobs = sample.path / "blobs" / "sha256"
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "s"))
        (tmp_path / "s").rename(blobs / ("2" * 64))
    os.mkfifo(blobs / ("3" * 64))
    for digit in "23":
        assert ask(address, f"/v2/demo/blobs/sha256:{digit * 64}").codes == ["BLOB_UNKNOWN"]


def test_a_blob_whose_file_is_a_link_is_not_there(address: str, sample: Sample, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    (sample.path / "blobs" / "sha256" / ("0" * 64)).symlink_to(tmp_path / "secret")
    for endpoint, code in (("blobs", "BLOB_UNKNOWN"), ("manifests", "MANIFEST_UNKNOWN")):
        assert ask(address, f"/v2/demo/{endpoint}/{ABSENT}").codes == [code]


def pages(address: str, path: str, key: str) -> list[list[str]]:
    """Every page from `path` on, by its Link fields."""
    found = []
    while path:
        answer = ask(address, path)
        assert answer.status == 200
        found.append(answer.json()[key])
        link = answer.headers.get("Link", "")
        assert not link or link.endswith('>; rel="next"')
        path = link.removeprefix("<").partition(">")[0]
    return found


def write_tags(path: Path, *names: str) -> None:
    content = image("tagged").manifest
    write_layout(path)
    write_blob(path, content)
    entries = [{**content.descriptor.to_json(), "annotations": {REF_NAME: name}} for name in names]
    (path / "index.json").write_bytes(to_json({"schemaVersion": 2, "manifests": entries}))


def test_tags_are_listed_in_lexical_order_and_in_pages(address: str, sample: Sample) -> None:
    write_tags(sample.path, "b", "a", "C", "a.1", "_x")
    path = "/v2/demo/tags/list"
    assert ask(address, path).json() == {"name": "demo", "tags": ["C", "_x", "a", "a.1", "b"]}
    assert pages(address, f"{path}?n=2", "tags") == [["C", "_x"], ["a", "a.1"], ["b"]]
    assert pages(address, f"{path}?n=5", "tags") == [["C", "_x", "a", "a.1", "b"]]
    assert pages(address, f"{path}?last=a", "tags") == [["a.1", "b"]]
    assert pages(address, f"{path}?last=a.0&n=1", "tags") == [["a.1"], ["b"]]
    assert pages(address, f"{path}?last=zzz", "tags") == [[]]
    assert pages(address, f"{path}?n=0", "tags") == [[]]


@pytest.mark.parametrize("n", ["", "n=3", "n=4", "n=1000000000000000000"])
def test_a_page_is_never_larger_than_the_server_allows(sample: Sample, n: str) -> None:
    """CVE-2023-2253: `n` is the client's word."""
    write_tags(sample.path, *"abcdefg")
    with RegistryServer(sample.path, name="demo", limits=ServerLimits(page=3)) as server:
        found = pages(server.address, f"/v2/demo/tags/list?{n}", "tags")
    assert found == [["a", "b", "c"], ["d", "e", "f"], ["g"]]


def test_a_repository_without_tags_lists_none(sample: Sample) -> None:
    with RegistryServer(sample.path, name="empty") as server:
        write_tags(sample.path)
        assert ask(server.address, "/v2/empty/tags/list").json() == {"name": "empty", "tags": []}


def test_the_catalog_has_every_name_that_answers(address: str) -> None:
    names = ["demo", "docker.io/library/redis", "library/redis"]
    assert ask(address, "/v2/_catalog").json() == {"repositories": names}
    assert pages(address, "/v2/_catalog?n=2", "repositories") == [names[:2], names[2:]]


def referrer(subject: Blob, kind: str, *, own_type: bool = True, **more: Any) -> Blob:
    config = Blob(b"{}", kind if not own_type else "application/vnd.oci.empty.v1+json")
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        **({"artifactType": kind} if own_type else {}),
        "config": config.descriptor.to_json(),
        "layers": [],
        "subject": subject.descriptor.to_json(),
        **more,
    }
    return Blob(to_json(document), OCI_MANIFEST)


def add_entries(path: Path, *contents: Blob) -> None:
    document = json.loads((path / "index.json").read_bytes())
    for content in contents:
        write_blob(path, content)
        document["manifests"].append(content.descriptor.to_json())
    (path / "index.json").write_bytes(to_json(document))


def test_referrers_are_found_wherever_in_the_layout_they_are(address: str, sample: Sample) -> None:
    subject = sample.plain.root
    signature = referrer(subject, "application/x.sig", annotations={"k": "v"})
    listed = referrer(subject, "application/x.sbom", own_type=False)
    nested = Blob(
        to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [listed.descriptor.to_json()]}), OCI_INDEX
    )
    write_blob(sample.path, listed)
    add_entries(sample.path, signature, nested, signature)
    answer = ask(address, f"/v2/demo/referrers/{subject.digest}")
    assert (answer.status, answer.headers["Content-Type"]) == (200, OCI_INDEX)
    assert "OCI-Filters-Applied" not in answer.headers
    assert answer.json()["mediaType"] == OCI_INDEX
    assert answer.json()["manifests"] == [
        {**signature.descriptor.to_json(), "artifactType": "application/x.sig", "annotations": {"k": "v"}},
        {**listed.descriptor.to_json(), "artifactType": "application/x.sbom"},
    ]


def test_referrers_are_filtered_by_artifact_type_and_the_answer_says_so(address: str, sample: Sample) -> None:
    subject = sample.plain.root
    signature, sbom = referrer(subject, "application/x.sig"), referrer(subject, "application/x.sbom")
    add_entries(sample.path, signature, sbom)
    answer = ask(address, f"/v2/demo/referrers/{subject.digest}?artifactType=application/x.sbom")
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [str(sbom.digest)]
    assert answer.headers["OCI-Filters-Applied"] == "artifactType"


def test_what_nobody_refers_to_has_an_empty_list(address: str) -> None:
    answer = ask(address, f"/v2/demo/referrers/{ABSENT}")
    assert (answer.status, answer.json()["manifests"]) == (200, [])


def test_broken_and_absent_manifests_do_not_hide_referrers(address: str, sample: Sample) -> None:
    subject = sample.plain.root
    good, absent, broken = referrer(subject, "a/a"), referrer(subject, "a/b"), Blob(b"{", OCI_MANIFEST)
    add_entries(sample.path, absent, broken, good)
    (sample.path / "blobs" / "sha256" / absent.digest.encoded).unlink()
    answer = ask(address, f"/v2/demo/referrers/{subject.digest}")
    assert [entry["digest"] for entry in answer.json()["manifests"]] == [str(good.digest)]


def test_a_referrer_that_was_missing_is_found_when_it_is_there(sample: Sample) -> None:
    subject = sample.plain.root
    late = referrer(subject, "a/a")
    add_entries(sample.path, late)
    file = sample.path / "blobs" / "sha256" / late.digest.encoded
    file.rename(sample.path / "aside")
    now = 0.0
    layout = ServedLayout(os.fspath(sample.path), "demo")
    referrers = Referrers(Documents(layout), lambda: now)

    def found() -> list[str]:
        body = json.loads(referrers.body(layout.snapshot(), subject.digest, None))
        return [entry["digest"] for entry in body["manifests"]]

    assert found() == []
    (sample.path / "aside").rename(file)
    now = 10.0
    assert found() == [str(late.digest)]
    for _ in range(2):  # nothing is missing now: what was found stays, as long as index.json does
        now += 10
        file.unlink(missing_ok=True)
        assert found() == [str(late.digest)]


def test_the_search_for_referrers_goes_on_when_index_json_changes(sample: Sample) -> None:
    subject = sample.plain.root
    first, second = referrer(subject, "a/a"), referrer(subject, "a/b")
    add_entries(sample.path, first)
    layout = ServedLayout(os.fspath(sample.path), "demo")
    now = 0.0

    def clock() -> float:
        nonlocal now
        now += 0.011  # a slice has two looks at the clock
        return now

    referrers = Referrers(Documents(layout), clock)
    unfinished = 0
    for _ in range(100):
        try:
            body = json.loads(referrers.body(layout.snapshot(), subject.digest, None))
            break
        except Unfinished:
            unfinished += 1
            if unfinished == 1:
                add_entries(sample.path, second)
    assert unfinished > 2
    assert [entry["digest"] for entry in body["manifests"]] == [str(first.digest), str(second.digest)]


def test_an_index_that_holds_itself_or_goes_too_deep_ends_the_search(address: str, sample: Sample) -> None:
    subject = sample.plain.root
    content = referrer(subject, "a/a")
    write_blob(sample.path, content)
    for _ in range(12):
        content = Blob(
            to_json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [content.descriptor.to_json()]}),
            OCI_INDEX,
        )
        write_blob(sample.path, content)
    add_entries(sample.path, content)
    assert ask(address, f"/v2/demo/referrers/{subject.digest}").json()["manifests"] == []


def test_a_live_layout_is_served_as_it_is_now(address: str, sample: Sample) -> None:
    added = image("added")
    for content in added.blobs():
        write_blob(sample.path, content)
    document = json.loads((sample.path / "index.json").read_bytes())
    document["manifests"].append({**added.root.descriptor.to_json(), "annotations": {REF_NAME: "v2"}})
    (sample.path / "index.new").write_bytes(to_json(document))
    (sample.path / "index.new").rename(sample.path / "index.json")
    assert ask(address, "/v2/demo/manifests/v2").body == added.root.data
    os.remove(sample.path / "blobs" / "sha256" / added.root.digest.encoded)
    assert ask(address, "/v2/demo/manifests/v2").codes == ["MANIFEST_UNKNOWN"]


def test_a_blob_that_becomes_a_manifest_is_noticed(address: str, sample: Sample) -> None:
    """A half-written file, completed in place: what was remembered of it no longer counts."""
    content = image("late").manifest
    file = write_blob(sample.path, content)
    file.write_bytes(content.data[:10])
    assert ask(address, f"/v2/demo/manifests/{content.digest}").status == 404
    file.write_bytes(content.data)
    assert ask(address, f"/v2/demo/manifests/{content.digest}").body == content.data


def test_each_request_is_observed_before_its_answer_leaves(
    address: str, sample: Sample, log: list[AccessLogEntry]
) -> None:
    ask(address, "/v2/demo/manifests/v1?ns=docker.io")
    assert log == [("GET", "/v2/demo/manifests/v1?ns=docker.io", 200, False)]
    ask(address, "/v2/demo/manifests/absent", "HEAD", {"Authorization": "Basic eDp5"})
    assert log[1:] == [("HEAD", "/v2/demo/manifests/absent", 404, True)]


def test_an_observer_that_fails_costs_its_request_only(sample: Sample, caplog: pytest.LogCaptureFixture) -> None:
    def fail_once(entry: AccessLogEntry) -> None:
        if "absent" in entry.path:
            raise RuntimeError("observer")

    with RegistryServer(sample.path, name="demo", observe=fail_once) as server:
        answer = ask(server.address, "/v2/demo/manifests/absent")
        assert (answer.status, answer.codes) == (500, ["UNKNOWN"])
        assert ask(server.address, "/v2/demo/manifests/v1").status == 200
    assert "observer" in caplog.text
