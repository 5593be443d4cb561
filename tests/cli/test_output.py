"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from dist_tool.cli._output import file_sink
from dist_tool.errors import LocalFailure
from dist_tool.stream.pump import Rewindable


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    path = tmp_path / "out"
    path.mkdir()
    return path


def _write(path: Path, data: bytes = b"new") -> None:
    with file_sink(str(path)) as sink:
        sink(memoryview(data))


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def umask() -> Iterator[None]:
    old = os.umask(0o027)
    yield
    os.umask(old)


@pytest.mark.usefixtures("umask")
def test_a_new_file_has_the_mode_that_the_umask_leaves(directory: Path) -> None:
    _write(directory / "new")
    assert _mode(directory / "new") == 0o640


@pytest.mark.usefixtures("umask")
def test_the_umask_stays_as_it_is_while_others_create_files(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With --into several threads write at once: to ask for the umask one must change it under all of them."""
    with monkeypatch.context() as patch:
        patch.setattr(os, "umask", lambda mask: pytest.fail(f"the umask was set to {mask:o}"))
        _write(directory / "new")
    assert _mode(directory / "new") == 0o640


def test_a_file_that_is_replaced_keeps_its_mode_and_is_never_readable_by_more(directory: Path) -> None:
    secret = directory / "secret"
    secret.write_bytes(b"old")
    secret.chmod(0o600)
    with file_sink(str(secret)) as sink:
        sink(memoryview(b"new"))
        (temporary,) = directory.glob(".secret.*")
        assert _mode(temporary) == 0o600
    assert (secret.read_bytes(), _mode(secret)) == (b"new", 0o600)


@pytest.mark.parametrize("name", ["a" * 255, "\u5143" * 85], ids=["one byte a character", "three bytes a character"])
def test_the_longest_name_that_a_file_can_have_will_do(directory: Path, name: str) -> None:
    _write(directory / name)
    assert [path.name for path in directory.iterdir()] == [name]


def test_what_fails_leaves_neither_a_file_nor_a_temporary_one(directory: Path) -> None:
    with pytest.raises(LocalFailure, match="No space left on device"), file_sink(str(directory / "x")):
        raise OSError(28, "No space left on device")
    assert list(directory.iterdir()) == []


def test_a_file_of_its_own_can_take_back_what_was_written_and_a_pipe_cannot(directory: Path) -> None:
    with file_sink(str(directory / "x")) as sink:
        assert isinstance(sink, Rewindable)
        sink(memoryview(b"all wrong"))
        sink.restart()
        sink(memoryview(b"right"))
    assert (directory / "x").read_bytes() == b"right"
    with file_sink("/dev/null") as sink:
        assert not isinstance(sink, Rewindable)
