"""Random days of a shelf: it remembers what a dict does, wherever it keeps it."""

from __future__ import annotations

from contextlib import closing

from hypothesis import given
from hypothesis import strategies as st

from dist_tool.rootfs.spill import SpillDict

NAMES = st.binary(max_size=3)
STEPS = st.lists(st.one_of(st.tuples(NAMES, st.binary(max_size=300)), NAMES), max_size=40)


@given(steps=STEPS, room=st.sampled_from((0, 700, 1 << 20)))
def test_a_shelf_is_a_dict(steps: list[tuple[bytes, bytes] | bytes], room: int) -> None:
    expected: dict[bytes, bytes] = {}
    with closing(SpillDict(room)) as shelf:
        for step in steps:
            if isinstance(step, bytes):
                expected.pop(step, None)
                shelf.drop(step)
            else:
                expected[step[0]] = step[1]
                shelf.put(*step)
        assert list(shelf.descending()) == sorted(expected.items(), reverse=True)
        for name in (b"", b"a", *expected):
            assert shelf.get(name) == expected.get(name)
            assert (name in shelf) == (name in expected)
