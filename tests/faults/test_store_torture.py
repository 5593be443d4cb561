"""Each call to the file system fails once, with each error that matters."""

from __future__ import annotations

import errno
import itertools
from contextlib import suppress

import pytest
from support.disk import FailAt, intercepted, open_files
from support.stores import check, live, recover

from dist_tool.errors import LocalFailure

ERRORS = (errno.EIO, errno.ENOSPC, errno.EINTR, errno.EMFILE)


def fail_at(root, index, error):
    """Live with one failing call; returns its name, "" where there are not so many calls."""
    acked: list[str] = []
    hook = FailAt(index, error)
    before = open_files()
    with suppress(LocalFailure), intercepted(hook):
        live(root, acked.append)
    assert open_files() == before
    check(root, acked)
    recover(root)
    return hook.name


def torture(tmp_path, cases):
    names = set()
    for number, (index, error) in enumerate(cases):
        name = fail_at(tmp_path / str(number), index, error)
        if not name:
            break
        names.add(name)
    return names


def test_a_failing_call_costs_one_message_and_no_content(tmp_path):
    """A sample of the calls, the errors in turn."""
    errors = itertools.cycle(ERRORS)
    assert {"open", "write", "fsync"} <= torture(tmp_path, ((i, next(errors)) for i in range(0, 10_000, 13)))


@pytest.mark.torture
@pytest.mark.parametrize("error", ERRORS, ids=errno.errorcode.get)
def test_every_single_failing_call_costs_one_message_and_no_content(tmp_path, error):
    assert len(torture(tmp_path, ((index, error) for index in itertools.count()))) > 12
