"""What every writer of a store promises: the promises of containerd's content test suite, and ours."""

from __future__ import annotations

import hashlib
import random
import threading
import time

import pytest
from support.threads import run_in_threads

from dist_tool.errors import (
    AlreadyExists,
    DigestMismatch,
    InvalidArgument,
    Locked,
    NotFound,
    SizeMismatch,
    Unsupported,
)
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.store import verify
from dist_tool.stream.body import CHUNK
from dist_tool.stream.copy import copy_into


def content(size, seed=0):
    return random.Random(seed).randbytes(size)


def describe(data, algorithm="sha256"):
    return Descriptor(Digest.of(data, algorithm), len(data))


def put(store, data, ref="put"):
    with store.writer(ref) as writer:
        writer.write(data)
        return writer.commit()


def read(store, desc):
    return verify.read(store, desc, 1 << 30)


@pytest.mark.parametrize("knows_size", [False, True])
@pytest.mark.parametrize("knows_digest", [False, True])
def test_what_is_written_in_pieces_is_committed_as_a_whole(store, knows_size, knows_digest):
    data = content(256)
    known = Descriptor(Digest.of(data) if knows_digest else Digest.of(b""), 256 if knows_size else None)
    writer = store.writer("c", known if knows_digest else None)
    for at in range(0, 256, 32):
        assert writer.write(data[at : at + 32]) == 32
    before = time.time()
    committed = writer.commit(describe(data) if knows_size else None, labels={"containerd.io/gc.root": "now"})
    assert (committed.digest, committed.size) == (Digest.of(data), 256)
    assert writer.digest() == Digest.of(data)
    info = store.info(committed.digest)
    assert (info.size, info.labels) == (256, {"containerd.io/gc.root": "now"})
    assert before - 1 <= info.created_at <= info.updated_at <= time.time() + 1
    assert read(store, committed) == data


def test_nothing_is_visible_before_commit(store):
    data = content(100)
    with store.writer("c", describe(data)) as writer:
        writer.write(data)
        with pytest.raises(NotFound):
            store.info(Digest.of(data))
        assert list(store.walk()) == []


def test_several_writers_are_independent(store):
    writers = {seed: store.writer(f"c{seed}") for seed in range(4)}
    for at in range(0, 256, 64):
        for seed, writer in writers.items():
            writer.write(content(256, seed)[at : at + 64])
    for seed, writer in writers.items():
        assert writer.commit().digest == Digest.of(content(256, seed))


def test_status_follows_the_write(store):
    data = content(256)
    writer = store.writer("c1", describe(data))
    started = writer.status().started_at
    for size in (0, 64, 192, 256):
        writer.write(data[writer.offset : size])
        status = writer.status()
        assert (status.ref, status.offset, status.total) == ("c1", size, 256)
        assert status.active
        assert started == status.started_at <= status.updated_at + 0.01
        assert writer.digest() == Digest.of(data[:size])
        assert store.status("c1")._replace(updated_at=0) == status._replace(updated_at=0)
    writer.commit()
    assert list(store.statuses()) == []
    with pytest.raises(NotFound):
        store.status("c1")


@pytest.mark.parametrize("size", [500, 5000, 50_000])
@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("way", ["continue", "truncate"])
def test_a_closed_write_resumes_where_it_was(store, size, part, way):
    data, cut = content(size), int(size * part)
    with store.writer("ref", describe(data)) as writer:
        writer.write(data[:cut])
    with store.writer("ref", describe(data)) as writer:
        assert writer.offset == cut
        assert writer.digest() == Digest.of(data[:cut])
        if way == "truncate":
            writer.truncate()
            assert writer.offset == 0
        writer.write(data[writer.offset :])
        writer.commit(describe(data))
    assert read(store, describe(data)) == data


def test_resuming_keeps_the_time_of_the_start(store):
    with store.writer("ref") as writer:
        writer.write(b"some")
        started = writer.status().started_at
    with store.writer("ref") as writer:
        assert writer.status().started_at == started


def test_one_ref_has_one_writer(store):
    writer = store.writer("ref")
    with pytest.raises(Locked):
        store.writer("ref")
    writer.close()
    store.writer("ref").close()


@pytest.mark.parametrize("expected", ["given", "unknown"])
def test_committing_an_existing_blob_raises_already_exists(store, expected):
    data = content(256)
    put(store, data)
    writer = store.writer("again")
    writer.write(data)
    with pytest.raises(AlreadyExists) as failure:
        writer.commit(describe(data) if expected == "given" else None)
    assert failure.value.object_id == str(Digest.of(data))
    assert list(store.statuses()) == []
    store.writer("again").close()


def test_opening_a_writer_for_an_existing_blob_raises_already_exists(store):
    data = content(256)
    put(store, data)
    with pytest.raises(AlreadyExists):
        store.writer("again", describe(data))


def test_a_wrong_digest_does_not_poison_the_ref(store):
    data, wrong = content(256), content(256, 1)
    writer = store.writer("ref", describe(data))
    writer.write(wrong)
    with pytest.raises(DigestMismatch):
        writer.commit()
    with pytest.raises(NotFound):
        store.status("ref")
    assert list(store.walk()) == []
    with store.writer("ref", describe(data)) as writer:
        assert writer.offset == 0
        writer.write(data)
        writer.commit()


def test_wrong_content_left_whole_by_a_kill_does_not_poison_the_ref(store):
    data, wrong = content(256), content(256, 1)
    with store.writer("ref", describe(data)) as writer:
        writer.write(wrong)
    with store.writer("ref", describe(data)) as writer:
        assert writer.offset == 0


def test_an_incomplete_write_can_be_resumed(store):
    data = content(256)
    writer = store.writer("ref")
    writer.write(data[:200])
    with pytest.raises(SizeMismatch):
        writer.commit(describe(data))
    with store.writer("ref") as writer:
        assert writer.offset == 200
        writer.write(data[200:])
        assert writer.commit(describe(data)).digest == Digest.of(data)


def test_bytes_beyond_the_announced_size_are_not_written(store):
    with store.writer("ref", Descriptor(Digest.of(b"x"), 10)) as writer:
        writer.write(b"0123456789")
        with pytest.raises(SizeMismatch):
            writer.write(b"!")
        assert writer.offset == 0
    assert list(store.statuses()) == []


def test_a_commit_with_too_many_bytes_removes_the_ingest(store):
    writer = store.writer("ref")
    writer.write(b"0123456789!")
    with pytest.raises(SizeMismatch):
        writer.commit(Descriptor(Digest.of(b"0123456789"), 10))
    assert list(store.statuses()) == []


def test_an_empty_blob_can_be_committed(store):
    with store.writer("ref", Descriptor(Digest.of(b""), 0)) as writer:
        assert writer.commit().size == 0
    assert read(store, describe(b"")) == b""


def test_content_for_an_empty_blob_is_refused(store):
    writer = store.writer("ref", Descriptor(Digest.of(b""), 0))
    writer.write(b"x")
    with pytest.raises(SizeMismatch):
        writer.commit()


def test_a_write_with_another_total_starts_from_zero(store):
    with store.writer("ref", Descriptor(Digest.of(b"x"), 10)) as writer:
        writer.write(b"12345")
    with store.writer("ref", Descriptor(Digest.of(b"x"), 11)) as writer:
        assert (writer.offset, writer.status().total) == (0, 11)


def test_a_stale_tail_does_not_survive_a_shorter_rewrite(store):
    long, short = content(300), content(100, 1)
    with store.writer("ref", describe(long)) as writer:
        writer.write(long[:200])
    with store.writer("ref", describe(short)) as writer:
        assert writer.offset == 0
        writer.write(short)
        writer.commit()
    assert read(store, describe(short)) == short


@pytest.mark.parametrize("algorithm", ["sha384", "sha512"])
@pytest.mark.parametrize("when", ["opening", "commit"])
def test_other_registered_algorithms_are_verified(store, algorithm, when):
    data = content(256)
    desc = describe(data, algorithm)
    writer = store.writer("ref", desc if when == "opening" else None)
    writer.write(data)
    assert writer.commit(desc).digest == desc.digest
    assert read(store, desc) == data
    writer = store.writer("ref2")
    writer.write(b"other")
    with pytest.raises(DigestMismatch):
        writer.commit(Descriptor(Digest.of(b"", algorithm)))


def test_an_algorithm_that_cannot_be_computed_is_unsupported(store):
    with pytest.raises(Unsupported):
        store.writer("ref", Descriptor(Digest("blake3", "0" * 64)))


@pytest.mark.parametrize("ref", ["", "a\0b", "x" * 5000])
def test_an_empty_ref_is_invalid(store, ref):
    with pytest.raises(InvalidArgument):
        store.writer(ref)


@pytest.mark.parametrize("size", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 7])
def test_fill_reads_the_source_to_its_end(store, tmp_path, size):
    data = content(size)
    source = tmp_path / "source"
    source.write_bytes(data)
    with source.open("rb", buffering=0) as file, store.writer("ref") as writer:
        assert copy_into(writer, file) == size
        assert writer.commit().digest == Digest.of(data)


class Slow:
    """A source that gives single bytes, and then what `last` does."""

    def __init__(self, data, last):
        self.left, self.last = list(data), last

    def readinto(self, view):
        if not self.left:
            return self.last()
        view[0] = self.left.pop(0)
        return 1


def test_fill_writes_small_reads_at_once(store):
    seen = []
    with store.writer("ref") as writer:
        source = Slow(b"abc", lambda: 0)
        real = source.readinto
        source.readinto = lambda view: (seen.append(store.status("ref").offset), real(view))[1]
        copy_into(writer, source)
    assert seen == [0, 1, 2, 3]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ConnectionResetError])
def test_fill_keeps_what_was_read_when_the_source_fails(store, tmp_path, failure):
    data = content(CHUNK + 70_000)

    def last():
        raise failure

    class Source(Slow):
        def readinto(self, view):
            if not self.left:
                return self.last()
            piece = bytes(self.left[:50_000][: len(view)])
            del self.left[: len(piece)]
            view[: len(piece)] = piece
            return len(piece)

    with store.writer("ref") as writer, pytest.raises(failure):
        copy_into(writer, Source(data, last))
    with store.writer("ref") as writer:
        assert writer.offset == len(data)
        assert writer.digest() == Digest.of(data)


def test_a_buffer_may_be_reused_after_write(store):
    expected = hashlib.sha256()
    buffer = bytearray(CHUNK)
    with store.writer("ref") as writer:
        for value in range(5):
            buffer[:] = bytes([value]) * CHUNK
            writer.write(memoryview(buffer))
            buffer[:] = b"\xff" * CHUNK
            expected.update(bytes([value]) * CHUNK)
        assert writer.commit().digest.encoded == expected.hexdigest()


def test_closing_a_write_without_bytes_leaves_no_ingest(store):
    store.writer("ref").close()
    assert list(store.statuses()) == []


def test_close_is_idempotent_and_ends_the_writer(store):
    writer = store.writer("ref")
    writer.close()
    writer.close()
    with pytest.raises(ValueError, match="closed"):
        writer.write(b"x")
    with pytest.raises(ValueError, match="closed"):
        writer.commit()


def test_abort_drops_what_was_written(store):
    with store.writer("ref") as writer:
        writer.write(b"some")
        with pytest.raises(Locked):
            store.abort("ref")
    store.abort("ref")
    with pytest.raises(NotFound):
        store.abort("ref")
    with store.writer("ref") as writer:
        assert writer.offset == 0


def test_a_known_digest_overrides_a_size_announced_earlier(store):
    data = content(256)
    with store.writer("ref", Descriptor(Digest.of(data), 100)) as writer:
        writer.write(data[:50])
    with store.writer("ref", Descriptor(Digest.of(data))) as writer:
        assert writer.offset == 50
        writer.write(data[50:])
        writer.commit()
    assert read(store, describe(data)) == data


def test_an_announced_size_holds_for_later_writers_without_a_digest(store):
    with store.writer("ref") as writer:
        writer.expect(10)
        writer.write(b"12345")
    with store.writer("ref") as writer, pytest.raises(SizeMismatch):
        writer.commit()
    with store.writer("ref") as writer:
        assert writer.offset == 5
        writer.expect(5)
        writer.commit()


@pytest.mark.parametrize("ref", ["../../etc/passwd", "a/b", "ü", "x" * 4096, "layer-sha256:abc", "\udcff"])
def test_any_other_ref_is_a_name(store, ref):
    with store.writer(ref) as writer:
        writer.write(b"x")
    assert [status.ref for status in store.statuses()] == [ref]
    store.abort(ref)
    assert list(store.statuses()) == []


def test_one_ref_has_one_writer_of_many_threads(store):
    """All others are refused, and the bytes are those of one."""
    barrier, opened, refused = threading.Barrier(8), [], []

    def run():
        barrier.wait()
        try:
            opened.append(store.writer("ref"))
        except Locked:
            refused.append(1)

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(opened), len(refused)) == (1, 7)
    opened[0].close()


def test_many_threads_committing_the_same_content_leave_one_blob(store):
    data, outcomes = content(1 << 18), []
    barrier = threading.Barrier(4)

    def run(number):
        with store.writer(f"ref{number}") as writer:
            barrier.wait()
            writer.write(data)
            try:
                writer.commit(describe(data))
                outcomes.append("committed")
            except AlreadyExists:
                outcomes.append("exists")

    run_in_threads(4, run)
    assert len(outcomes) == 4
    assert "committed" in outcomes  # several, if commits overlap
    assert [info.digest for info in store.walk()] == [Digest.of(data)]
    assert list(store.statuses()) == []


def test_expecting_nothing_lifts_the_expected_size(store):
    with store.writer("ref") as writer:
        writer.expect(3)
        writer.expect(0)
        writer.write(b"0123456789")
        assert writer.status().total == 0
        assert writer.commit().size == 10


def test_begun_with_one_algorithm_and_continued_with_another(store):
    data = content(256)
    with store.writer("ref") as writer:
        writer.write(data[:100])
    with store.writer("ref", describe(data, "sha512")) as writer:
        assert writer.digest() == Digest.of(data[:100], "sha512")
        writer.write(data[100:])
        assert writer.commit().digest == Digest.of(data, "sha512")
