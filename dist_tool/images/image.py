"""An image: its manifest and config, checked against each other, and the descriptors of its layers."""

from __future__ import annotations

from dataclasses import dataclass

from dist_tool.errors import BadManifest, Unsupported
from dist_tool.images.select import hints_of, read, read_manifest, select_image
from dist_tool.names.hints import Hints
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.oci.image import ImageConfig, parse_config
from dist_tool.oci.mediatypes import CONFIG_TYPES, is_layer
from dist_tool.oci.platform import Platform
from dist_tool.transfer.repository import Repository


@dataclass(frozen=True, slots=True)
class Image:
    """The image for one platform. `layers` are pairs of descriptor and diff ID, lowest first."""

    desc: Descriptor
    config: ImageConfig
    layers: tuple[tuple[Descriptor, Digest], ...]


def open_image(repository: Repository, object_id: str, platform: Platform) -> Image:
    """Read the manifest and config of the image for a platform, each once.

    Raises NotFound, BadManifest if they contradict each other, Unsupported for an artifact that is
    not an image (behaviours E12) and for layers that are encrypted (E14) or of an unknown type.
    """
    selected = select_image(repository, object_id, platform)
    desc, manifest = selected.desc, selected.manifest
    if manifest is None:
        desc, manifest = read_manifest(repository, str(desc.digest), hints_of(desc))
    if manifest.config is None or manifest.config.media_type not in CONFIG_TYPES:
        kind = manifest.artifact_type or (manifest.config.media_type if manifest.config else manifest.media_type)
        raise Unsupported(f"{desc.digest} is not an image: its type is {kind}")
    data = selected.configs.get(manifest.config.digest)
    if data is None:
        _, data = read(repository, str(manifest.config.digest), Hints(size=manifest.config.size))
    config = parse_config(data)
    if len(config.diff_ids) != len(manifest.layers):  # behaviours E16
        raise BadManifest(
            f"{desc.digest} has {len(manifest.layers)} layers, but its config has {len(config.diff_ids)} diff IDs"
        )
    for layer in manifest.layers:
        _check_layer(layer)
    return Image(desc, config, tuple(zip(manifest.layers, config.diff_ids, strict=True)))


def _check_layer(layer: Descriptor) -> None:
    if layer.media_type.endswith("+encrypted"):
        raise Unsupported(f"the layer {layer.digest} is encrypted")
    if not is_layer(layer.media_type):
        raise Unsupported(f"the layer {layer.digest} has the unknown type {layer.media_type}")
