"""Strict parsing of manifests and indexes (image-spec manifest.md, image-index.md).

Published documents are parsed once, here, and within limits, before their values are used.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from dist_tool.errors import BadManifest, LimitExceeded, NotFound, Unsupported
from dist_tool.oci.descriptor import Descriptor, check_names, standard_names
from dist_tool.oci.mediatypes import INDEX_TYPES, MANIFEST_TYPES, OCI_INDEX, OCI_MANIFEST, SCHEMA1_TYPES
from dist_tool.oci.platform import Platform

MANIFEST_LIMIT = 8 << 20  # bytes; the specification asks for at least 4 MiB
CHILDREN_LIMIT = 10_000
DEPTH_LIMIT = 8
BYTES_PER_VALUE = 40  # minimum average over the largest document: bounds the memory that decoded JSON takes
# Everything up to the next comma or bracket outside strings. Possessive, so that matching takes one pass.
_TO_NEXT_VALUE = re.compile(rb'[^",\[{]*+(?:"(?:[^"\\]++|\\.)*+"[^",\[{]*+)*+[,\[{]', re.DOTALL)
_NAMES = standard_names(
    "schemaVersion", "mediaType", "artifactType", "manifests", "config", "layers", "fsLayers", "subject"
)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest (config and layers) or an index (manifests)."""

    media_type: str
    artifact_type: str = ""
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    manifests: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None

    @property
    def is_index(self) -> bool:
        """True for an index, whose children are manifests."""
        return self.media_type in INDEX_TYPES

    def children(self) -> tuple[Descriptor, ...]:
        """The descriptors that the document refers to, in its order; the subject is not a child."""
        return self.manifests if self.is_index else ((self.config,) if self.config else ()) + self.layers


def parse_json(data: bytes, *, limit: int = MANIFEST_LIMIT) -> Any:
    """Decode JSON as strictly as I-JSON requires: UTF-8, no duplicate names, no NaN, no huge numbers.

    Raises LimitExceeded for more than `limit` bytes, or for more than one value per BYTES_PER_VALUE
    bytes of `limit` or MANIFEST_LIMIT, whichever is larger. Raises BadManifest for invalid JSON,
    including JSON nested too deeply.
    """
    if len(data) > limit:
        raise LimitExceeded(f"a document of {len(data)} bytes is over the limit of {limit}")
    _check_values(data, max(limit, MANIFEST_LIMIT) // BYTES_PER_VALUE)
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # ValueError: syntax, encoding, numbers of many digits
        reason = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise BadManifest(f"not valid JSON: {reason}") from error


def _check_values(data: bytes, most: int) -> None:
    """Raise LimitExceeded for more than `most` values: `[],` is three bytes but takes a hundred in memory.

    Values are counted by the commas that precede them and the brackets that open lists and objects.
    """
    if data.count(b",") + data.count(b"[") + data.count(b"{") <= most:
        return  # the usual case: an upper bound that includes characters inside strings
    found, end = 0, 0
    while found <= most and (match := _TO_NEXT_VALUE.match(data, end)):
        found, end = found + 1, match.end()
    if found > most:
        raise LimitExceeded(f"a document has more than {most} values")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a name occurs twice in one object")
    return out


def _no_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


def parse_manifest(data: bytes, media_type: str = "", *, limit: int = MANIFEST_LIMIT) -> Manifest:
    """Parse a manifest or an index.

    `media_type` is the declared media type, "" if there is none. Raises BadManifest if
    the declaration and the body disagree, or if the body is both a manifest and an index
    (CVE-2021-41190); Unsupported for schema 1 and unknown types; LimitExceeded for too many
    bytes, values or children.
    """
    value = parse_json(data, limit=limit)
    if not isinstance(value, dict):
        raise BadManifest("a manifest is not a JSON object")
    chosen = document_type(value, media_type)
    if chosen in INDEX_TYPES:
        return Manifest(
            chosen,
            artifact_type=str(value.get("artifactType") or ""),
            manifests=_descriptors(value.get("manifests"), "manifests"),
            subject=_optional(value.get("subject")),
        )
    if chosen not in MANIFEST_TYPES:
        raise Unsupported(f"media type {chosen!r} is not a manifest or an index")
    if "config" not in value:
        raise BadManifest("a manifest has no config")
    return Manifest(
        chosen,
        artifact_type=str(value.get("artifactType") or ""),
        config=Descriptor.from_json(value["config"]),
        layers=_descriptors(value.get("layers"), "layers"),
        subject=_optional(value.get("subject")),
    )


def document_type(value: dict[str, Any], declared: str = "") -> str:
    """The media type of a decoded document, checked against its `mediaType`, its properties and the `declared` type.

    Raises BadManifest if they disagree or the document is both a manifest and an index, Unsupported
    for schema 1 (behaviours B7-B9).
    """
    check_names(value, _NAMES)
    inner = value.get("mediaType", "")
    if not isinstance(inner, str):
        raise BadManifest("mediaType is not a string")
    if "fsLayers" in value or declared in SCHEMA1_TYPES or inner in SCHEMA1_TYPES:
        raise Unsupported(
            "schema 1 manifests are not supported: their digest does not cover all of their bytes",
            hint="use an image in a newer format",
        )
    has_index, has_image = "manifests" in value, "config" in value or "layers" in value
    if has_index and has_image:
        raise BadManifest("the document is both a manifest and an index (CVE-2021-41190)")
    if inner and declared and inner != declared:
        raise BadManifest(f"declared as {declared}, but its mediaType is {inner}")
    chosen = inner or declared or (OCI_INDEX if has_index else OCI_MANIFEST if has_image else "")
    if (chosen in INDEX_TYPES and has_image) or (chosen in MANIFEST_TYPES and has_index):
        raise BadManifest(f"the body does not match its media type {chosen}")
    return chosen


def _descriptors(value: object, name: str) -> tuple[Descriptor, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        raise BadManifest(f"{name} is not a list")
    if len(value) > CHILDREN_LIMIT:
        raise LimitExceeded(f"{len(value)} {name} are over the limit of {CHILDREN_LIMIT}")
    return tuple(Descriptor.from_json(entry) for entry in value)


def _optional(value: object) -> Descriptor | None:
    return None if value is None else Descriptor.from_json(value)


def is_attestation(desc: Descriptor) -> bool:
    """True for index entries that are attestations of an image, not images (behaviours E9)."""
    platform = desc.platform
    return desc.annotations.get("vnd.docker.reference.type") == "attestation-manifest" or (
        platform is not None and "unknown" in (platform.os, platform.architecture)
    )


def select(entries: Sequence[Descriptor], wanted: Platform, *, compatible: bool = False) -> Descriptor:
    """The entry of an index for `wanted`: the first of the best matches (behaviours E3, E7).

    Raises NotFound, with the available platforms as its hint.
    """
    usable = [entry for entry in entries if not is_attestation(entry)]
    for candidate in wanted.candidates(compatible=compatible):
        for entry in usable:
            if entry.platform is not None and candidate.accepts(entry.platform):
                return entry
    raise NotFound(f"no manifest for platform {wanted}", hint=f"available: {_listing(usable)}")


def _listing(entries: Iterable[Descriptor]) -> str:
    names = dict.fromkeys(str(entry.platform) for entry in entries if entry.platform is not None)
    return ", ".join(names) or "none that names a platform"
