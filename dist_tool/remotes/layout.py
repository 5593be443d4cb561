"""An OCI image layout directory (image-spec image-layout.md; behaviours E21, R7)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from io import FileIO
from typing import Any

from dist_tool.errors import (
    BadManifest,
    InvalidArgument,
    LimitExceeded,
    LocalFailure,
    NotFound,
    UnsafePath,
    Unsupported,
    printable,
)
from dist_tool.settings import Context
from dist_tool.spec.descriptor import Descriptor
from dist_tool.spec.digest import Digest
from dist_tool.spec.manifest import MANIFEST_LIMIT, parse_json, parse_manifest
from dist_tool.spec.mediatypes import OCTET_STREAM, is_manifest_like
from dist_tool.spec.reference import Hints, Locator, digest_in
from dist_tool.stream import Body

REF_NAME = "org.opencontainers.image.ref.name"


class LayoutRemote:
    """One layout on disk. Nothing is kept open between calls; names are read anew each time."""

    def __init__(self, locator: Locator, context: Context) -> None:
        path = locator.rest
        if path == "~" or path.startswith("~/"):
            path = context.settings.environ.get("HOME", "~") + path[1:]
        self._path = path
        self._checked = False

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest, or of the entry of index.json with that reference name.

        "" means the only image there is. Raises NotFound, listing the names that there are.
        """
        digest = digest_in(object_id)
        if digest is None:
            return self._named(object_id)
        digest.hasher()
        with self._blob(digest) as file:
            size = os.fstat(file.fileno()).st_size
        media_type = next((entry.media_type for entry in self.entries() if entry.digest == digest), "")
        return Descriptor(digest, size, media_type or hints.media_type() or OCTET_STREAM)

    def _named(self, name: str) -> Descriptor:
        entries = self.entries()
        found = [e for e in entries if e.annotations.get(REF_NAME) == name] if name else entries
        if name and not found:
            names = ", ".join(sorted(printable(n, 80) for n in self.tags())[:20])
            raise NotFound(
                f"no image is named {name!r} in {self._path}", hint=f"there are: {names or 'none with a name'}"
            )
        if not found:
            raise NotFound(f"{self._path} holds no image")
        if not name and len({entry.digest for entry in found}) > 1:
            raise InvalidArgument(f"{self._path} holds {len(found)} images", hint="add :NAME or @DIGEST to say which")
        return found[-1]

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a blob from `offset`; bit rot is the verifier's to find."""
        file = self._blob(desc.digest)
        total = os.fstat(file.fileno()).st_size
        file.seek(min(offset, total))
        return _FileBody(file, offset=min(offset, total), total=total, source=self._path, media_type=desc.media_type)

    def tags(self) -> Iterator[str]:
        """Every reference name, in the order of index.json."""
        names = (entry.annotations.get(REF_NAME) for entry in self.entries())
        return iter([name for name in names if name])

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Entries of index.json whose manifest's subject is `subject`."""
        for entry in self.entries():
            if not is_manifest_like(entry.media_type):
                continue
            try:
                file = self._blob(entry.digest)
            except NotFound:  # a sparse layout: what is not here refers to nothing
                continue
            with file:
                manifest = parse_manifest(file.read(MANIFEST_LIMIT + 1), entry.media_type)
            if manifest.subject is not None and manifest.subject.digest == subject:
                kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
                if artifact_type in ("", kind):
                    yield entry

    def entries(self) -> tuple[Descriptor, ...]:
        """The descriptors of index.json. Raises BadManifest and LimitExceeded."""
        self._check_version()
        value = self._read_json("index.json")
        manifests = value.get("manifests") if isinstance(value, dict) else None
        if manifests is None:
            return ()
        if not isinstance(manifests, list):
            raise BadManifest(f"{self._path}/index.json: manifests are not a list")
        return tuple(Descriptor.from_json(entry) for entry in manifests)

    def _check_version(self) -> None:
        if self._checked:
            return
        value = self._read_json("oci-layout")
        version = value.get("imageLayoutVersion") if isinstance(value, dict) else None
        if not isinstance(version, str) or not version.startswith("1."):
            raise Unsupported(f"{self._path}: image layout version {version!r}")
        self._checked = True

    def _read_json(self, name: str) -> Any:
        path = os.path.join(self._path, name)
        try:
            with _regular(path) as file:
                data = file.read(MANIFEST_LIMIT + 1)
        except FileNotFoundError as error:
            if os.path.isdir(self._path):
                raise InvalidArgument(
                    f"{self._path} is not an image layout", hint=f"there is no {name} in it"
                ) from error
            raise NotFound(f"{self._path}: no such directory") from error
        except OSError as error:
            raise LocalFailure(f"{path}: {error.strerror}") from error
        if len(data) > MANIFEST_LIMIT:  # CVE-2023-25153
            raise LimitExceeded(f"{path} is over the limit of {MANIFEST_LIMIT} bytes")
        try:
            return parse_json(data)
        except BadManifest as error:
            raise BadManifest(f"{path}: {error.what}") from error

    def _blob(self, digest: Digest) -> FileIO:
        """A blob's file. Never through a link: a layout may come from anywhere."""
        self._check_version()
        path = os.path.join(self._path, "blobs", digest.algorithm, digest.encoded)
        try:
            return _regular(path, os.O_NOFOLLOW)
        except FileNotFoundError as error:
            raise NotFound(f"no blob {digest} in {self._path}") from error
        except OSError as error:
            if os.path.islink(path):
                raise UnsafePath(f"{path} is a symbolic link") from error
            raise LocalFailure(f"{path}: {error.strerror}") from error


def _regular(path: str, flags: int = 0) -> FileIO:
    """A file for reading. Raises OSError, and UnsafePath for a pipe or device, which could last for ever."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | flags)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnsafePath(f"{path} is not a regular file")
    return FileIO(descriptor)


open_remote = LayoutRemote


class _FileBody(Body):
    def readinto(self, view: memoryview) -> int:
        try:
            return self._file.readinto(view)  # type: ignore[union-attr, no-any-return]
        except OSError as error:
            raise LocalFailure(f"{self.source}: {error.strerror}") from error
