"""Descriptors (image-spec descriptor.md)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from dist_tool.errors import BadManifest, InvalidArgument
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCTET_STREAM
from dist_tool.oci.platform import Platform

# The largest size: a signed 64-bit integer, as in other implementations.
_LARGEST = 2**63 - 1


def standard_names(*exact: str) -> Mapping[str, str]:
    """Table for `check_names`: standard names by their lower-case form."""
    return {name.lower(): name for name in exact}


def check_names(value: Mapping[str, object], standard: Mapping[str, str]) -> None:
    """Raise BadManifest if a name differs from a standard one by case only.

    Case-insensitive decoders, such as Go's, would read a different document (behaviours E19). Only
    objects whose names the specification defines are checked: an annotation may be named "Size".
    """
    for name in value:
        if standard.get(name.lower(), name) != name:
            raise BadManifest(f"the name {name!r} differs from a standard one by case only")


_NAMES = standard_names("mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform")


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An OCI descriptor: digest, size in bytes (None if not known yet) and media type.

    `data` is embedded content, if any. It is not trusted until its size and digest are
    verified (behaviours B19).
    """

    digest: Digest
    size: int | None = None
    media_type: str = OCTET_STREAM
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Platform | None = None
    artifact_type: str = ""
    urls: tuple[str, ...] = ()
    data: bytes | None = None

    @classmethod
    def from_json(cls, value: object) -> Descriptor:
        """Read a descriptor from a decoded manifest or index.

        Raises BadManifest if a required property is absent or invalid, such as a negative
        size (umoci 0.5.1, image-spec #1285).
        """
        if not isinstance(value, dict):
            raise BadManifest("a descriptor is not a JSON object")
        check_names(value, _NAMES)
        media_type, size = value.get("mediaType"), value.get("size")
        if not isinstance(media_type, str) or not media_type:
            raise BadManifest("a descriptor has no mediaType")
        if type(size) is not int or not 0 <= size <= _LARGEST:
            raise BadManifest(f"a descriptor's size is {size!r}")
        platform = value.get("platform")
        return cls(
            digest=_digest(value.get("digest")),
            size=size,
            media_type=media_type,
            annotations=_annotations(value.get("annotations")),
            platform=Platform.from_json(platform) if platform is not None else None,
            artifact_type=_text(value.get("artifactType"), "artifactType"),
            urls=_urls(value.get("urls")),
            data=_data(value.get("data")),
        )

    def to_json(self) -> dict[str, Any]:
        """The JSON form, with properties in the specification's order. Raises ValueError if the size is not known."""
        if self.size is None:
            raise ValueError(f"the size of {self.digest} is not known")
        out: dict[str, Any] = {"mediaType": self.media_type, "digest": str(self.digest), "size": self.size}
        if self.urls:
            out["urls"] = list(self.urls)
        if self.annotations:
            out["annotations"] = dict(self.annotations)
        if self.platform is not None:
            out["platform"] = self.platform.to_json()
        if self.artifact_type:
            out["artifactType"] = self.artifact_type
        return out


def _digest(value: object) -> Digest:
    if not isinstance(value, str):
        raise BadManifest("a descriptor has no digest")
    try:
        return Digest.parse(value)
    except InvalidArgument as error:  # CVE-2024-3727: validated before use
        raise BadManifest(f"a descriptor's digest is not valid: {error.what}") from error


def _text(value: object, name: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadManifest(f"{name} is not a string")
    return value


def _annotations(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(v, str) for v in value.values()):
        raise BadManifest("annotations are not a map of strings")
    return value


def _urls(value: object) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise BadManifest("urls are not a list of strings")
    return tuple(value)


def _data(value: object) -> bytes | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise BadManifest("a descriptor's data is not a string")
    from base64 import b64decode

    try:
        return b64decode(value, validate=True)
    except ValueError as error:
        raise BadManifest("a descriptor's data is not base64") from error
