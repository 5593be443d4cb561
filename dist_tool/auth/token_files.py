"""Directory of access token files, shared by all processes of a user.

It is a cache: a file that cannot be read counts as absent. Trusted are a directory owned by
this user that is not a symbolic link, and regular files in it that are owned by this user and
not accessible to others. Files are opened relative to the descriptor of the checked directory.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep

from dist_tool.files import open_regular, read_at_most
from dist_tool.run import Notice, Report, no_report

_PREFIX = "token-"
_TEMPORARY = ".new-"
_LOCK = ".lock"
_KEY = "key"
_KEY_SIZE = 32
_EPOCH = "epoch"
_EPOCH_SIZE = 16
_LARGEST = 256 << 10  # bytes of a file: a token response is at most 64 KiB
_SWEEP_S = 3600.0  # interval between sweeps, and the minimum age of the files that they remove
_POLL_S = (0.005, 0.05)  # first and longest pause between two attempts to take a lock
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class TokenDirectory:
    """Files named by a keyed hash, each with its expiry time as its modification time."""

    def __init__(self, path: str, report: Report = no_report) -> None:
        self._path = path
        self._report = report
        self._usable = True
        self._key = b""

    def exists(self) -> bool:
        """Whether the directory exists and has not been found unusable."""
        return self._usable and os.path.isdir(self._path)

    def name(self, *parts: bytes) -> str:
        """The file name for `parts`: a hash keyed with this user's own key, so that names reveal nothing.

        "" if the directory cannot be used.
        """
        if not self._key:
            self._key = self._load_key()
        if not self._key:
            return ""
        from hashlib import blake2b

        digest = blake2b(key=self._key, digest_size=20)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return _PREFIX + digest.hexdigest()

    def read(self, name: str) -> bytes | None:
        """The content of a file, None if it does not exist or is not trusted."""
        with self._opened() as folder:
            return _read(folder, name) if folder is not None else None

    def write(self, name: str, data: bytes, *, until: float, now: float) -> None:
        """Write or replace a file atomically; it expires at `until` (seconds since the epoch)."""
        with self._opened() as folder:
            if folder is None:
                return
            try:
                _replace(folder, name, data, until)
                self._sweep(folder, now)
            except OSError as error:
                self._notify("info", f"cannot cache an access token: {error.strerror}")

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with self._opened() as folder, suppress(OSError):
            if folder is not None:
                os.unlink(name, dir_fd=folder)

    def epoch(self) -> bytes:
        """A random value that `begin_epoch` changes, b"" if there is none yet. It is part of a token's key."""
        if not self.exists():
            return b""
        with self._opened() as folder:
            return (_read(folder, _EPOCH) if folder is not None else None) or b""

    def begin_epoch(self) -> None:
        """Invalidate all existing tokens, including those that other processes are writing."""
        if not self.exists():
            return
        with self._opened() as folder:
            if folder is None:
                return
            try:
                _replace(folder, _EPOCH, os.urandom(_EPOCH_SIZE), None)
                for name in os.listdir(folder):
                    if name.startswith(_PREFIX) and not name.endswith(_LOCK):
                        with suppress(FileNotFoundError):
                            os.unlink(name, dir_fd=folder)
            except OSError as error:
                self._notify("warning", f"cannot remove the tokens of earlier logins in {self._path}: {error.strerror}")

    @contextmanager
    def locked(self, name: str, wait_s: float, stop_waiting: Callable[[], bool]) -> Iterator[None]:
        """Hold the lock of `name`, which excludes other processes.

        Waits at most `wait_s` seconds, or until `stop_waiting()` returns True; then continues
        without the lock. The lock is released when its process exits. On file systems without
        locks (some network file systems) it continues at once.
        """
        lock = self._acquire(name + _LOCK, wait_s, stop_waiting)
        try:
            yield
        finally:
            if lock is not None:
                self.remove(name + _LOCK)  # while the lock is held: waiting processes detect the removal
                os.close(lock)

    def _acquire(self, lock_name: str, wait_s: float, stop_waiting: Callable[[], bool]) -> int | None:
        give_up = monotonic() + wait_s
        pause, longest = _POLL_S
        while True:
            with self._opened() as folder:
                if folder is None:
                    return None
                try:
                    lock = _try_lock(folder, lock_name, create=True)
                except OSError:
                    return None
            if lock is not None or stop_waiting() or monotonic() >= give_up:
                return lock
            sleep(pause)
            pause = min(pause * 1.5, longest)

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """A descriptor of the directory, after creating and checking it; None if it cannot be used."""
        folder = self._open() if self._usable else None
        try:
            yield folder
        finally:
            if folder is not None:
                os.close(folder)

    def _open(self) -> int | None:
        try:
            with suppress(FileExistsError):
                os.makedirs(os.path.dirname(os.path.abspath(self._path)), mode=0o700, exist_ok=True)
                os.mkdir(self._path, mode=0o700)
            if os.path.islink(self._path):
                self._refuse("is a symbolic link")
                return None
            folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError as error:
            self._usable = False
            self._notify("info", f"access tokens are not cached: {self._path}: {error.strerror}")
            return None
        found = os.fstat(folder)
        if found.st_uid != os.geteuid():
            os.close(folder)
            self._refuse(f"belongs to another user (uid {found.st_uid})")
            return None
        if found.st_mode & 0o077:  # created by this user with another umask or by another program
            with suppress(OSError):
                os.fchmod(folder, 0o700)
        return folder

    def _refuse(self, why: str) -> None:
        self._usable = False
        self._notify("warning", f"the access token cache is not used: {self._path} {why}")

    def _notify(self, level: str, text: str) -> None:
        self._report(Notice(level, text))

    def _load_key(self) -> bytes:
        """This user's random key, created on first use. b"" if the directory cannot be used."""
        with self._opened() as folder:
            if folder is None:
                return b""
            for broken in (False, True, True):
                key = _read(folder, _KEY)
                if key is not None and len(key) == _KEY_SIZE:
                    return key
                try:
                    _make_key(folder, replace=broken)
                except OSError as error:
                    self._notify("info", f"access tokens are not cached: {self._path}: {error.strerror}")
                    break
        self._usable = False
        return b""

    def _sweep(self, folder: int, now: float) -> None:
        """Once an hour, remove files that expired an hour ago. The key file's mtime is the time of the last sweep."""
        if abs(now - os.stat(_KEY, dir_fd=folder).st_mtime) < _SWEEP_S:
            return
        os.utime(_KEY, (now, now), dir_fd=folder)
        for name in os.listdir(folder):
            if not name.startswith((_PREFIX, _TEMPORARY)):
                continue  # not a token or temporary file
            with suppress(OSError):
                if os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime < now - _SWEEP_S:
                    _remove_old(folder, name)


def _read(folder: int, name: str) -> bytes | None:
    try:
        file = open_regular(name, dir_fd=folder)
    except OSError:
        return None
    try:
        found = os.fstat(file)
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return None
        data = read_at_most(file, _LARGEST + 1)
    except OSError:
        return None
    finally:
        os.close(file)
    return data if len(data) <= _LARGEST else None


def _replace(folder: int, name: str, data: bytes, until: float | None) -> None:
    # Not `files.replace_file`: all paths are relative to the checked directory, and failures are ignored.
    _rename(folder, _write_temporary(folder, data, until), name)


def _rename(folder: int, temporary: str, name: str) -> None:
    try:
        os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        os.unlink(temporary, dir_fd=folder)
        raise


def _write_temporary(folder: int, data: bytes, until: float | None) -> str:
    temporary = f"{_TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}"
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFE, 0o600, dir_fd=folder)
    try:
        if os.write(file, data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if until is not None:
            os.utime(file, (until, until))
    except OSError:
        os.unlink(temporary, dir_fd=folder)
        raise
    finally:
        os.close(file)
    return temporary


def _make_key(folder: int, *, replace: bool) -> None:
    """Create the key atomically; all processes that create it concurrently get the same key."""
    temporary = _write_temporary(folder, os.urandom(_KEY_SIZE), None)
    if not replace:
        try:
            os.link(temporary, _KEY, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            pass
        except OSError:
            replace = True  # a file system without hard links: the last concurrent writer wins
    if replace:
        _rename(folder, temporary, _KEY)
    else:
        os.unlink(temporary, dir_fd=folder)


def _try_lock(folder: int, name: str, *, create: bool) -> int | None:
    """A descriptor that holds the lock, None if another process holds it. Raises OSError."""
    import fcntl

    flags = os.O_RDWR | _SAFE | (os.O_CREAT if create else 0)
    while True:
        file = os.open(name, flags, 0o600, dir_fd=folder)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            current = os.stat(name, dir_fd=folder, follow_symlinks=False).st_ino
        except FileNotFoundError:
            current = 0
        except BlockingIOError:
            os.close(file)
            return None
        except OSError:
            os.close(file)
            raise
        if current == os.fstat(file).st_ino:
            return file
        os.close(file)  # the holder removed this lock file on release: try the new one


def _remove_old(folder: int, name: str) -> None:
    if not name.endswith(_LOCK):
        os.unlink(name, dir_fd=folder)
        return
    lock = _try_lock(folder, name, create=False)
    if lock is not None:  # not held: left behind by a killed process
        os.unlink(name, dir_fd=folder)
        os.close(lock)
