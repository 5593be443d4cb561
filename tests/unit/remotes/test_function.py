"""A remote from one plain function."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from email.message import Message
from io import BytesIO
from typing import IO
from urllib.error import HTTPError, URLError

import pytest
from support.bodies import PATIENT
from support.content import Blob, blob, flip
from support.repositories import fetch, fetch_to

from dist_tool.api import NamedFetcher, Remote
from dist_tool.errors import (
    DigestMismatch,
    InvalidArgument,
    NoDigest,
    NotFound,
    PermissionDenied,
    RemoteFailed,
    SizeMismatch,
    Truncated,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from dist_tool.names.hints import Hints, parse_hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.remotes.function import FunctionRemote
from dist_tool.run import Notice
from dist_tool.transfer.opening import FetchOptions

CONTENT = blob("function", 3_000_000)


class Function:
    """Notes what it is asked, and gives what `give` makes of it."""

    def __init__(self, give: Callable[[], IO[bytes]] = lambda: BytesIO(CONTENT.data)) -> None:
        self.asked: list[tuple[str, Hints]] = []
        self._give = give

    def __call__(self, object_id: str, hints: Hints) -> IO[bytes]:
        self.asked.append((object_id, hints))
        return self._give()


def read(function: Function, object_id: object, *words: str, notices: list[Notice] | None = None) -> bytes:
    out = bytearray()
    options = FetchOptions(run=replace(PATIENT, report=(notices if notices is not None else []).append))
    fetch_to(FunctionRemote(function), str(object_id), out.extend, parse_hints(words), options)
    return bytes(out)


def test_a_function_remote_resolves_no_names_to_digests() -> None:
    remote = FunctionRemote(Function())
    assert isinstance(remote, Remote)
    assert isinstance(remote, NamedFetcher)
    for name in ("latest", "some/path/file.tar", "a name: with anything", "-x"):
        with pytest.raises(NoDigest):
            remote.resolve(name, Hints())


def test_resolving_a_digest_does_not_call_the_function() -> None:
    function = Function()
    desc = FunctionRemote(function).resolve(str(CONTENT.digest), parse_hints(["size:7", "mediatype:a/b"]))
    assert desc == Descriptor(CONTENT.digest, 7, "a/b")
    assert function.asked == []
    assert FunctionRemote(function).resolve(str(CONTENT.digest), Hints()).media_type == OCTET_STREAM


def test_the_function_is_asked_once_for_the_plain_digest() -> None:
    function = Function()
    assert read(function, f"tag@{CONTENT.digest}", f"size:{len(CONTENT.data)}", "mediatype:a/b") == CONTENT.data
    assert function.asked == [(str(CONTENT.digest), Hints(("a/b",), len(CONTENT.data)))]


def test_what_cannot_be_verified_is_refused() -> None:
    with pytest.raises(Unsupported):
        FunctionRemote(Function()).resolve(f"blake3:{'0' * 64}", Hints())


def test_the_bytes_of_a_digest_are_verified() -> None:
    with pytest.raises(DigestMismatch):
        read(Function(lambda: BytesIO(flip(CONTENT.data, 5))), CONTENT.digest)
    with pytest.raises(SizeMismatch):
        read(Function(), CONTENT.digest, f"size:{len(CONTENT.data) - 1}")


def test_a_name_is_passed_unchanged_and_its_unverified_bytes_cause_a_warning() -> None:
    function, notices = Function(), list[Notice]()
    assert read(function, "dir/a name", "x-custom:hint", notices=notices) == CONTENT.data
    assert function.asked == [("dir/a name", Hints(other=(("x-custom", "hint"),)))]
    assert [notice.text for notice in notices if notice.level == "warning"] == [
        "dir/a name: no digest is known, the bytes are not verified"
    ]


def test_the_size_of_a_named_object_is_verified() -> None:
    with pytest.raises(SizeMismatch):
        read(Function(), "name", "size:7")


def test_the_library_refuses_a_file_of_unverified_bytes() -> None:
    with pytest.raises(NoDigest):
        fetch(FunctionRemote(Function()), "name")


def test_a_dist_error_of_the_function_is_passed_through() -> None:
    def absent() -> IO[bytes]:
        raise NotFound("no such thing")

    for object_id in (CONTENT.digest, "name"):
        with pytest.raises(NotFound, match="no such thing"):
            read(Function(absent), object_id)


def _http(status: int) -> OSError:
    return HTTPError("https://gateway.example/x", status, "what it said", Message(), None)


@pytest.mark.parametrize(
    ("raised", "expected", "said"),
    [
        (_http(404), NotFound, "HTTP Error 404: what it said"),
        (_http(410), NotFound, "HTTP Error 410"),
        (_http(401), Unauthenticated, "HTTP Error 401"),
        (_http(403), PermissionDenied, "HTTP Error 403"),
        (_http(503), RemoteFailed, "HTTP Error 503"),
        (URLError("no way there"), Unavailable, "no way there"),
        (FileNotFoundError(2, "No such file", "/shelf/x"), NotFound, "No such file: '/shelf/x'"),
        (PermissionError(13, "Permission denied"), PermissionDenied, "Permission denied"),
        (BrokenPipeError(32, "Broken pipe"), Unavailable, "Broken pipe"),
        (TimeoutError("timed out"), Unavailable, "timed out"),
    ],
    ids=lambda value: str(value) if isinstance(value, OSError) else "",
)
def test_other_exceptions_of_the_function_become_dist_errors(raised: OSError, expected: type, said: str) -> None:
    def fail() -> IO[bytes]:
        raise raised

    for object_id in (CONTENT.digest, "name"):
        with pytest.raises(expected, match=re.escape(said)):
            read(Function(fail), object_id)


class Cut(BytesIO):
    """A file that fails once it was read up to `at`."""

    def __init__(self, data: bytes, at: int, error: Exception | None = None) -> None:
        super().__init__(data)
        self._at = at
        self._error = error or Truncated("cut")

    def read(self, size: int | None = -1, /) -> bytes:
        left = self._at - self.tell()
        if left <= 0:
            raise self._error
        return super().read(min(size or 0, left))


@pytest.mark.parametrize("error", [None, ConnectionResetError(104, "Connection reset by peer")])
def test_after_a_cut_the_function_is_called_again_and_known_bytes_are_skipped(error: Exception | None) -> None:
    files = [Cut(CONTENT.data, 1_500_000, error), Cut(CONTENT.data, 2_500_000), BytesIO(CONTENT.data)]
    function = Function(lambda: files.pop(0))
    assert read(function, CONTENT.digest) == CONTENT.data
    assert len(function.asked) == 3


def test_a_cut_body_of_a_name_is_not_resumed() -> None:
    function = Function(lambda: Cut(CONTENT.data, 1_500_000))
    with pytest.raises(Truncated):
        read(function, "name")
    assert len(function.asked) == 1


@pytest.mark.parametrize("offset", [0, 1, 2_999_999, 3_000_000, 3_000_001])
def test_an_offset_is_reached_by_reading(offset: int) -> None:
    body = FunctionRemote(Function()).open(CONTENT.descriptor, offset)
    view = memoryview(bytearray(len(CONTENT.data)))
    assert view[: body.readinto(view)] == CONTENT.data[offset:]
    assert body.offset == offset


def test_the_file_of_the_function_is_closed_after_success_and_failure() -> None:
    given: list[BytesIO] = []

    def give(data: bytes) -> IO[bytes]:
        given.append(BytesIO(data))
        return given[-1]

    read(Function(lambda: give(CONTENT.data)), CONTENT.digest)
    with pytest.raises(DigestMismatch):
        read(Function(lambda: give(flip(CONTENT.data, 5))), CONTENT.digest)
    assert len(given) > 1
    assert all(file.closed for file in given)


def test_a_file_that_fails_on_the_way_to_an_offset_is_closed() -> None:
    file = Cut(CONTENT.data, 1000)
    with pytest.raises(Truncated):
        FunctionRemote(Function(lambda: file)).open(CONTENT.descriptor, 2000)
    assert file.closed


def test_an_empty_object_is_fetched() -> None:
    assert read(Function(BytesIO), Blob(b"").digest) == b""


@pytest.mark.parametrize("object_id", ["sha256:short", "@nonsense", f"sha256:{'G' * 64}", "name@sha512:0"])
def test_an_object_requested_by_digest_is_never_unverified(object_id: str) -> None:
    function = Function()
    with pytest.raises(InvalidArgument):
        read(function, object_id)
    assert function.asked == []
