"""Creation and validation of a store directory, durable and safe for concurrent processes."""

from __future__ import annotations

import json
import os

from dist_tool.errors import BadManifest, InvalidArgument, LimitExceeded, LocalFailure, PolicyRefused, Unsupported
from dist_tool.oci.layout import LAYOUT_FILE, is_supported, layout_document, layout_version
from dist_tool.oci.manifest import parse_json
from dist_tool.store import files, locks
from dist_tool.store.index import Index

_LAYOUT = json.dumps(layout_document())
_CONTAINERD = "io.containerd.content.v1.content"


def prepare(root: str, index: Index) -> None:
    """Check the store, and create missing parts durably. Idempotent.

    Raises PolicyRefused in a containerd root, since the daemon would remove our blobs and ignores
    our locks (behaviours F10); InvalidArgument for a directory with other content; LocalFailure
    for a damaged layout, Unsupported for one of another version.
    """
    with files.failing(f"cannot use the store {root}"):
        _refuse_containerd(root)
        layout = files.read_small(os.path.join(root, LAYOUT_FILE), 4096)
        if layout is not None:
            _check_version(root, layout)
        if layout is None or not os.path.lexists(index.path):
            _create(root, index)
        _create_blobs(root)
        ingest = os.path.join(root, "ingest")
        if not os.path.isdir(ingest):
            files.make_directory(ingest)


def _create(root: str, index: Index) -> None:
    """Write `oci-layout` first and `index.json` last.

    Blobs without `oci-layout` are not ours; `index.json` marks that everything before it is durable.
    """
    files.make_directories(root)
    layout = os.path.join(root, LAYOUT_FILE)
    if not os.path.lexists(layout):
        _refuse_other_content(root)
    with locks.held(os.path.join(root, locks.LOCK_NAME), exclusive=True):
        if not os.path.lexists(layout):
            files.write_small(layout, _LAYOUT.encode(), durable=True)
        if os.path.lexists(index.path):
            return
        _create_blobs(root, sync=True)  # a process that created them may have been killed before it synced
        index.create()


def _create_blobs(root: str, *, sync: bool = False) -> None:
    """Create `blobs/sha256`. Layouts from git or an archive may lack it: those drop empty directories."""
    for parent, name in ((root, "blobs"), (os.path.join(root, "blobs"), "sha256")):
        if sync or not os.path.isdir(os.path.join(parent, name)):
            files.make_directory(os.path.join(parent, name))
            files.sync_directory(parent)


def _refuse_containerd(root: str) -> None:
    inside = _CONTAINERD in os.path.realpath(root).split(os.sep)
    if inside or os.path.lexists(os.path.join(root, _CONTAINERD)):
        raise PolicyRefused(
            f"{root} belongs to containerd, which removes content that it did not write",
            hint="use another directory; only reading by digest is allowed in this one",
        )


def _refuse_other_content(root: str) -> None:
    """Raise InvalidArgument for a directory with other content, such as a containerd root that was moved."""
    allowed = {locks.LOCK_NAME, LAYOUT_FILE, f".{LAYOUT_FILE}.new", "lost+found"}  # the last is on a new ext4
    foreign = next((name for name in os.listdir(root) if name not in allowed), None)
    if foreign is not None and not os.path.lexists(os.path.join(root, LAYOUT_FILE)):
        raise InvalidArgument(
            f"{root} is not a store: it contains {foreign!r} but no oci-layout",
            hint="choose an empty or a new directory",
        )


def _check_version(root: str, text: bytes) -> None:
    try:
        version = layout_version(parse_json(text))
    except (BadManifest, LimitExceeded):
        version = ""
    if not version:
        raise LocalFailure(f"{root}/{LAYOUT_FILE} is damaged", hint=f"it should be {_LAYOUT}")
    if not is_supported(version):
        raise Unsupported(f"{root} is an image layout of version {version}")
