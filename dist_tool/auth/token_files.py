"""A private directory of small files that many processes share: where access tokens are kept.

Everything here is best effort, a cache: what fails counts as absent. What is trusted: a
directory of our own, not reached by a symbolic link, and in it regular files of our own that
nobody else may read. Every file is opened relative to the directory that was checked.
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
_LARGEST = 256 << 10  # bytes of a file: a token answer is at most 64 KiB
_SWEEP_S = 3600.0  # how often leftovers are looked for, and how old they must be
_POLL_S = (0.005, 0.05)  # first and longest pause between two looks at a lock
_SAFE = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK


class TokenDirectory:
    """Files named by a keyed hash, each with the time from which it is worthless."""

    def __init__(self, path: str, report: Report = no_report) -> None:
        self._path = path
        self._report = report
        self._usable = True
        self._key = b""

    def exists(self) -> bool:
        """Whether there may be something to read."""
        return self._usable and os.path.isdir(self._path)

    def name(self, *parts: bytes) -> str:
        """The file name for `parts`: a hash under this user's own key, so that names tell nothing.

        "" where there is no directory to use.
        """
        if not self._key:
            self._key = self._secret()
        if not self._key:
            return ""
        from hashlib import blake2b

        digest = blake2b(key=self._key, digest_size=20)
        for part in parts:
            digest.update(len(part).to_bytes(8, "big") + part)
        return _PREFIX + digest.hexdigest()

    def read(self, name: str) -> bytes | None:
        """The content of a file, None for none and for one that is not safely ours."""
        with self._opened() as folder:
            return _read(folder, name) if folder is not None else None

    def write(self, name: str, data: bytes, *, until: float, now: float) -> None:
        """Put a file in place atomically, worthless from `until` on (seconds since the epoch)."""
        with self._opened() as folder:
            if folder is None:
                return
            try:
                _place(folder, name, data, until)
                self._sweep(folder, now)
            except OSError as error:
                self._tell("info", f"an access token could not be kept: {error.strerror}")

    def remove(self, name: str) -> None:
        """Remove a file if it is there."""
        with self._opened() as folder, suppress(OSError):
            if folder is not None:
                os.unlink(name, dir_fd=folder)

    def epoch(self) -> bytes:
        """A random number that `begin_epoch` changes, b"" for none yet: part of what a token is looked up by."""
        if not self.exists():
            return b""
        with self._opened() as folder:
            return (_read(folder, _EPOCH) if folder is not None else None) or b""

    def begin_epoch(self) -> None:
        """Make every token that there is worthless, those that other processes are writing included."""
        if not self.exists():
            return
        with self._opened() as folder:
            if folder is None:
                return
            try:
                _place(folder, _EPOCH, os.urandom(_EPOCH_SIZE), None)
                for name in os.listdir(folder):
                    if name.startswith(_PREFIX) and not name.endswith(_LOCK):
                        with suppress(FileNotFoundError):
                            os.unlink(name, dir_fd=folder)
            except OSError as error:
                self._tell("warning", f"access tokens of earlier logins are still in {self._path}: {error.strerror}")

    @contextmanager
    def turn(self, name: str, wait_s: float, enough: Callable[[], bool]) -> Iterator[None]:
        """Hold the lock of `name`, among all processes.

        Waits at most `wait_s`, and no longer than until `enough()`; then goes on without. The
        lock ends with its process. Where there are no locks (some network file systems) it
        goes on at once.
        """
        lock = self._acquire(name + _LOCK, wait_s, enough)
        try:
            yield
        finally:
            if lock is not None:
                self.remove(name + _LOCK)  # while it is held: waiters notice that it went
                os.close(lock)

    def _acquire(self, lock_name: str, wait_s: float, enough: Callable[[], bool]) -> int | None:
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
            if lock is not None or enough() or monotonic() >= give_up:
                return lock
            sleep(pause)
            pause = min(pause * 1.5, longest)

    @contextmanager
    def _opened(self) -> Iterator[int | None]:
        """The directory's descriptor, made and checked; None where it cannot be used."""
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
            self._tell("info", f"no access tokens are kept: {self._path}: {error.strerror}")
            return None
        found = os.fstat(folder)
        if found.st_uid != os.geteuid():
            os.close(folder)
            self._refuse(f"belongs to somebody else (user {found.st_uid})")
            return None
        if found.st_mode & 0o077:  # ours, made under another umask or by another program
            with suppress(OSError):
                os.fchmod(folder, 0o700)
        return folder

    def _refuse(self, why: str) -> None:
        self._usable = False
        self._tell("warning", f"access tokens are neither read nor kept: {self._path} {why}")

    def _tell(self, level: str, text: str) -> None:
        self._report(Notice(level, text))

    def _secret(self) -> bytes:
        """This user's random key, made on first use. b"" where there is no directory."""
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
                    self._tell("info", f"no access tokens are kept: {self._path}: {error.strerror}")
                    break
        self._usable = False
        return b""

    def _sweep(self, folder: int, now: float) -> None:
        """Remove what ended an hour ago; looked for once an hour, remembered as the key's mtime."""
        if abs(now - os.stat(_KEY, dir_fd=folder).st_mtime) < _SWEEP_S:
            return
        os.utime(_KEY, (now, now), dir_fd=folder)
        for name in os.listdir(folder):
            if not name.startswith((_PREFIX, _TEMPORARY)):
                continue  # not ours to judge
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


def _place(folder: int, name: str, data: bytes, until: float | None) -> None:
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
    """A key that is complete when it appears, and the same for all who make it at once."""
    temporary = _write_temporary(folder, os.urandom(_KEY_SIZE), None)
    if not replace:
        try:
            os.link(temporary, _KEY, src_dir_fd=folder, dst_dir_fd=folder)
        except FileExistsError:
            pass
        except OSError:
            replace = True  # a file system without links: of several at once the last one wins
    if replace:
        _rename(folder, temporary, _KEY)
    else:
        os.unlink(temporary, dir_fd=folder)


def _try_lock(folder: int, name: str, *, create: bool) -> int | None:
    """A descriptor that holds the lock, None while somebody else does. Raises OSError."""
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
        os.close(file)  # a lock that its holder removed on leaving: the next one counts


def _remove_old(folder: int, name: str) -> None:
    if not name.endswith(_LOCK):
        os.unlink(name, dir_fd=folder)
        return
    lock = _try_lock(folder, name, create=False)
    if lock is not None:  # nobody holds it: left by a process that was killed
        os.unlink(name, dir_fd=folder)
        os.close(lock)
