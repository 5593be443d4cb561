"""Places of any temper behind one name: one that is sound is enough, and nothing wrong ever comes out."""

from __future__ import annotations

import tempfile

from hypothesis import given
from hypothesis import strategies as st
from support.content import blob, flip
from support.places import Source, mirrored, options
from support.repositories import cached, fetch_known

from dist_tool.errors import DistError, NotFound, ProtocolError, Unavailable
from dist_tool.oci.descriptor import Descriptor
from dist_tool.store.disk import DiskStore

TRUTH = blob("places", 200)
ERRORS = (NotFound, Unavailable, ProtocolError)
datas = st.one_of(
    st.just(TRUTH.data),
    st.integers(0, 8 * 200 - 1).map(lambda bit: flip(TRUTH.data, bit)),
    st.integers(0, 199).map(lambda size: TRUTH.data[:size]),
    st.integers(1, 200).map(lambda size: TRUTH.data + bytes(size)),
    st.binary(max_size=300),
)
bad = st.builds(
    Source,
    datas,
    error=st.one_of(st.none(), st.none(), st.sampled_from(ERRORS).map(lambda kind: kind("failed"))),
    cut_at=st.one_of(st.none(), st.integers(0, 300)),
    deaths=st.sampled_from([1, 2, 1000]),
    declares=st.booleans(),
    ranges=st.booleans(),
)
good = st.builds(Source, st.just(TRUTH.data), declares=st.booleans(), ranges=st.booleans())
sizes = st.sampled_from([None, 200])


class Draft:
    """A sink that remembers what is left of what it was given."""

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
def test_one_sound_place_is_enough(
    before: list[Source], sound: Source, after: list[Source], size: int | None, attempts: int
) -> None:
    draft = Draft()
    done = fetch_known(
        mirrored(*before, sound, *after), Descriptor(TRUTH.digest, size), draft, options=options(attempts)
    )
    assert (draft.data, done.size) == (TRUTH.data, 200)


@given(left=datas, before=st.lists(bad, max_size=3), sound=good, size=sizes, attempts=st.sampled_from([1, 3]))
def test_one_sound_place_is_enough_for_the_store_whatever_an_earlier_session_left(
    left: bytes, before: list[Source], sound: Source, size: int | None, attempts: int
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        store = DiskStore(directory)
        desc = Descriptor(TRUTH.digest, size)
        with store.writer(str(TRUTH.digest)) as writer:
            writer.write(left)
        kept = cached(mirrored(*before, sound), store, options(attempts)).ensure_stored(desc)
        assert store.read(kept, 1000) == TRUTH.data


@given(sources=st.lists(bad, min_size=1, max_size=5), size=sizes, attempts=st.sampled_from([1, 3]))
def test_it_always_ends_and_only_the_right_bytes_come_out(
    sources: list[Source], size: int | None, attempts: int
) -> None:
    out, failure = bytearray(), None
    try:
        fetch_known(mirrored(*sources), Descriptor(TRUTH.digest, size), out.extend, options=options(attempts))
    except DistError as error:
        failure = error
    assert out == (b"" if failure else TRUTH.data)
    assert failure is None or failure.attempts
    assert all(len(source.asked) < 40 for source in sources)
