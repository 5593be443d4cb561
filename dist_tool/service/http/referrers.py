"""Referrers: the manifests of each subject, computed once per index.json, in time slices."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

from dist_tool.errors import NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import DEPTH_LIMIT
from dist_tool.oci.mediatypes import OCI_INDEX, is_manifest_like
from dist_tool.service.http.documents import Document, Documents
from dist_tool.service.http.layout import Snapshot

_MOST = 10_000  # manifests read per search
_SLICE_S = 0.02  # work before other clients are served
_PAUSE_S = 0.01  # between slices
_RETRY_S = 2.0  # time before missing or invalid manifests are looked up again
_BODIES = 16
_BODY_BYTES = 8 << 20


class Unfinished(Exception):
    """Raised if the response needs more work than one time slice: call again in the next turn."""


class Referrers:
    """The referrers of every subject in a layout.

    The search reads every manifest. It runs once per index.json, and again only if manifests were
    missing. While it runs, `body` raises Unfinished after each slice.
    """

    def __init__(self, documents: Documents, clock: Callable[[], float]) -> None:
        self._documents = documents
        self._clock = clock
        self._snapshot: Snapshot | None = None
        self._found: dict[Digest, list[tuple[Digest, Document]]] = {}
        self._bodies: OrderedDict[tuple[Digest, str | None], bytes] = OrderedDict()
        self._missing = False
        self._finished_at = 0.0
        self._search: _Search | None = None
        self._paused_until = 0.0

    def body(self, snapshot: Snapshot, subject: Digest, artifact_type: str | None) -> bytes:
        """The JSON of an index of the manifests that refer to `subject`, each once.

        `artifact_type` selects one type, None all. Raises Unfinished.
        """
        self._update(snapshot)
        key = (subject, artifact_type)
        body = self._bodies.get(key)
        if body is None:
            body = self._build(subject, artifact_type)
            if sum(map(len, self._bodies.values())) + len(body) <= _BODY_BYTES:
                self._bodies[key] = body
            if len(self._bodies) > _BODIES:
                self._bodies.popitem(last=False)
        return body

    def _build(self, subject: Digest, artifact_type: str | None) -> bytes:
        found: list[dict[str, Any]] = [
            document.to_json(digest)
            for digest, document in self._found.get(subject, ())
            if artifact_type is None or document.artifact_type == artifact_type
        ]
        value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": found}
        return json.dumps(value, separators=(",", ":")).encode()

    def _update(self, snapshot: Snapshot) -> None:
        now = self._clock()
        is_current = snapshot is self._snapshot and not (self._missing and now - self._finished_at >= _RETRY_S)
        if self._search is None:
            if is_current:
                return
            self._search = _Search(self._documents, snapshot)
        if now < self._paused_until:
            raise Unfinished
        search = self._search
        try:
            while not search.step():
                if self._clock() - now >= _SLICE_S:
                    self._paused_until = self._clock() + _PAUSE_S
                    raise Unfinished
        except Unfinished:
            raise
        except BaseException:
            self._search = None  # start over after an error
            raise
        self._search = None
        self._snapshot, self._found, self._missing = search.snapshot, search.found, search.missing
        self._finished_at = self._clock()
        self._bodies.clear()
        if search.snapshot is not snapshot:  # index.json changed during the search: search the new one next
            raise Unfinished


class _Search:
    """A walk over the manifests that are reachable from index.json, limited in depth and number."""

    def __init__(self, documents: Documents, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.found: dict[Digest, list[tuple[Digest, Document]]] = {}
        self.missing = False
        self._documents = documents
        self._steps = self._walk()

    def step(self) -> bool:
        """Process one more entry; True at the end."""
        return next(self._steps, self) is self

    def _walk(self) -> Iterator[None]:
        seen: set[Digest] = set()
        level: list[Descriptor] = list(self.snapshot.entries)
        for _ in range(DEPTH_LIMIT):
            next_level: list[Descriptor] = []
            for desc in level:
                yield
                if desc.digest in seen or not is_manifest_like(desc.media_type) or len(seen) >= _MOST:
                    continue
                seen.add(desc.digest)
                document = self._read(desc.digest)
                if document is None:
                    self.missing = True
                    continue
                if document.subject is not None:
                    self.found.setdefault(document.subject, []).append((desc.digest, document))
                next_level.extend(document.children)
            level = next_level

    def _read(self, digest: Digest) -> Document | None:
        try:
            return self._documents.read(digest)
        except NotFound:  # a layout may lack blobs (behaviours E21)
            return None
