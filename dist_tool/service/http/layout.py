"""An image layout mapped to repositories, tags and blobs (image-spec image-layout.md).

A layout has reference names only; a registry has repositories and tags. The mapping:

    v1                          tag v1 of the default repository (`name`)
    docker.io/library/redis:7   tag 7 of library/redis, and of docker.io/library/redis
    none, on the only entry     tag latest of the default repository

If two entries map to the same tag, the first one wins. Every repository contains all blobs.
"""

from __future__ import annotations

import os
import re
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from errno import EACCES, ELOOP, ENAMETOOLONG, ENODEV, ENOENT, ENOTDIR, ENXIO, EPERM
from typing import NamedTuple

from dist_tool.errors import DistError, InvalidArgument, LimitExceeded, NotFound, Unavailable
from dist_tool.files import NotRegularFile, open_regular, read_at_most
from dist_tool.names.locator import parse_locator
from dist_tool.names.reference import parse_object, parse_reference
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.layout import INDEX_FILE, LAYOUT_FILE, is_supported, layout_version, name_of
from dist_tool.oci.manifest import MANIFEST_LIMIT, parse_json, parse_manifest
from dist_tool.oci.mediatypes import OCI_INDEX, is_manifest_like
from dist_tool.run import Notice, Report, no_report

_LAYOUT_FILE_LIMIT = 4096
# A file may be written twice within one tick of its clock: read a recently written one again.
_SETTLED_NS = 1_000_000_000
_NON_ALPHANUMERIC = re.compile(r"[^a-z0-9]+")
_SEPARATOR = re.compile(r"\.|__?|-+")
_ABSENT = frozenset({ENOENT, ENOTDIR, ENAMETOOLONG, ELOOP, ENXIO, ENODEV})  # the last two: sockets and devices


def is_repository(name: str) -> bool:
    """True if `name` is a valid repository name (distribution-spec, "Pulling manifests")."""
    try:
        return parse_locator(f"localhost/{name}").path == name
    except InvalidArgument:
        return False


def default_name(path: str) -> str:
    """The repository name from the layout's directory: lower case, with `-` for invalid characters."""
    base = os.path.basename(os.path.realpath(path)).lower()
    name = _NON_ALPHANUMERIC.sub(lambda run: run[0] if _SEPARATOR.fullmatch(run[0]) else "-", base).strip("._-")
    return name if is_repository(name) else "image"


class ServedBlob(NamedTuple):
    """An open blob. `stamp` changes if the file changes. The caller closes `fd`."""

    fd: int
    size: int
    stamp: tuple[int, ...]


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class ServedRepository:
    """The tags of a repository, and their sorted names for paging."""

    tags: Mapping[str, Descriptor]
    sorted_tags: tuple[str, ...]


def after(names: tuple[str, ...], last: str) -> tuple[str, ...]:
    """The names after `last` in a sorted list, which need not contain `last`."""
    return names[bisect_right(names, last) :] if last else names


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The content of index.json at one time."""

    entries: tuple[Descriptor, ...]
    repositories: Mapping[str, ServedRepository]
    names: tuple[str, ...]
    types: Mapping[Digest, str]

    @classmethod
    def of(cls, entries: tuple[Descriptor, ...], name: str) -> Snapshot:
        """Map the entries to repositories; plain tags go to the default repository `name`, which always exists."""
        found: dict[str, dict[str, Descriptor]] = {name: {}}
        for entry in entries:
            if is_manifest_like(entry.media_type):
                for repository, tag in _locations(entry, name, alone=len(entries) == 1):
                    found.setdefault(repository, {}).setdefault(tag, entry)
        return cls(
            entries,
            {key: ServedRepository(tags, tuple(sorted(tags))) for key, tags in found.items()},
            tuple(sorted(found)),
            {entry.digest: entry.media_type for entry in entries if is_manifest_like(entry.media_type)},
        )


def _locations(entry: Descriptor, name: str, *, alone: bool) -> Iterable[tuple[str, str]]:
    """Each (repository, tag) that an entry of index.json is served as."""
    ref_name = name_of(entry)
    if not ref_name:
        return [(name, "latest")] if alone else []
    try:
        if "/" not in ref_name and ":" not in ref_name and "@" not in ref_name:
            return [(name, parse_object(ref_name).tag)]
        reference = parse_reference(ref_name)
        found = parse_object(reference.object_id)
    except InvalidArgument:
        return []  # a naming scheme of another tool: the entry can be pulled by digest
    if reference.locator.kind or not found.tag or (found.digest or entry.digest) != entry.digest:
        return []
    return [(path, found.tag) for path in (reference.locator.path, reference.locator.rest) if is_repository(path)]


class ServedLayout:
    """A layout on disk. index.json is read again after a change; if it is invalid, the last valid one is served.

    Raises NotFound if there is no such directory, InvalidArgument if it is not a layout.
    """

    def __init__(
        self, path: str, name: str, report: Report = no_report, now_ns: Callable[[], int] = time.time_ns
    ) -> None:
        self.path = os.path.abspath(path)
        self._name = name
        self._report = report
        self._now_ns = now_ns
        self._stamp: tuple[int, ...] = ()
        self._warned = ""  # the reason in the last warning
        self._content: Digest | None = None
        if not os.path.lexists(self.path):
            raise NotFound(f"no such directory: {path}")
        try:
            _check_version(self._read(LAYOUT_FILE, _LAYOUT_FILE_LIMIT)[0])
            self._snapshot = self._load()
        except (OSError, DistError, ValueError) as error:
            raise InvalidArgument(
                f"{path} is not an image layout", hint=f"{_reason(error)}; expected a directory with oci-layout"
            ) from error

    def snapshot(self) -> Snapshot:
        """The current content of index.json, or the last valid one."""
        try:
            status = os.stat(os.path.join(self.path, INDEX_FILE))
            if _stamp(status) != self._stamp:
                self._snapshot = self._load()
                self._warned = ""
        except (OSError, DistError) as error:
            # The file is damaged, or a writer that does not rename has written a part: serve the last valid one.
            self._warn(_reason(error))
        return self._snapshot

    def open_blob(self, digest: Digest) -> ServedBlob:
        """Open `blobs/ALGORITHM/ENCODED`; symbolic links are not followed.

        Raises NotFound; Unavailable for other failures of the system, such as too many open files.
        """
        path = os.path.join(self.path, "blobs", digest.algorithm, digest.encoded)
        try:
            return _opened(path, follow_links=False)
        except OSError as error:
            if error.errno in _ABSENT:
                raise NotFound(f"no such blob: {digest}") from error
            if error.errno in (EACCES, EPERM):
                raise NotFound(f"no permission to read blob {digest}") from error
            raise Unavailable(f"cannot open blob {digest}: {error.strerror}") from error

    def read_blob(self, digest: Digest, limit: int = MANIFEST_LIMIT) -> bytes:
        """The bytes of a small blob, unverified. Raises as `open_blob`; LimitExceeded above `limit` bytes."""
        blob = self.open_blob(digest)
        try:
            return _read_all(blob, limit)
        finally:
            os.close(blob.fd)

    def _read(self, name: str, limit: int) -> tuple[bytes, tuple[int, ...]]:
        blob = _opened(os.path.join(self.path, name), follow_links=True)
        try:
            return _read_all(blob, limit), blob.stamp
        finally:
            os.close(blob.fd)

    def _load(self) -> Snapshot:
        data, stamp = self._read(INDEX_FILE, MANIFEST_LIMIT)
        content = Digest.of(data)
        if content == self._content:  # rewritten with the same content, or read again: the snapshot is still valid
            snapshot = self._snapshot
        else:
            snapshot = Snapshot.of(parse_manifest(data, OCI_INDEX).manifests, self._name)
            self._content = content
        settled = abs(self._now_ns() - stamp[-1]) > _SETTLED_NS
        self._stamp = stamp if settled else ()
        return snapshot

    def _warn(self, reason: str) -> None:
        """Report a warning, once per reason."""
        if reason != self._warned:
            self._warned = reason
            self._report(Notice("warning", f"cannot read index.json, serving its last valid content: {reason}"))


def _opened(path: str, *, follow_links: bool) -> ServedBlob:
    try:
        fd = open_regular(path, follow_links=follow_links)
    except NotRegularFile as error:
        raise FileNotFoundError(ENOENT, "not a regular file", path) from error
    status = os.fstat(fd)
    return ServedBlob(fd, status.st_size, _stamp(status))


def _read_all(blob: ServedBlob, limit: int) -> bytes:
    if blob.size > limit:
        raise LimitExceeded(f"a document of {blob.size} bytes exceeds the limit of {limit}")
    return read_at_most(blob.fd, limit + 1)  # the file may be growing


def _check_version(data: bytes) -> None:
    version = layout_version(parse_json(data, limit=_LAYOUT_FILE_LIMIT))
    if not is_supported(version):
        raise ValueError(f"{LAYOUT_FILE} has version {version!r}; supported is 1.x")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{os.path.basename(str(error.filename))}: {error.strerror}" if error.filename else str(error)
    return error.what if isinstance(error, DistError) else str(error)
