"""Image configs (image-spec config.md): the properties that unpacking and running need."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dist_tool.errors import BadManifest, InvalidArgument
from dist_tool.oci.digest import Digest
from dist_tool.oci.manifest import parse_json
from dist_tool.oci.platform import Platform


@dataclass(frozen=True, slots=True)
class Execution:
    """The `config` property: default parameters for running the image. Absent properties are empty."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    exposed_ports: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    stop_signal: str = ""


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image config. `diff_ids` are the digests of the uncompressed layers, lowest first."""

    platform: Platform
    diff_ids: tuple[Digest, ...]
    execution: Execution = Execution()
    author: str = ""
    created: str = ""


def parse_config(data: bytes) -> ImageConfig:
    """Parse an image config. Raises BadManifest for a property of the wrong type, and the errors of `parse_json`."""
    value = parse_json(data)
    if not isinstance(value, dict):
        raise BadManifest("an image config is not a JSON object")
    rootfs = value.get("rootfs")
    if not isinstance(rootfs, dict) or rootfs.get("type") != "layers":  # behaviours E16
        raise BadManifest("an image config has no rootfs of type layers")
    return ImageConfig(
        Platform.from_json(value),
        tuple(_digest(text) for text in _strings(rootfs, "diff_ids")),
        _execution(value.get("config")),
        _string(value, "author"),
        _string(value, "created"),
    )


def chain_id(diff_ids: Iterable[Digest]) -> Digest | None:
    """The chain ID of a stack of layers (image-spec "Layer ChainID"; behaviours E18); None without layers."""
    chain: Digest | None = None
    for diff_id in diff_ids:
        chain = diff_id if chain is None else Digest.of(f"{chain} {diff_id}".encode())
    return chain


def _digest(text: str) -> Digest:
    try:
        return Digest.parse(text)
    except InvalidArgument as error:
        raise BadManifest(f"a diff ID is not valid: {error.what}") from error


def _execution(value: object) -> Execution:
    if value is None:
        return Execution()
    if not isinstance(value, dict):
        raise BadManifest("config is not a JSON object")
    return Execution(
        _string(value, "User"),
        _strings(value, "Env"),
        _strings(value, "Entrypoint"),
        _strings(value, "Cmd"),
        _string(value, "WorkingDir"),
        _keys(value, "ExposedPorts"),
        _keys(value, "Volumes"),
        _labels(value.get("Labels")),
        _string(value, "StopSignal"),
    )


def _string(value: dict[str, Any], name: str) -> str:
    found = value.get(name)
    if found is None:
        return ""
    if not isinstance(found, str):
        raise BadManifest(f"{name} is not a string")
    return found


def _strings(value: dict[str, Any], name: str) -> tuple[str, ...]:
    found = value.get(name)
    if found is None:
        return ()
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise BadManifest(f"{name} is not a list of strings")
    return tuple(found)


def _keys(value: dict[str, Any], name: str) -> tuple[str, ...]:
    found = value.get(name)
    if found is None:
        return ()
    if not isinstance(found, dict):
        raise BadManifest(f"{name} is not a JSON object")
    return tuple(found)


def _labels(value: object) -> Mapping[str, str]:
    if value is None:
        return {}
    if not isinstance(value, dict) or not all(isinstance(text, str) for text in value.values()):
        raise BadManifest("Labels are not a map of strings")
    return value
