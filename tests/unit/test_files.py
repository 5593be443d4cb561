"""Replacing a small file whole."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dist_tool.errors import LocalFailure
from dist_tool.files import NotRegularFile, open_regular, os_errors, read_at_most, replace_file, write_all


@pytest.mark.parametrize(
    ("before", "private", "after"), [(0o644, True, 0o600), (0o640, False, 0o640), (0o700, True, 0o700)]
)
def test_the_mode_stays_less_what_others_may(before: int, private: bool, after: int, tmp_path: Path) -> None:
    file = tmp_path / "f"
    file.touch()
    file.chmod(before)
    replace_file(str(file), lambda _: b"x", private=private)
    assert file.stat().st_mode & 0o777 == after


def test_a_private_file_is_made_for_its_user_alone(tmp_path: Path) -> None:
    replace_file(str(tmp_path / "d" / "f"), lambda data: data + b"x", private=True)
    assert ((tmp_path / "d").stat().st_mode & 0o777, (tmp_path / "d" / "f").stat().st_mode & 0o777) == (0o700, 0o600)


def test_a_change_that_fails_leaves_the_file_alone(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("x")
    with pytest.raises(ZeroDivisionError):
        replace_file(str(tmp_path / "f"), lambda _: bytes(1 // 0))
    assert (tmp_path / "f").read_text() == "x"
    assert sorted(os.listdir(tmp_path)) == ["f", "home"], "no temporary file is left"


def test_a_place_that_cannot_be_written_is_a_local_failure(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    with pytest.raises(LocalFailure, match="f: cannot be written"):
        replace_file(str(tmp_path / "f" / "g"), lambda _: b"x")
    (tmp_path / "d").mkdir()
    with pytest.raises(LocalFailure, match="d: cannot be written: is a directory"):
        replace_file(str(tmp_path / "d"), lambda _: b"x")


def test_only_a_regular_file_is_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    (tmp_path / "link").symlink_to("file")
    os.mkfifo(tmp_path / "fifo")
    for path in (tmp_path / "fifo", tmp_path):
        with pytest.raises(NotRegularFile, match="not a regular file"):
            open_regular(str(path))
    with pytest.raises(OSError, match="symbolic links") as caught:
        open_regular(str(tmp_path / "link"))
    assert caught.value.errno == errno.ELOOP
    descriptor = open_regular(str(tmp_path / "link"), follow_links=True)
    assert read_at_most(descriptor, 3) == b"con"
    assert read_at_most(descriptor, 100) == b"tent"
    os.close(descriptor)


def test_regular_file_is_opened_relative_to_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"content")
    directory = os.open(tmp_path, os.O_RDONLY)
    descriptor = open_regular(b"file", dir_fd=directory)
    assert read_at_most(descriptor, 100) == b"content"
    os.close(descriptor)
    os.close(directory)


def test_everything_is_written_even_to_a_pipe_that_does_not_block() -> None:
    data = os.urandom(1 << 20)
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    with ThreadPoolExecutor(1) as threads:
        received = threads.submit(read_at_most, reading, len(data))
        write_all(writing, memoryview(data))
        assert received.result(30) == data
    os.close(reading)
    os.close(writing)


def test_os_errors_are_local_failures_with_the_hint_of_their_errno() -> None:
    with pytest.raises(LocalFailure) as caught, os_errors("cannot write x", {errno.ENOSPC: "free some space"}):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert (caught.value.what, caught.value.hint) == ("cannot write x: No space left on device", "free some space")
    with pytest.raises(LocalFailure, match=r"^x: OSError$"), os_errors("x"):
        raise OSError
