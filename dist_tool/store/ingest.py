"""Ingests, the writes in flight on disk: `ingest/<sha256 of ref>/{ref,data,startedat,updatedat,total}`.

The files are those of containerd (behaviours F1-F3), plus a lock file. An ingest is valid only
with its `ref` file, which is written last: a directory that a crash left incomplete starts over.
"""

from __future__ import annotations

import os
import re
import time
from contextlib import suppress
from dataclasses import dataclass

from dist_tool.api import Status
from dist_tool.errors import InvalidArgument
from dist_tool.oci.digest import Digest
from dist_tool.store import files, locks

LONGEST_REF = 4096
_SMALL_FILE = 64
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_SECONDS = "%Y-%m-%dT%H:%M:%S"


def ref_for(digest: Digest) -> str:
    """The default ref of a fetch of `digest`.

    containerd prefixes the kind of object (behaviours F14). Here the ref is the digest alone, so
    that a fetch by digest and a pull that has the media type share one download.
    """
    return str(digest)


def check_ref(ref: str) -> None:
    """Raise InvalidArgument for a ref that cannot name a write."""
    if not ref or "\0" in ref or len(ref.encode("utf-8", "surrogateescape")) > LONGEST_REF:
        raise InvalidArgument(
            f"invalid ref of {len(ref)} characters", hint=f"expected 1 to {LONGEST_REF} bytes without NUL"
        )


def format_time(ns: int) -> str:
    """RFC 3339 in UTC with nine fractional digits, from nanoseconds since the epoch."""
    seconds, fraction = divmod(ns, 10**9)
    return f"{time.strftime(_SECONDS, time.gmtime(seconds))}.{fraction:09d}Z"


def parse_time(text: str) -> float | None:
    """RFC 3339 as seconds since the epoch, None for anything else.

    Not `datetime.fromisoformat`: it accepts forms that are not RFC 3339 (behaviours F2).
    """
    from calendar import timegm

    match = _TIME.fullmatch(text)
    if match is None:
        return None
    whole, fraction, sign, hours, minutes = match.groups()
    try:
        seconds = timegm(time.strptime(whole, _SECONDS))
    except ValueError:
        return None
    shift = (int(hours) * 60 + int(minutes)) * 60 * (-1 if sign == "+" else 1) if sign else 0
    return seconds + shift + int((fraction or "0").ljust(9, "0")) / 1e9


@dataclass(frozen=True, slots=True)
class IngestDirectory:
    """One directory under `ingest/`. Methods other than `status` and `age_s` require its lock."""

    path: str

    @classmethod
    def of(cls, root: str, ref: str) -> IngestDirectory:
        """The directory of `ref` in the store at `root`."""
        key = Digest.of(ref.encode("utf-8", "surrogateescape")).encoded
        return cls(os.path.join(root, "ingest", key))

    @property
    def data(self) -> str:
        """The file that becomes the blob."""
        return os.path.join(self.path, "data")

    def _read(self, name: str, limit: int = _SMALL_FILE) -> str | None:
        content = files.read_small(os.path.join(self.path, name), limit)
        if content is None or len(content) > limit:
            return None
        return content.decode("utf-8", "surrogateescape")

    def _write(self, name: str, text: str) -> None:
        files.write_small(os.path.join(self.path, name), text.encode("utf-8", "surrogateescape"))

    def status(self) -> Status | None:
        """The state of the write, None if the directory is not a complete ingest. `active` is not set."""
        found = files.regular(self.data)
        ref = self._read("ref", LONGEST_REF)
        started = parse_time(self._read("startedat") or "")
        updated = parse_time(self._read("updatedat") or "")
        if found is None or not ref or started is None or updated is None:
            return None
        total = self._read("total") or ""
        return Status(
            ref=ref,
            offset=found.st_size,
            total=int(total) if total.isascii() and total.isdigit() else 0,
            started_at=started,
            updated_at=max(updated, found.st_mtime_ns / 1e9),  # `updatedat` is not written at every write
        )

    def begin(self, ref: str, total: int) -> None:
        """Start a new, empty ingest; `total` is the expected size in bytes, 0 if unknown.

        The old ingest is invalidated first by removing `ref`, and its data is removed before the
        new ingest is valid: a shorter rewrite must not keep a stale tail (behaviours F5).
        """
        for name in ("ref", "data"):
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, name))
        os.close(files.create(self.data, os.O_WRONLY | os.O_EXCL))
        now = format_time(time.time_ns())
        self._write("startedat", now)
        self._write("updatedat", now)
        self.expect(total)
        self._write("ref", ref)

    def expect(self, total: int) -> None:
        """Record the expected size in bytes; 0 removes the record."""
        if total > 0:
            self._write("total", str(total))
        else:
            with suppress(FileNotFoundError):
                os.unlink(os.path.join(self.path, "total"))

    def touch(self) -> None:
        """Set the time of the last write to now."""
        self._write("updatedat", format_time(time.time_ns()))

    def remove(self) -> None:
        """Remove the ingest, the lock last: from then on the ref is free for other writers.

        The directory stays if another writer has already started a new ingest in it.
        """
        for name in os.listdir(self.path):
            if name != locks.LOCK_NAME:
                with suppress(FileNotFoundError):
                    os.unlink(os.path.join(self.path, name))
        with suppress(FileNotFoundError):
            os.unlink(os.path.join(self.path, locks.LOCK_NAME))
        with suppress(OSError):
            os.rmdir(self.path)

    def age_s(self, now: float) -> float:
        """Seconds since the last change in the directory, even if it is not a complete ingest."""
        newest = 0.0
        for path in (self.path, self.data, os.path.join(self.path, "updatedat")):
            with suppress(FileNotFoundError):
                newest = max(newest, os.lstat(path).st_mtime_ns / 1e9)
        return now - newest
