"""Every call that the store makes to the file system, in the hands of a test.

`intercepted` runs a hook before each; `Recorder` keeps a log of what changes the disk, and
`after_power_loss` builds what may be left of it: whatever was not synced may be there, missing,
torn or in another order.
"""

from __future__ import annotations

import fcntl
import itertools
import os
import random
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

CALLS = (
    "chmod",
    "close",
    "fchmod",
    "fstat",
    "fsync",
    "ftruncate",
    "listdir",
    "lseek",
    "lstat",
    "mkdir",
    "open",
    "read",
    "readv",
    "rename",
    "rmdir",
    "stat",
    "unlink",
    "utime",
    "write",
)
Hook = Callable[[str, tuple[Any, ...]], None]


@contextmanager
def intercepted(hook: Hook) -> Iterator[None]:
    """Run `hook(name, args)` before each file system call; it may raise or never return.

    A `close` that fails has closed all the same, as on Linux.
    """
    with pytest.MonkeyPatch.context() as patch:
        for module, name in [(os, name) for name in CALLS] + [(fcntl, "flock"), (fcntl, "fcntl")]:
            patch.setattr(module, name, _with_hook(getattr(module, name), name, hook))
        yield


def _with_hook(real: Any, name: str, hook: Hook) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        if name == "close":
            real(*args, **kwargs)
            hook(name, args)
            return None
        hook(name, args)
        return real(*args, **kwargs)

    return call


class FailAt:
    """A hook that fails the call of one index with an errno; `name` says which that was."""

    def __init__(self, index: int, errno: int) -> None:
        self._index = index
        self._errno = errno
        self._count = itertools.count()
        self.name = ""

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        if next(self._count) == self._index:
            self.name = name
            raise OSError(self._errno, os.strerror(self._errno))


class KillAt:
    """A hook that kills its process at the call of one index; a write gets half through."""

    def __init__(self, index: int) -> None:
        self._index = index
        self._count = itertools.count()
        self._write = os.write

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        if next(self._count) == self._index:
            if name == "write":
                self._write(args[0], args[1][: len(args[1]) // 2])
            os.kill(os.getpid(), signal.SIGKILL)


class Dead(BaseException):
    """What a process that was killed would not feel."""


class DeadFrom:
    """A hook for a death within this process: no call from one index on does anything.

    `names` lists the calls until then.
    """

    def __init__(self, index: int) -> None:
        self._index = index
        self.names: list[str] = []

    def __call__(self, name: str, args: tuple[Any, ...]) -> None:
        if len(self.names) >= self._index:
            if name == "close":  # the kernel does that for the dead
                return
            raise Dead
        self.names.append(name)


class Child:
    """A forked process that runs `work(tell)`; `tell` reports lines that survive its death."""

    def __init__(self, work: Callable[[Callable[[str], None]], None]) -> None:
        self._reader, writer = os.pipe()
        self._heard = b""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking beside threads, none of which work uses
            self.pid = os.fork()
        if self.pid == 0:
            os.close(self._reader)
            self._run(work, writer)
        os.close(writer)

    @staticmethod
    def _run(work: Callable[[Callable[[str], None]], None], writer: int) -> None:
        real = os.write
        code = 1
        try:
            work(lambda line: (real(writer, line.encode() + b"\n"), None)[1])
            code = 0
        except BaseException:
            real(2, traceback.format_exc().encode())
        finally:
            os._exit(code)

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def hear(self) -> None:
        """Wait for one more line, or for the end of what is told."""
        while (byte := os.read(self._reader, 1)) not in (b"", b"\n"):
            self._heard += byte
        self._heard += byte

    def wait(self) -> tuple[int, list[str]]:
        """The exit code (negative for a signal) and the lines that were told."""
        with os.fdopen(self._reader, "rb") as file:
            lines = (self._heard + file.read()).decode().splitlines()
        _, status = os.waitpid(self.pid, 0)
        return os.waitstatus_to_exitcode(status), lines


# Power loss


@dataclass
class _Node:
    """A file or a directory: what it is now, and what of it would survive."""

    is_directory: bool
    content: bytes = b""
    durable: bytes = b""
    writes: list[tuple[int, bytes | None]] = field(default_factory=list)
    entries: dict[str, _Node] = field(default_factory=dict)
    durable_entries: dict[str, _Node] = field(default_factory=dict)
    changes: list[tuple[str, _Node | None]] = field(default_factory=list)

    def set(self, name: str, node: _Node | None) -> None:
        _apply(self.entries, name, node)
        self.changes.append((name, node))

    def write(self, offset: int, data: bytes | None) -> None:
        self.content = _patched(self.content, offset, data)
        self.writes.append((offset, data))

    def sync(self) -> None:
        self.durable, self.writes = self.content, []
        self.durable_entries, self.changes = dict(self.entries), []


def _apply(entries: dict[str, _Node], name: str, node: _Node | None) -> None:
    if node is None:
        entries.pop(name, None)
    else:
        entries[name] = node


def _patched(content: bytes, offset: int, data: bytes | None) -> bytes:
    """`content` with `data` written at `offset`; None cuts it there."""
    if data is None:
        return content[:offset].ljust(offset, b"\0")
    return content[:offset].ljust(offset, b"\0") + data + content[offset + len(data) :]


_lstat = os.lstat


def _exists(path: str) -> bool:
    """`os.path.lexists` by a call that no hook counts."""
    try:
        _lstat(path)
    except OSError:
        return False
    return True


class Recorder:
    """Notes every change below `root` while it is active. `log` holds steps to be replayed.

    `ack(what)` puts into the log that the store has said yes to something.
    """

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.log: list[tuple[Any, ...]] = []
        self._paths: dict[int, str] = {}
        self._positions: dict[int, int] = {}

    def ack(self, what: str) -> None:
        self.log.append(("ack", what))

    @contextmanager
    def active(self) -> Iterator[None]:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("open", "write", "fsync", "rename", "mkdir", "unlink", "rmdir", "ftruncate", "lseek", "readv"):
                patch.setattr(os, name, getattr(self, f"_{name}")(getattr(os, name)))
            yield

    def _note(self, *step: Any) -> None:
        if all(text.startswith(self.root) for text in step[1:] if isinstance(text, str)):
            self.log.append(step)

    def _open(self, real: Any) -> Any:
        def call(path: str, flags: int, *args: Any, **kwargs: Any) -> int:
            existed = _exists(path)
            fd: int = real(path, flags, *args, **kwargs)
            if not existed:
                self._note("create", path)
            elif flags & os.O_TRUNC:
                self._note("write", path, 0, None)
            # Opened files are known by what they are, however they are renamed: see `_replay`.
            self._note("fd", path, fd)
            self._paths[fd], self._positions[fd] = path, 0
            return fd

        return call

    def _write(self, real: Any) -> Any:
        def call(fd: int, data: Any) -> int:
            done: int = real(fd, data)
            if self._paths.get(fd, "").startswith(self.root):
                self.log.append(("write_fd", fd, self._positions[fd], bytes(data[:done])))
                self._positions[fd] += done
            return done

        return call

    def _readv(self, real: Any) -> Any:
        def call(fd: int, buffers: Any) -> int:
            done: int = real(fd, buffers)
            self._positions[fd] = self._positions.get(fd, 0) + done
            return done

        return call

    def _lseek(self, real: Any) -> Any:
        def call(fd: int, offset: int, how: int) -> int:
            self._positions[fd] = real(fd, offset, how)
            return self._positions[fd]

        return call

    def _ftruncate(self, real: Any) -> Any:
        def call(fd: int, size: int) -> None:
            real(fd, size)
            self.log.append(("write_fd", fd, size, None))

        return call

    def _fsync(self, real: Any) -> Any:
        def call(fd: int) -> None:
            if self._paths.get(fd, "").startswith(self.root):
                self.log.append(("fsync_fd", fd))

        return call

    def _rename(self, real: Any) -> Any:
        def call(source: str, target: str) -> None:
            real(source, target)
            self._note("rename", source, target)

        return call

    def _mkdir(self, real: Any) -> Any:
        def call(path: str, *args: Any) -> None:
            real(path, *args)
            self._note("mkdir", path)

        return call

    def _unlink(self, real: Any) -> Any:
        def call(path: str) -> None:
            real(path)
            self._note("remove", path)

        return call

    _rmdir = _unlink


class _Replay:
    """The state of the disk after some steps of a log."""

    def __init__(self, root: str) -> None:
        self.root = root
        self.tree = _Node(is_directory=True)
        self.fds: dict[int, _Node] = {}
        self.acked: list[str] = []

    def _find(self, path: str) -> tuple[_Node, str]:
        parts = Path(path).relative_to(self.root).parts
        node = self.tree
        for part in parts[:-1]:
            node = node.entries[part]
        return node, parts[-1] if parts else ""

    def _node(self, path: str) -> _Node:
        parent, name = self._find(path)
        return parent.entries[name] if name else self.tree

    def step(self, kind: str, *args: Any) -> None:
        getattr(self, f"_do_{kind}")(*args)

    def _do_ack(self, what: str) -> None:
        self.acked.append(what)

    def _do_create(self, path: str) -> None:
        parent, name = self._find(path)
        parent.set(name, _Node(is_directory=False))

    def _do_mkdir(self, path: str) -> None:
        parent, name = self._find(path)
        parent.set(name, _Node(is_directory=True))

    def _do_remove(self, path: str) -> None:
        parent, name = self._find(path)
        parent.set(name, None)

    def _do_rename(self, source: str, target: str) -> None:
        node = self._node(source)
        parent, name = self._find(source)
        parent.set(name, None)
        parent, name = self._find(target)
        parent.set(name, node)

    def _do_fd(self, path: str, fd: int) -> None:
        self.fds[fd] = self._node(path)

    def _do_write(self, path: str, offset: int, data: bytes | None) -> None:
        self._node(path).write(offset, data)

    def _do_write_fd(self, fd: int, offset: int, data: bytes | None) -> None:
        self.fds[fd].write(offset, data)

    def _do_fsync_fd(self, fd: int) -> None:
        self.fds[fd].sync()


def after_power_loss(recorder: Recorder, cut: int, seed: int, target: Path) -> list[str]:
    """Build in `target` a disk that the first `cut` steps may have left; returns what was acked by then."""
    replay = _Replay(recorder.root)
    for step in recorder.log[:cut]:
        replay.step(*step)
    _build(replay.tree, target, random.Random(seed), set())
    return replay.acked


def _build(node: _Node, path: Path, chance: random.Random, seen: set[int]) -> None:
    if not node.is_directory:
        content = node.durable
        for offset, data in _survivors(node.writes, chance):
            torn = data[: chance.randrange(len(data) + 1)] if data and chance.random() < 0.2 else data
            hole = bytes(len(torn)) if torn and chance.random() < 0.2 else torn
            content = _patched(content, offset, hole)
        path.write_bytes(content)
        return
    if id(node) in seen:
        return
    seen.add(id(node))
    path.mkdir(exist_ok=True)
    entries = dict(node.durable_entries)
    for name, child in _survivors(node.changes, chance):
        _apply(entries, name, child)
    for name, child in entries.items():
        _build(child, path / name, chance, seen)


def _survivors(steps: list[Any], chance: random.Random) -> list[Any]:
    """Which unsynced steps reached the disk: none, all, the first few, or any, in order."""
    way = chance.randrange(4)
    if way < 2:
        return steps if way else []
    if way == 2:
        return steps[: chance.randrange(len(steps) + 1)]
    return [step for step in steps if chance.random() < 0.5]


def open_files() -> int:
    """How many files this process has open."""
    return len(os.listdir("/proc/self/fd")) if sys.platform == "linux" else 0
