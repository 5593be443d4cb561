"""Remote over the files of an image layout, wherever they are (image-spec image-layout.md; behaviours A19, E21)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

from dist_tool.context import Context
from dist_tool.errors import BadManifest, InvalidArgument, LimitExceeded, NotFound, Unsupported, printable
from dist_tool.names.hints import Hints
from dist_tool.names.reference import POSITION, as_digest, parse_reference
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.layout import (
    IMAGE_NAME,
    INDEX_FILE,
    LAYOUT_FILE,
    REF_NAME,
    for_platform,
    is_one_image,
    is_supported,
    layout_version,
    name_of,
    raw_entries,
)
from dist_tool.oci.manifest import MANIFEST_LIMIT, parse_json, parse_manifest
from dist_tool.oci.mediatypes import OCTET_STREAM, is_manifest_like
from dist_tool.stream.body import CHUNK, Body
from dist_tool.stream.retry import received


class LayoutFiles(Protocol):
    """The files of one layout."""

    @property
    def where(self) -> str:
        """The layout's name in messages."""

    def document(self, name: str) -> bytes:
        """A JSON file at the top of the layout, truncated to one byte more than `MANIFEST_LIMIT`.

        Raises InvalidArgument if the file is absent, NotFound if the layout itself is absent.
        """

    def open(self, digest: Digest, offset: int) -> Body:
        """A blob from `offset`, with its total size. Raises NotFound."""


class LayoutReader:
    """One layout. index.json is read again for each name. `name` is the repository that the layout replaces, if any."""

    def __init__(self, tree: LayoutFiles, name: str = "") -> None:
        self._tree = tree
        self._name = name
        self._checked = False

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor of a digest, or of the entry of index.json with that reference name.

        "" means the only image, `@N` the entry at position N, counted from 0. The `platform:` hint
        selects among several entries with one name. Raises NotFound, with the existing names;
        InvalidArgument for "" if there are several images.
        """
        digest = as_digest(object_id)
        if digest is None:
            return self._named(object_id, hints)
        digest.hasher()
        self._check_version()
        body = self._tree.open(digest, 0)
        body.close()
        media_type = next((entry.media_type for entry in self.entries() if entry.digest == digest), "")
        return Descriptor(digest, body.total, media_type or hints.stated_type() or OCTET_STREAM)

    def _named(self, name: str, hints: Hints) -> Descriptor:
        where = self._tree.where
        entries = self.entries()
        found = self._matching(entries, name) if name else list(entries)
        if name and not found:
            names = ", ".join(sorted(printable(n, 80) for n in self.tags())[:20])
            raise NotFound(f"no image is named {name!r} in {where}", hint=f"there are: {names or 'none with a name'}")
        if not found:
            raise NotFound(f"{where} holds no image")
        if not name and len({entry.digest for entry in found}) > 1 and not is_one_image(found):
            raise InvalidArgument(f"{where} holds {len(found)} images", hint="add :NAME or @DIGEST to select one")
        return for_platform(found, hints.platform())

    def _matching(self, entries: tuple[Descriptor, ...], name: str) -> list[Descriptor]:
        """The entries of a name: as written, as this repository's tag, as a full reference; by position; by tag."""
        reference = f"{self._name}:{name}"
        for key, wanted in (
            (REF_NAME, name),
            (IMAGE_NAME, name),
            (REF_NAME, reference),
            (IMAGE_NAME, reference),
            *_full_reference(name),
        ):
            if found := [entry for entry in entries if entry.annotations.get(key) == wanted]:
                return found
        position = POSITION.fullmatch(name)
        if position is not None:
            return list(entries[int(position[1]) :][:1])
        tagged = [entry for entry in entries if entry.annotations.get(IMAGE_NAME, "").endswith(f":{name}")]
        return tagged if len({entry.digest for entry in tagged}) == 1 else []

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The bytes of a blob from `offset`, unverified."""
        self._check_version()
        body = self._tree.open(desc.digest, offset)
        body.media_type = body.media_type or desc.media_type
        return body

    def tags(self) -> Iterator[str]:
        """Every reference name, in the order of index.json."""
        names = (name_of(entry) for entry in self.entries())
        return iter([name for name in names if name])

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Entries of index.json whose manifest's subject is `subject`."""
        for entry in self.entries():
            if not is_manifest_like(entry.media_type):
                continue
            try:
                data = read_whole(self._tree.open(entry.digest, 0), MANIFEST_LIMIT + 1)
            except NotFound:  # a sparse layout: an absent manifest cannot be a referrer
                continue
            manifest = parse_manifest(data, entry.media_type)
            if manifest.subject is not None and manifest.subject.digest == subject:
                kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else "")
                if artifact_type in ("", kind):
                    yield entry

    def entries(self) -> tuple[Descriptor, ...]:
        """The descriptors of index.json. Raises BadManifest and LimitExceeded."""
        self._check_version()
        found = raw_entries(self._json(INDEX_FILE), f"{self._tree.where}/{INDEX_FILE}")
        return tuple(Descriptor.from_json(entry) for entry in found)

    def _check_version(self) -> None:
        if self._checked:
            return
        version = layout_version(self._json(LAYOUT_FILE))
        if not is_supported(version):
            raise Unsupported(f"{self._tree.where}: image layout version {version!r}")
        self._checked = True

    def _json(self, name: str) -> Any:
        data = self._tree.document(name)
        if len(data) > MANIFEST_LIMIT:  # CVE-2023-25153
            raise LimitExceeded(f"{self._tree.where}/{name} is over the limit of {MANIFEST_LIMIT} bytes")
        try:
            return parse_json(data)
        except BadManifest as error:
            raise BadManifest(f"{self._tree.where}/{name}: {error.what}") from error


def _full_reference(name: str) -> list[tuple[str, str]]:
    """Annotations that a short Docker Hub name also matches: docker writes x/y:1 as docker.io/x/y:1."""
    try:
        full = str(parse_reference(name))
    except InvalidArgument:
        return []
    return [(REF_NAME, full), (IMAGE_NAME, full)] if ":" in name else []


def read_whole(body: Body, limit: int) -> bytes:
    """The bytes of a small body, at most `limit`; closes it."""
    data = bytearray()
    view = memoryview(bytearray(min(limit, CHUNK)))
    try:
        while len(data) < limit and (got := body.readinto(view[: limit - len(data)])):
            received(got)
            data += view[:got]
    finally:
        body.close()
    return bytes(data)


def repository_of(context: Context) -> str:
    """The name of the repository that a remote replaces by configuration, "" if its kind was named explicitly."""
    asked = context.asked
    return str(asked) if asked is not None and asked.kind == "" else ""
