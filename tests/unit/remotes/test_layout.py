"""An image layout on disk, sound, old, odd and hostile (behaviours E21, R7)."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import pytest
from support.content import REF_NAME, Blob, blob, image, index, to_json, write_blob, write_layout

from dist_tool.api import Listable, Referring, Remote
from dist_tool.context import Context
from dist_tool.errors import (
    BadManifest,
    DigestMismatch,
    DistError,
    InvalidArgument,
    LimitExceeded,
    LocalFailure,
    NotFound,
    UnsafePath,
    Unsupported,
)
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.mediatypes import OCI_INDEX, OCI_MANIFEST, OCTET_STREAM
from dist_tool.remotes.layout import LayoutRemote
from dist_tool.settings import Settings

IMAGE = image("layout")
OTHER = image("other")
LONG_NAME = "docker.io/library/redis:7"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "img", {"v1": IMAGE, LONG_NAME: OTHER})


def remote(path: object, **environ: str) -> LayoutRemote:
    return LayoutRemote(Locator("layout", str(path)), Context(settings=Settings(environ=environ)))


def rewrite_index(path: Path, manifests: object, **fields: object) -> None:
    (path / "index.json").write_bytes(to_json({"schemaVersion": 2, "manifests": manifests, **fields}))


def read(opened: LayoutRemote, desc: Descriptor, offset: int = 0) -> bytes:
    body = opened.open(desc, offset)
    out = memoryview(bytearray(1 << 20))
    got = body.readinto(out)
    body.close()
    return bytes(out[:got])


def test_a_layout_can_list_tags_and_referrers(path: Path) -> None:
    assert isinstance(remote(path), Remote)
    assert isinstance(remote(path), Listable)
    assert isinstance(remote(path), Referring)


@pytest.mark.parametrize(("name", "expected"), [("v1", IMAGE), (LONG_NAME, OTHER)])
def test_a_name_is_a_reference_name_as_it_stands_in_the_index(path: Path, name: str, expected: Any) -> None:
    desc = remote(path).resolve(name, Hints())
    assert (desc.digest, desc.size, desc.media_type) == (
        expected.manifest.digest,
        len(expected.manifest.data),
        OCI_MANIFEST,
    )


def test_names_are_listed_in_their_order(path: Path) -> None:
    assert list(remote(path).tags()) == ["v1", LONG_NAME]


def test_the_error_of_an_absent_name_lists_the_names(path: Path) -> None:
    with pytest.raises(NotFound, match=r"no image is named 'v2'.*there are: docker.io/library/redis:7, v1"):
        remote(path).resolve("v2", Hints())


def test_a_list_of_names_is_bounded_and_safe_to_show(path: Path) -> None:
    entry = IMAGE.manifest.descriptor.to_json()
    rewrite_index(path, [{**entry, "annotations": {REF_NAME: f"\x1b[2J{n}"}} for n in range(1000)])
    with pytest.raises(NotFound) as caught:
        remote(path).resolve("v2", Hints())
    assert caught.value.hint.count("\\x1b[2J") == 20
    assert "\x1b" not in str(caught.value)


def test_the_later_of_two_images_with_one_name_is_used(path: Path) -> None:
    """As with umoci and skopeo, which append."""
    named = [{**i.manifest.descriptor.to_json(), "annotations": {REF_NAME: "v1"}} for i in (IMAGE, OTHER)]
    rewrite_index(path, named)
    assert remote(path).resolve("v1", Hints()).digest == OTHER.manifest.digest


def _for_platforms(path: Path, *names: str) -> None:
    """Two entries, for two platforms, each with its name."""
    rewrite_index(
        path,
        [
            {
                **each.manifest.descriptor.to_json(),
                "platform": {"os": "linux", "architecture": architecture},
                **({"annotations": {REF_NAME: name}} if name else {}),
            }
            for each, architecture, name in zip((IMAGE, OTHER), ("amd64", "arm64"), names, strict=True)
        ],
    )


def _on(platform: str) -> Hints:
    return Hints(other=(("platform", platform),))


@pytest.mark.parametrize(("entry_name", "asked"), [("v1", "v1"), ("v1", ""), ("", "")])
def test_of_two_images_with_one_name_the_platform_chooses(path: Path, entry_name: str, asked: str) -> None:
    _for_platforms(path, entry_name, entry_name)
    assert remote(path).resolve(asked, _on("linux/amd64")).digest == IMAGE.manifest.digest
    assert remote(path).resolve(asked, _on("linux/arm64")).digest == OTHER.manifest.digest
    with pytest.raises(NotFound, match=r"no manifest for platform linux/s390x: available: "):
        remote(path).resolve(asked, _on("linux/s390x"))
    with pytest.raises(InvalidArgument, match=r"2 images with this name, for linux/amd64, linux/arm64: .*--platform"):
        remote(path).resolve(asked, Hints())


def test_two_images_with_different_names_are_not_one_for_two_platforms(path: Path) -> None:
    _for_platforms(path, "v1", "v2")
    with pytest.raises(InvalidArgument, match="holds 2 images"):
        remote(path).resolve("", _on("linux/amd64"))


def test_platform_does_not_matter_where_entries_do_not_differ_in_it(path: Path) -> None:
    named = [{**i.manifest.descriptor.to_json(), "annotations": {REF_NAME: "v1"}} for i in (IMAGE, OTHER)]
    rewrite_index(path, named)
    assert remote(path).resolve("v1", _on("linux/s390x")).digest == OTHER.manifest.digest


def test_kind_is_no_media_type(path: Path) -> None:
    """`type:manifest` also means an index, which a layout need not name in its index.json."""
    nested = index(IMAGE)
    write_blob(path, nested.manifest)
    assert remote(path).resolve(str(nested.manifest.digest), Hints(kind="manifest")).media_type == OCTET_STREAM


def test_without_a_name_the_only_image_is_selected(tmp_path: Path) -> None:
    one = write_layout(tmp_path / "one", {"v1": IMAGE})
    assert remote(one).resolve("", Hints()).digest == IMAGE.manifest.digest


def test_one_image_under_two_names_is_one_image(path: Path) -> None:
    entry = IMAGE.manifest.descriptor.to_json()
    rewrite_index(path, [entry, {**entry, "annotations": {REF_NAME: "v1"}}])
    assert remote(path).resolve("", Hints()).digest == IMAGE.manifest.digest


def test_without_a_name_several_images_or_none_are_an_error(path: Path) -> None:
    with pytest.raises(InvalidArgument, match=r"holds 2 images: add :NAME or @DIGEST"):
        remote(path).resolve("", Hints())
    rewrite_index(path, [])
    with pytest.raises(NotFound, match="holds no image"):
        remote(path).resolve("", Hints())


def test_a_digest_is_any_blob_and_its_type_that_of_the_index_else_of_the_hint(path: Path) -> None:
    layer = IMAGE.layers[0]
    opened = remote(path)
    assert opened.resolve(str(layer.digest), Hints()) == Descriptor(layer.digest, len(layer.data), OCTET_STREAM)
    assert opened.resolve(str(layer.digest), Hints(("a/b",))).media_type == "a/b"
    assert opened.resolve(str(IMAGE.manifest.digest), Hints(("a/b",))).media_type == OCI_MANIFEST


def test_a_digest_beside_a_name_decides(path: Path) -> None:
    assert remote(path).resolve(f"v1@{OTHER.manifest.digest}", Hints()).digest == OTHER.manifest.digest


@pytest.mark.parametrize("object_id", ["sha256:short", f"sha512:{'0' * 64}", "@nonsense", "v1@sha256:short"])
def test_a_malformed_digest_is_not_used_as_a_name(path: Path, object_id: str) -> None:
    with pytest.raises(InvalidArgument):
        remote(path).resolve(object_id, Hints())


def test_nothing_is_kept_between_calls(path: Path) -> None:
    opened = remote(path)
    assert list(opened.tags()) == ["v1", LONG_NAME]
    write_layout(path, {"v3": OTHER})
    assert list(opened.tags()) == ["v3"]


def test_a_tilde_is_expanded_by_the_given_environment(tmp_path: Path) -> None:
    write_layout(tmp_path / "img", {"v1": IMAGE})
    assert list(remote("~/img", HOME=str(tmp_path)).tags()) == ["v1"]


@pytest.mark.parametrize("offset", [0, 1, 4999, 5000, 5001, 10**12])
def test_an_offset_beyond_the_end_is_the_end(path: Path, offset: int) -> None:
    content = blob("content", 5000)
    write_blob(path, content)
    body = remote(path).open(content.descriptor, offset)
    assert (body.offset, body.total) == (min(offset, 5000), 5000)
    body.close()
    assert read(remote(path), content.descriptor, offset) == content.data[offset:]


# Layouts that are none, or of another time.


def test_the_error_of_a_directory_without_a_layout_names_the_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match="is not an image layout: there is no oci-layout in it"):
        remote(tmp_path).resolve("v1", Hints())
    with pytest.raises(NotFound, match="no such directory"):
        remote(tmp_path / "missing").resolve("v1", Hints())
    (tmp_path / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
    with pytest.raises(InvalidArgument, match=r"there is no index\.json in it"):
        remote(tmp_path).resolve("v1", Hints())


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b'{"imageLayoutVersion":"1.0.0"}', None),
        (b'{"imageLayoutVersion":"1.99.0","more":1}', None),
        (b'{"imageLayoutVersion":"2.0.0"}', Unsupported),
        (b'{"imageLayoutVersion":"10.0.0"}', Unsupported),
        (b'{"imageLayoutVersion":1}', Unsupported),
        (b"{}", Unsupported),
        (b"[]", Unsupported),
        (b"", BadManifest),
        (b"not json", BadManifest),
    ],
)
def test_the_layouts_version_is_read(path: Path, text: bytes, error: type[DistError] | None) -> None:
    (path / "oci-layout").write_bytes(text)
    if error is None:
        assert list(remote(path).tags()) == ["v1", LONG_NAME]
    else:
        for action in (lambda: list(remote(path).tags()), lambda: remote(path).open(IMAGE.manifest.descriptor)):
            with pytest.raises(error):
                action()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"{}", None),
        (b'{"manifests":null}', None),
        (b'{"manifests":[]}', None),
        (b"[]", None),
        (b'{"manifests":{}}', BadManifest),
        (b'{"manifests":[1]}', BadManifest),
        (b'{"manifests":[{"mediaType":"a/b","digest":"sha256:../../x","size":1}]}', BadManifest),
        (b'{"manifests":[],"manifests":[]}', BadManifest),
        (b"\xff", BadManifest),
        (b"[" * 100_000, BadManifest),
        (b" " * ((8 << 20) + 1), LimitExceeded),
    ],
    ids=["object", "null", "empty", "list", "map", "number", "traversal", "twice", "utf-8", "deep", "huge"],
)
def test_the_index_is_read_strictly_and_within_limits(path: Path, text: bytes, error: type[DistError] | None) -> None:
    """CVE-2023-25153 (huge), CVE-2024-3727 (traversal)."""
    (path / "index.json").write_bytes(text)
    if error is None:
        assert list(remote(path).tags()) == []
        return
    with pytest.raises(error, match=r"index\.json|descriptor"):
        list(remote(path).tags())


def test_a_layout_without_blobs_has_none(path: Path) -> None:
    (path / "oci-layout").write_bytes(to_json({"imageLayoutVersion": "1.0.0"}))
    with pytest.raises(NotFound, match="no such blob in "):
        remote(path).open(blob("absent").descriptor)


# Hostile layouts: such a directory may come from anywhere.


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_bytes(b"of somebody else's")
    return file


def _blob_file(path: Path, content: Blob) -> Path:
    return path / "blobs" / content.digest.algorithm / content.digest.encoded


def test_blobs_that_are_links_are_read(path: Path, tmp_path: Path) -> None:
    """Bazel's rules_oci and nix make layouts of links into their caches."""
    for each in IMAGE.blobs():
        cached = tmp_path / f"cached-{each.digest.encoded}"
        _blob_file(path, each).rename(cached)
        _blob_file(path, each).symlink_to(cached)
    opened = remote(path)
    for each in IMAGE.blobs():
        desc = opened.resolve(str(each.digest), Hints())
        assert (desc.size, read(opened, desc)) == (len(each.data), each.data)
        assert read(opened, desc, 5) == each.data[5:]


def test_link_to_other_content_gives_no_byte_and_reveals_nothing_about_it(path: Path, secret: Path) -> None:
    wanted = blob("wanted", 10)
    _blob_file(path, wanted).symlink_to(secret)
    for action in (
        lambda: remote(path).open(wanted.descriptor),
        lambda: remote(path).resolve(str(wanted.digest), Hints()),
    ):
        with pytest.raises(DigestMismatch) as caught:
            action()
        text = str(caught.value)
        assert Blob(secret.read_bytes()).digest.encoded not in text
        assert str(secret.stat().st_size) not in text.replace(str(path), "").replace(wanted.digest.encoded, "")


def test_link_is_verified_again_after_its_target_has_changed(path: Path, secret: Path) -> None:
    content = Blob(secret.read_bytes())
    _blob_file(path, content).symlink_to(secret)
    opened = remote(path)
    assert read(opened, content.descriptor) == content.data
    secret.write_bytes(b"of somebody more")
    with pytest.raises(DigestMismatch):
        opened.open(content.descriptor)


def test_link_to_nothing_is_a_blob_that_is_absent(path: Path, tmp_path: Path) -> None:
    content = blob("dangling", 10)
    _blob_file(path, content).symlink_to(tmp_path / "absent")
    with pytest.raises(NotFound):
        remote(path).open(content.descriptor)


@pytest.mark.parametrize("kind", ["fifo", "directory", "/dev/zero", "/dev/tty"])
def test_link_to_what_is_no_file_is_refused_without_opening_it(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    content, target = blob("special", 10), tmp_path / "target"
    if kind == "fifo":
        os.mkfifo(target)
    elif kind == "directory":
        target.mkdir()
    else:
        target = Path(kind)
    _blob_file(path, content).symlink_to(target)
    opened = remote(path)
    assert list(opened.tags())
    real = os.open

    def watched(name: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        assert flags & os.O_NOFOLLOW, "the target was opened"
        return real(name, flags, *args, **kwargs)

    monkeypatch.setattr(os, "open", watched)
    with pytest.raises(UnsafePath, match="does not lead to a regular file"):
        opened.open(content.descriptor)


def test_file_behind_a_link_is_read_no_further_than_its_size(path: Path) -> None:
    """Files of /proc say that they are empty and are not."""
    empty = Blob(b"")
    _blob_file(path, empty).symlink_to("/proc/self/environ")
    assert read(remote(path), empty.descriptor) == b""


@pytest.mark.parametrize("kind", ["fifo", "directory", "device"])
def test_a_blob_that_is_a_pipe_is_refused_without_waiting(path: Path, kind: str) -> None:
    content = blob("special", 10)
    file = _blob_file(path, content)
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "directory":
        file.mkdir()
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises((UnsafePath, LocalFailure)):
        remote(path).open(content.descriptor)


@pytest.mark.parametrize("name", ["index.json", "oci-layout"])
def test_an_endless_or_blocking_document_is_refused(path: Path, name: str) -> None:
    (path / name).unlink()
    os.mkfifo(path / name)
    with pytest.raises(DistError):
        list(remote(path).tags())
    (path / name).unlink()
    (path / name).symlink_to("/dev/zero")
    with pytest.raises(DistError):
        list(remote(path).tags())


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.EMFILE])
def test_an_unreadable_file_is_a_local_failure(path: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    content = IMAGE.layers[0]
    opened = remote(path)
    assert list(opened.tags())

    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "open", refuse)
    for action in (lambda: opened.open(content.descriptor), lambda: list(opened.tags())):
        with pytest.raises(LocalFailure, match=os.strerror(number)):
            action()


# Referrers.


def test_index_entries_with_the_subject_are_its_referrers(path: Path) -> None:
    about = {**json.loads(OTHER.manifest.data), "subject": IMAGE.manifest.descriptor.to_json()}
    signature = Blob(to_json({**about, "artifactType": "application/signature"}), OCI_MANIFEST)
    plain = Blob(to_json(about), OCI_MANIFEST)
    many = Blob(to_json({"schemaVersion": 2, "manifests": [], "subject": about["subject"]}), OCI_INDEX)
    unrelated = index(OTHER)
    for each in (signature, plain, many, unrelated.manifest):
        write_blob(path, each)
    rewrite_index(path, [each.descriptor.to_json() for each in (signature, plain, many, unrelated.manifest)])
    opened = remote(path)
    subject = IMAGE.manifest.digest
    assert [desc.digest for desc in opened.referrers(subject)] == [signature.digest, plain.digest, many.digest]
    assert [desc.digest for desc in opened.referrers(subject, "application/signature")] == [signature.digest]
    config_type = IMAGE.config.media_type
    assert [desc.digest for desc in opened.referrers(subject, config_type)] == [plain.digest]
    assert list(opened.referrers(OTHER.manifest.digest)) == []


def test_an_entry_that_is_no_manifest_does_not_spoil_the_list(path: Path) -> None:
    """An index.json may name anything, and manifests that are not there."""
    odd, absent = Blob(b"\x00\x01", "application/x"), Blob(b"absent", OCI_MANIFEST)
    write_blob(path, odd)
    rewrite_index(path, [odd.descriptor.to_json(), absent.descriptor.to_json()])
    assert list(remote(path).referrers(IMAGE.manifest.digest)) == []


@pytest.mark.parametrize("name", ["x/y:1", "docker.io/x/y:1", "index.docker.io/x/y:1"])
def test_a_short_name_is_found_as_docker_writes_it_in_full(tmp_path: Path, name: str) -> None:
    only = image("in full")
    layout = write_layout(tmp_path / "docker", {"docker.io/x/y:1": only, "other": image("other")})
    remote = LayoutRemote(Locator("layout", str(layout)), Context())
    assert remote.resolve(name, Hints()).digest == only.manifest.digest
