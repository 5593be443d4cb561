"""Media types of the OCI and Docker image formats, and the kind of object that each denotes."""

from __future__ import annotations

import re

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
OCI_EMPTY = "application/vnd.oci.empty.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
DOCKER_FOREIGN_LAYER = "application/vnd.docker.image.rootfs.foreign.diff.tar"
OCTET_STREAM = "application/octet-stream"

INDEX_TYPES = frozenset({OCI_INDEX, DOCKER_LIST})
MANIFEST_TYPES = frozenset({OCI_MANIFEST, DOCKER_MANIFEST})
CONFIG_TYPES = frozenset({OCI_CONFIG, DOCKER_CONFIG})
# Signed schema 1 manifests: their digest covers only part of the body (behaviours B7).
SCHEMA1_TYPES = frozenset(
    {
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    }
)
# Default value of Accept for manifest requests, in order of preference (behaviours B5).
ACCEPTED = (OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST)

_RESTRICTED_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"{_RESTRICTED_NAME}/{_RESTRICTED_NAME}")


def is_media_type(text: str) -> bool:
    """True for TYPE/SUBTYPE, both restricted names (RFC 6838 4.2): no whitespace, no parameters."""
    return _MEDIA_TYPE.fullmatch(text) is not None


def essence(content_type: str) -> str:
    """The media type of a Content-Type value, lower case and without parameters; "" for an empty value.

    Returns `application/octet-stream` for text that is not a media type (RFC 9110 8.3 allows a guess):
    whitespace in it would shift the fields that follow it in a line of output.
    """
    name = content_type.partition(";")[0].strip().lower()
    return name if not name or is_media_type(name) else OCTET_STREAM


def kind(media_type: str) -> str:
    """`index`, `manifest`, `config`, `layer` or `other`."""
    for name, types in (("index", INDEX_TYPES), ("manifest", MANIFEST_TYPES), ("config", CONFIG_TYPES)):
        if media_type in types:
            return name
    return "layer" if is_layer(media_type) else "other"


def is_layer(media_type: str) -> bool:
    """True for a layer: OCI or Docker, of any compression, distributable or not."""
    return media_type.startswith(("application/vnd.oci.image.layer.", DOCKER_LAYER, DOCKER_FOREIGN_LAYER))


def is_manifest_like(media_type: str) -> bool:
    """True for the types that a registry serves under `manifests/`: manifests and indexes, schema 1 included."""
    return media_type in MANIFEST_TYPES or media_type in INDEX_TYPES or media_type in SCHEMA1_TYPES
