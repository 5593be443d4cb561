"""Bodies under a Content-Encoding that nobody asked for (behaviours B32, trap T1)."""

from __future__ import annotations

import errno
import gzip
import io
import os
import zlib
from collections.abc import Callable

import pytest
from support.content import random_bytes

from dist_tool.errors import LimitExceeded, LocalFailure, ProtocolError, Truncated, Unsupported
from dist_tool.oci.digest import Digest
from dist_tool.stream.body import Body
from dist_tool.transport.encoding import spooled

OBJECT = random_bytes("encoded", 200_000)
STORED_GZIP = gzip.compress(OBJECT, mtime=0)


def body(data: bytes) -> Body:
    return Body(io.BytesIO(data), total=len(data), source="registry.test", media_type="application/x")


def read(opened: Body) -> bytes:
    out = b""
    view = memoryview(bytearray(65536))
    while got := opened.readinto(view):
        out += view[:got]
    opened.close()
    return out


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "GZIP", " x-gzip "])
def test_stored_gzip_under_the_label_gzip_is_the_object_itself(coding: str) -> None:
    """moby/moby#17595."""
    assert read(spooled(body(STORED_GZIP), coding, Digest.of(STORED_GZIP))) == STORED_GZIP


def _raw_deflate(data: bytes) -> bytes:
    engine = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return engine.compress(data) + engine.flush()


@pytest.mark.parametrize(
    ("coding", "encode"),
    [
        ("gzip", gzip.compress),
        ("x-gzip", gzip.compress),
        ("deflate", zlib.compress),
        ("deflate", _raw_deflate),  # what some servers take deflate to mean
    ],
    ids=["gzip", "x-gzip", "deflate", "raw-deflate"],
)
def test_a_real_coding_is_undone(coding: str, encode: Callable[[bytes], bytes]) -> None:
    assert read(spooled(body(encode(OBJECT)), coding, Digest.of(OBJECT))) == OBJECT


def test_the_digest_tells_which_of_the_two_it_is_also_where_both_would_decode() -> None:
    twice = gzip.compress(STORED_GZIP, mtime=0)
    assert read(spooled(body(twice), "gzip", Digest.of(STORED_GZIP))) == STORED_GZIP
    assert read(spooled(body(twice), "gzip", Digest.of(twice))) == twice


def test_raw_bytes_that_are_the_object_pass_under_any_label() -> None:
    assert read(spooled(body(OBJECT), "br", Digest.of(OBJECT))) == OBJECT


def test_without_a_digest_the_coding_is_believed() -> None:
    assert read(spooled(body(STORED_GZIP), "gzip", None)) == OBJECT


def test_gzip_of_several_members_is_read_to_its_end() -> None:
    parts = gzip.compress(OBJECT[:1000]) + gzip.compress(OBJECT[1000:])
    assert read(spooled(body(parts), "gzip", Digest.of(OBJECT))) == OBJECT


def test_the_size_of_the_decoded_object_is_what_is_declared_from_then_on() -> None:
    opened = spooled(body(STORED_GZIP), "gzip", Digest.of(OBJECT))
    assert (opened.offset, opened.total, opened.source, opened.media_type) == (
        0,
        len(OBJECT),
        "registry.test",
        "application/x",
    )
    opened.close()


def test_an_empty_object_has_an_empty_body_under_any_label() -> None:
    assert read(spooled(body(b""), "gzip", Digest.of(b""))) == b""


@pytest.mark.parametrize("data", [OBJECT, STORED_GZIP[:-9], STORED_GZIP[:5] + STORED_GZIP[6:]])
def test_what_does_not_decode_is_an_error_that_names_the_coding(data: bytes) -> None:
    with pytest.raises(ProtocolError, match=r"registry\.test: the body is not gzip"):
        spooled(body(data), "gzip", Digest.of(b"something else"))


def test_an_unknown_coding_is_unsupported_unless_the_raw_bytes_fit() -> None:
    with pytest.raises(Unsupported, match="'br'"):
        spooled(body(STORED_GZIP), "br", Digest.of(OBJECT))


def test_a_small_body_cannot_unfold_beyond_the_limit() -> None:
    bomb = gzip.compress(bytes(50 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(LimitExceeded, match="more than the limit of 1048576 bytes"):
        spooled(body(bomb), "gzip", Digest.of(b"x"), 1 << 20)


def test_a_coding_without_a_size_may_unfold_a_hundredfold_only() -> None:
    bomb = gzip.compress(bytes(20 << 20))
    assert len(bomb) < 100_000
    with pytest.raises(LimitExceeded, match=f"more than the limit of {16 << 20} bytes: .*--max-size") as caught:
        spooled(body(bomb), "gzip", Digest.of(b"x"))
    assert caught.value.exit_code == 5
    assert len(read(spooled(body(bomb), "gzip", None, 20 << 20))) == 20 << 20
    assert len(read(spooled(body(gzip.compress(bytes(15 << 20))), "gzip", None))) == 15 << 20


def test_the_bound_of_a_coding_grows_with_what_was_sent() -> None:
    large = random_bytes("large", 300_000) + bytes(20 << 20)
    assert read(spooled(body(gzip.compress(large)), "gzip", None)) == large


def test_an_object_longer_than_the_limit_is_not_kept() -> None:
    with pytest.raises(LimitExceeded):
        spooled(body(gzip.compress(OBJECT)), "gzip", None, len(OBJECT) - 1)
    with pytest.raises(LimitExceeded):
        spooled(body(OBJECT), "gzip", Digest.of(OBJECT), len(OBJECT) // 2)


def test_the_limit_is_of_the_object_not_of_its_coding() -> None:
    coded = gzip.compress(OBJECT)
    assert len(coded) > len(OBJECT)
    assert read(spooled(body(coded), "gzip", Digest.of(OBJECT), len(OBJECT))) == OBJECT


def test_a_full_disk_is_a_local_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    data = os.urandom(300 << 10)  # more than a spool holds in memory
    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(LocalFailure, match="temporary file: No space left on device"):
        spooled(body(data), "gzip", Digest.of(data))


def test_a_cut_goes_to_whoever_asked() -> None:
    class Cut(Body):
        closed = False

        def readinto(self, view: memoryview) -> int:
            raise Truncated("cut")

        def close(self) -> None:
            self.closed = True

    cut = Cut()
    with pytest.raises(Truncated):
        spooled(cut, "gzip", None)
    assert cut.closed
