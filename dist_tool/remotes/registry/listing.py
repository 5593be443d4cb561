"""Paginated lists of a registry: tags and referrers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dist_tool.errors import BadManifest, DistError, LimitExceeded, NotFound, ProtocolError, Unsupported
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import parse_json, parse_manifest
from dist_tool.oci.mediatypes import ACCEPTED, OCI_INDEX, essence
from dist_tool.remotes.registry.endpoint import RegistryEndpoint

_PAGE_LIMIT = 100
_PAGE_SIZE = 1000  # the maximum that some registries accept


def _pages(endpoint: RegistryEndpoint, tail: str, accept: str) -> Iterator[tuple[Any, bool]]:
    """The decoded pages of a list, each with True if the registry filtered it by artifact type.

    Raises ProtocolError for a loop, LimitExceeded after 100 pages.
    """
    seen: set[str] = set()
    following: str | None = tail
    while following is not None:
        if following in seen:
            raise ProtocolError(f"{endpoint.host}: pagination loop")
        if len(seen) >= _PAGE_LIMIT:
            raise LimitExceeded(f"{endpoint.host}: more than {_PAGE_LIMIT} pages")
        seen.add(following)
        reply, data = endpoint.document(following, {"Accept": accept})
        if accept == OCI_INDEX and essence(reply.headers.get("Content-Type", "")) != OCI_INDEX:
            raise NotFound(f"{endpoint.host} does not list referrers")
        filtered = "artifacttype" in reply.headers.get("OCI-Filters-Applied", "").lower().replace(" ", "").split(",")
        yield parse_json(data), filtered
        following = endpoint.next_page(reply)


def tags(endpoint: RegistryEndpoint) -> Iterator[str]:
    """Every tag of the repository, in the registry's order. `null` is an empty list."""
    for page, _ in _pages(endpoint, f"tags/list?n={_PAGE_SIZE}", "application/json"):
        names = page.get("tags") if isinstance(page, dict) else None
        for name in names or ():
            if not isinstance(name, str):
                raise ProtocolError(f"{endpoint.host}: the list of tags has entries that are not strings")
            yield name


def referrers(endpoint: RegistryEndpoint, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
    """Manifests whose subject is `subject`, filtered by artifact type if one is given.

    Falls back to the referrers tag if the registry has no referrers API.
    """
    from itertools import chain
    from urllib.parse import quote

    query = f"?artifactType={quote(artifact_type, safe='')}" if artifact_type else ""
    pages = _pages(endpoint, f"referrers/{subject}{query}", OCI_INDEX)
    try:
        first = next(pages)
    except DistError as error:
        if not isinstance(error, NotFound) and error.status not in (400, 404, 405, 406):
            raise
        yield from _by_tag(endpoint, subject, artifact_type)
        return
    for page, filtered in chain([first], pages):
        yield from _entries(page, "" if filtered else artifact_type)


def referrers_tag(subject: Digest) -> str:
    """The fallback tag for the referrers API; at most 128 characters (DS, W5)."""
    text = f"{subject.algorithm[:32]}-{subject.encoded[:64]}"
    return "".join(c if c.isascii() and (c.isalnum() or c in "._-") else "-" for c in text)


def _by_tag(endpoint: RegistryEndpoint, subject: Digest, artifact_type: str) -> Iterator[Descriptor]:
    try:
        _, data = endpoint.document(f"manifests/{referrers_tag(subject)}", {"Accept": ", ".join(ACCEPTED)})
        manifest = parse_manifest(data)
    except (NotFound, BadManifest, Unsupported):  # the tag is absent, or is not a list of referrers
        return
    for entry in manifest.manifests:
        if not artifact_type or entry.artifact_type == artifact_type:
            yield entry


def _entries(page: Any, artifact_type: str) -> Iterator[Descriptor]:
    manifests = page.get("manifests") if isinstance(page, dict) else None
    if not isinstance(manifests, list):
        raise BadManifest("a list of referrers is not an index")
    for entry in map(Descriptor.from_json, manifests):
        if not artifact_type or entry.artifact_type == artifact_type:
            yield entry
