"""Put content into any store."""

from __future__ import annotations

import json
from pathlib import Path

from dist_tool.api import Ingester, Store
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.mediatypes import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, OCTET_STREAM
from dist_tool.store.disk import DiskStore
from dist_tool.store.ingest import ref_for


def put(store: Ingester, data: bytes, media_type: str = OCTET_STREAM, algorithm: str = "sha256") -> Descriptor:
    desc = Descriptor(Digest.of(data, algorithm), len(data), media_type)
    with store.writer(ref_for(desc.digest), desc) as writer:
        writer.write(data)
        return writer.commit()


def damage(store: DiskStore, digest: Digest, data: bytes) -> None:
    """Overwrite a blob on disk."""
    path = Path(store.path(digest))
    path.chmod(0o644)
    path.write_bytes(data)


def put_json(store: Ingester, value: object, media_type: str) -> Descriptor:
    return put(store, json.dumps(value).encode(), media_type)


def put_image(store: Ingester, name: str = "image") -> tuple[Descriptor, Descriptor, Descriptor]:
    """A manifest with config and layer; returns the three descriptors."""
    config = put_json(store, {"architecture": "amd64", "os": "linux", "rootfs": {}, "name": name}, OCI_CONFIG)
    layer = put(store, f"layer of {name}".encode(), OCI_LAYER)
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json()],
    }
    return put_json(store, manifest, OCI_MANIFEST), config, layer


def put_index(store: Ingester, *children: Descriptor) -> Descriptor:
    value = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [child.to_json() for child in children]}
    return put_json(store, value, OCI_INDEX)


def have(store: Store) -> set[Digest]:
    return {info.digest for info in store.walk()}
