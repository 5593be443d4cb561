"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.content import image, write_layout
from support.layers import needs_root
from support.processes import dist_command, dist_environment, run_dist

from dist_tool.cli._output import file_sink
from dist_tool.errors import LocalFailure
from dist_tool.stream.pump import Rewindable

IMAGE = image("output")


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


def _fetch_to(output: str, redirected: str, layout: Path, fd: int = 1) -> subprocess.CompletedProcess[bytes]:
    """Run `dist fetch -o OUTPUT` in a shell between two lines that are written to the same descriptor."""
    fetch = shlex.join(dist_command("fetch", str(layout), "v1", "-o", output))
    script = f"{{ echo before >&{fd}; {fetch}; code=$?; echo after >&{fd}; exit $code; }} {redirected}"
    return subprocess.run(["sh", "-c", script], env=dist_environment(), capture_output=True, timeout=60, check=False)


@pytest.fixture
def layout(tmp_path: Path) -> Path:
    return write_layout(tmp_path / "img", {"v1": IMAGE})


EXPECTED = b"before\n" + IMAGE.manifest.data + b"after\n"


@pytest.mark.parametrize("output", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "/proc/thread-self/fd/1", "link"])
def test_output_to_standard_output_keeps_what_a_redirection_appends_to(
    output: str, directory: Path, layout: Path
) -> None:
    log = directory / "log"
    log.write_bytes(b"old\n")
    if output == "link":
        output = str(directory / "link")
        os.symlink("/dev/../dev/stdout", output)
    inode = log.stat().st_ino
    done = _fetch_to(output, f">> {log}", layout)
    assert (done.returncode, done.stderr) == (0, b"")
    assert log.read_bytes() == b"old\n" + EXPECTED
    assert log.stat().st_ino == inode


def test_output_to_another_descriptor_is_written_at_its_position(directory: Path, layout: Path) -> None:
    log = directory / "log"
    done = _fetch_to("/dev/fd/7", f"7> {log}", layout, fd=7)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")
    assert log.read_bytes() == EXPECTED


def test_output_to_the_descriptor_of_a_removed_file_makes_no_file(directory: Path, layout: Path) -> None:
    script = f"exec 7<> gone; rm gone; {shlex.join(dist_command('fetch', str(layout), 'v1', '-o', '/dev/fd/7'))}"
    done = subprocess.run(
        ["sh", "-c", f"{script} && cat /dev/fd/7"],
        env=dist_environment(),
        cwd=directory,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, IMAGE.manifest.data, b"")
    assert list(directory.iterdir()) == []


def test_output_to_a_descriptor_that_nobody_opened_is_a_local_failure(layout: Path) -> None:
    done = run_dist(["fetch", str(layout), "v1", "-o", "/dev/fd/9"])
    assert (done.stdout, done.code) == (b"", 9)
    assert "/dev/fd/9: Bad file descriptor" in done.stderr


def test_a_file_that_we_opened_ourselves_is_no_output(directory: Path) -> None:
    with (
        (directory / "own").open("wb") as file,
        pytest.raises(LocalFailure, match="Bad file descriptor"),
        file_sink(f"/dev/fd/{file.fileno()}"),
    ):
        pass


def test_output_to_the_file_of_another_process_is_appended(directory: Path) -> None:
    with (directory / "log").open("wb") as log:
        log.write(b"old ")
        log.flush()
        with subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log) as process:
            _write(Path(f"/proc/{process.pid}/fd/1"))
            process.communicate(b"", timeout=20)
    assert (directory / "log").read_bytes() == b"old new"


def test_output_through_a_chain_of_links_replaces_the_file_at_its_end(directory: Path) -> None:
    (directory / "a").mkdir()
    (directory / "b").symlink_to("a")
    (directory / "a" / "one").symlink_to("../b/./two")
    (directory / "a" / "two").symlink_to(directory / "b" / ".." / "real")
    _write(directory / "b" / "one")
    assert (directory / "real").read_bytes() == b"new"
    assert (directory / "a" / "one").is_symlink()
    (directory / "loop").symlink_to("loop")
    with pytest.raises(LocalFailure, match="symbolic links"):
        _write(directory / "loop")


@pytest.mark.parametrize("mode", [0o6755, 0o4711, 0o2775, 0o640])
def test_new_content_does_not_inherit_setuid_and_setgid(directory: Path, mode: int) -> None:
    program = directory / "program"
    program.write_bytes(b"old")
    program.chmod(mode)
    assert _mode(program) == mode
    _write(program)
    assert (program.read_bytes(), _mode(program)) == (b"new", mode & 0o777)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A directory like /tmp, which belongs to somebody else."""
    path = tmp_path / "shared"
    path.mkdir()
    os.chown(path, 4711, -1)
    path.chmod(0o1777)
    return path


def _link(path: Path, target: Path, owner: int) -> Path:
    path.symlink_to(target)
    os.lchown(path, owner, -1)
    return path


@needs_root
def test_another_users_link_in_a_sticky_directory_is_not_followed(shared: Path, directory: Path) -> None:
    victim = directory / "victim"
    victim.write_bytes(b"old")
    for link in (
        _link(shared / "link", victim, 4712),
        _link(shared / "dangling", directory / "made", 4712),
        _link(shared / "directory", directory, 4712) / "victim",
        _link(shared / "stdout", Path("/dev/stdout"), 4712),
    ):
        with pytest.raises(LocalFailure, match=r"a link of another user in the world-writable directory .*shared"):
            _write(link)
    assert victim.read_bytes() == b"old"
    assert [path.name for path in directory.iterdir()] == ["victim"]


@needs_root
def test_links_of_ours_and_of_the_directorys_owner_are_followed(shared: Path, directory: Path) -> None:
    _write(_link(shared / "ours", directory / "a", os.geteuid()))
    _write(_link(shared / "owners", directory / "b", 4711))
    _write(_link(directory / "elsewhere", directory / "c", 4712))
    assert sorted(path.name for path in directory.iterdir()) == ["a", "b", "c", "elsewhere"]


@needs_root
@pytest.mark.parametrize("make", [Path.touch, os.mkfifo], ids=["file", "FIFO"])
def test_another_users_file_in_a_sticky_directory_is_not_written_to(shared: Path, make: Callable[[Path], None]) -> None:
    make(shared / "x")
    os.chown(shared / "x", 4712, -1)
    with pytest.raises(LocalFailure, match=r"a file of another user in the world-writable directory .*shared"):
        _write(shared / "x")


@needs_root
def test_into_another_users_link_in_a_sticky_directory_makes_nothing(
    shared: Path, directory: Path, layout: Path
) -> None:
    link = _link(shared / "link", directory, 4712)
    lines = f"{IMAGE.manifest.digest}\n".encode()
    for into in (link, link / "new"):
        done = run_dist(["fetch", str(layout), "--stdin", "--into", str(into)], stdin=lines)
        assert (done.stdout, done.code) == (b"", 9)
        assert "a link of another user" in done.stderr
    assert list(directory.iterdir()) == []


@pytest.mark.parametrize("code", [0, 28])
def test_closing_standard_output_needs_no_descriptor(code: int) -> None:
    """With many workers and few descriptors none is left when everything is written; a failure is still reported."""
    script = (
        "import errno, os, resource\n"
        "from dist_tool.cli._output import close_stdout, write_stdout\n"
        "write_stdout(b'all')\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))\n"
        f"failing = {code}\n"
        "if failing:\n"
        "    def close(_): raise OSError(failing, 'No space left on device')\n"
        "    os.close = close\n"
        "close_stdout()\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, check=False)
    assert done.stdout == b"all"
    assert (done.returncode == 0) == (code == 0)
    assert (b"standard output: No space left on device" in done.stderr) == (code == 28)
