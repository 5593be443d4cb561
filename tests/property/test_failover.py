"""Failover over random mirrors: one sound mirror is enough, and wrong content is never delivered."""

from __future__ import annotations

import tempfile

from hypothesis import given
from hypothesis import strategies as st
from support.content import blob, flip
from support.fake_remotes import FakeRemote, mirrored, options
from support.repositories import cached, fetch_known

from dist_tool.errors import DistError, NotFound, ProtocolError, Unavailable
from dist_tool.oci.descriptor import Descriptor
from dist_tool.store.disk import DiskStore

EXPECTED = blob("failover", 200)
ERRORS = (NotFound, Unavailable, ProtocolError)
datas = st.one_of(
    st.just(EXPECTED.data),
    st.integers(0, 8 * 200 - 1).map(lambda bit: flip(EXPECTED.data, bit)),
    st.integers(0, 199).map(lambda size: EXPECTED.data[:size]),
    st.integers(1, 200).map(lambda size: EXPECTED.data + bytes(size)),
    st.binary(max_size=300),
)
bad = st.builds(
    FakeRemote,
    datas,
    error=st.one_of(st.none(), st.none(), st.sampled_from(ERRORS).map(lambda kind: kind("failed"))),
    cut_at=st.one_of(st.none(), st.integers(0, 300)),
    cuts=st.sampled_from([1, 2, 1000]),
    declares_size=st.booleans(),
    supports_ranges=st.booleans(),
)
good = st.builds(FakeRemote, st.just(EXPECTED.data), declares_size=st.booleans(), supports_ranges=st.booleans())
sizes = st.sampled_from([None, 200])


class RewindableBuffer:
    """A `Rewindable` sink in memory."""

    def __init__(self) -> None:
        self.data = b""

    def __call__(self, data: memoryview) -> None:
        self.data += data

    def restart(self) -> None:
        self.data = b""


@given(
    before=st.lists(bad, max_size=4),
    sound=good,
    after=st.lists(bad, max_size=2),
    size=sizes,
    attempts=st.sampled_from([1, 3]),
)
def test_one_sound_mirror_is_enough(
    before: list[FakeRemote], sound: FakeRemote, after: list[FakeRemote], size: int | None, attempts: int
) -> None:
    buffer = RewindableBuffer()
    done = fetch_known(
        mirrored(*before, sound, *after), Descriptor(EXPECTED.digest, size), buffer, options=options(attempts)
    )
    assert (buffer.data, done.size) == (EXPECTED.data, 200)


@given(left=datas, before=st.lists(bad, max_size=3), sound=good, size=sizes, attempts=st.sampled_from([1, 3]))
def test_one_sound_mirror_is_enough_for_the_store_after_any_earlier_session(
    left: bytes, before: list[FakeRemote], sound: FakeRemote, size: int | None, attempts: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = DiskStore(directory)
        desc = Descriptor(EXPECTED.digest, size)
        with store.writer(str(EXPECTED.digest)) as writer:
            writer.write(left)
        stored = cached(mirrored(*before, sound), store, options(attempts)).ensure_stored(desc)
        assert store.read(stored, 1000) == EXPECTED.data


@given(sources=st.lists(bad, min_size=1, max_size=5), size=sizes, attempts=st.sampled_from([1, 3]))
def test_transfer_terminates_and_delivers_only_correct_content(
    sources: list[FakeRemote], size: int | None, attempts: int
) -> None:
    out, failure = bytearray(), None
    try:
        fetch_known(mirrored(*sources), Descriptor(EXPECTED.digest, size), out.extend, options=options(attempts))
    except DistError as error:
        failure = error
    assert out == (b"" if failure else EXPECTED.data)
    assert failure is None or failure.attempts
    assert all(len(source.requests) < 40 for source in sources)
