"""No cut, restart, flip or extra byte makes a wrong object look complete."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bodies import PATIENT, Answer, Collected, Scripted
from support.content import flip, random_bytes

from dist_tool.errors import DataLoss, DistError
from dist_tool.oci.digest import Digest
from dist_tool.stream import body, resume
from dist_tool.stream import pump as pump_module
from dist_tool.stream.pump import pump
from dist_tool.stream.resume import ResumingReader
from dist_tool.stream.retry import Retry
from dist_tool.stream.verify import VerifiedReader, Verifier

CHUNK, SMALL = 16, 64


@pytest.fixture(autouse=True, scope="module")
def small_chunks() -> Iterator[None]:
    """16 bytes a chunk, verified first up to 64: every boundary within reach of a small example."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (body, pump_module, resume):
            patch.setattr(module, "CHUNK", CHUNK)
        patch.setattr(pump_module, "SMALL", SMALL)
        patch.setattr(resume, "_PROGRESS", CHUNK)
        yield


datas = st.builds(
    random_bytes,
    st.integers(0, 99),
    st.one_of(st.integers(0, 300), st.sampled_from([0, 1, 15, 16, 17, 63, 64, 65, 79, 80, 81])),
)
pieces = st.lists(st.integers(1, 40), max_size=30)
algorithms = st.sampled_from(["sha256", "sha512"])


@st.composite
def mutations(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """An object, and something else: flipped, cut, longer, or two pieces swapped."""
    data = draw(datas)
    kind = draw(st.sampled_from(["flip", "cut", "extra", "inserted", "swapped"])) if data else "extra"
    at = draw(st.integers(0, max(len(data) - 1, 0)))
    if kind == "flip":
        return data, flip(data, at * 8 + draw(st.integers(0, 7)))
    if kind == "cut":
        return data, data[:at]
    if kind == "extra":
        return data, data + draw(st.binary(min_size=1, max_size=100))
    if kind == "inserted":
        return data, data[:at] + draw(st.binary(min_size=1, max_size=20)) + data[at:]
    return data, data[at:] + data[:at] if data[at:] + data[:at] != data else data + b"x"


def _pump(reopen: Scripted, sink: Collected, digest: Digest, size: int | None) -> None:
    verifier = Verifier(digest, size)
    source = ResumingReader(reopen, verifier, Retry(), run=PATIENT)
    try:
        pump(source, verifier, sink, small=SMALL)
    finally:
        source.close()


@given(datas, pieces, algorithms, st.booleans())
def test_a_sound_object_comes_out_as_it_is(data: bytes, sizes: list[int], algorithm: str, sized: bool) -> None:
    sink = Collected()
    _pump(Scripted([Answer(data)], sizes), sink, Digest.of(data, algorithm), len(data) if sized else None)
    assert sink.data == data


@given(mutations(), pieces, algorithms, st.booleans(), st.booleans())
def test_a_wrong_object_is_never_complete(
    pair: tuple[bytes, bytes], sizes: list[int], algorithm: str, sized: bool, declared: bool
) -> None:
    data, wrong = pair
    sink = Collected()
    answer = Answer(wrong, declared=len(wrong) if declared else None)
    with pytest.raises(DistError) as caught:
        _pump(Scripted([answer], sizes), sink, Digest.of(data, algorithm), len(data) if sized else None)
    assert caught.value.exit_code in (5, 6)
    if len(wrong) <= SMALL:
        assert sink.data == b""
    assert len(sink.data) <= max(0, len(wrong) - CHUNK)
    assert wrong.startswith(sink.data)


@given(mutations(), pieces)
def test_a_verified_file_never_ends_cleanly_on_a_wrong_object(pair: tuple[bytes, bytes], sizes: list[int]) -> None:
    data, wrong = pair
    verifier = Verifier(Digest.of(data))
    file = VerifiedReader(ResumingReader(Scripted([Answer(wrong)], sizes), verifier, Retry(), run=PATIENT), verifier)
    with file, pytest.raises(DataLoss):
        file.readall()


@st.composite
def answers(draw: st.DrawFn, data: bytes) -> Answer:
    """One honest answer: from where it was asked or from earlier, whole or cut, telling the total or not."""
    return Answer(
        data,
        count=draw(st.one_of(st.none(), st.integers(0, len(data) + 5))),
        loud=draw(st.booleans()),
        start=draw(st.one_of(st.none(), st.just(0))),
        declared=draw(st.sampled_from([None, len(data)])),
    )


@st.composite
def plans(draw: st.DrawFn) -> tuple[bytes, list[Answer]]:
    data = draw(datas)
    return data, draw(st.lists(answers(data), min_size=1, max_size=8))


@given(plans(), pieces, st.booleans())
def test_any_cuts_and_restarts_yield_the_original_or_an_error(
    plan: tuple[bytes, list[Answer]], sizes: list[int], sized: bool
) -> None:
    data, script = plan
    reopen, sink = Scripted(script, sizes), Collected()
    try:
        _pump(reopen, sink, Digest.of(data), len(data) if sized else None)
    except DistError:
        assert sink.data != data or not data
        assert data.startswith(sink.data)
    else:
        assert sink.data == data
    assert all(body.closed for body in reopen.bodies)


@given(datas, st.lists(st.integers(0, 100), max_size=4), st.lists(st.booleans(), min_size=4, max_size=4), pieces)
def test_up_to_four_cuts_never_stop_anything(
    data: bytes, cuts: list[int], restarts: list[bool], sizes: list[int]
) -> None:
    script = [Answer(data, count, start=0 if again else None) for count, again in zip(cuts, restarts, strict=False)]
    sink = Collected()
    _pump(Scripted([*script, Answer(data)], sizes), sink, Digest.of(data), None)
    assert sink.data == data


@given(datas, st.integers(0, 300), pieces)
def test_one_silent_cut_is_repaired_where_the_source_then_tells_the_total(
    data: bytes, at: int, sizes: list[int]
) -> None:
    script = [Answer(data, at, loud=False), Answer(data, declared=len(data))]
    sink = Collected()
    _pump(Scripted(script, sizes), sink, Digest.of(data), None)
    assert sink.data == data


@given(plans(), mutations())
def test_another_object_after_a_restart_is_never_accepted(
    plan: tuple[bytes, list[Answer]], pair: tuple[bytes, bytes]
) -> None:
    data, script = plan
    _, wrong = pair
    if wrong == data:
        return
    sink = Collected()
    mixed = [*script[:-1], Answer(wrong)]
    try:
        _pump(Scripted(mixed), sink, Digest.of(data), None)
    except DistError:
        assert not data or sink.data != data
    else:
        assert sink.data == data  # the sound answers were enough
