"""Making a directory a store, durably and by many processes at once; and telling that it is one."""

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
    """Create what is missing of the store, durably, or see that it is one. Idempotent.

    Raises PolicyRefused in a containerd root, where our blobs would be removed and our locks
    are not known (behaviours F10); InvalidArgument for a directory of something else;
    LocalFailure and Unsupported for a layout that is damaged or of another version.
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
    """`oci-layout` first and `index.json` last.

    Blobs without the one are not ours; the other says that everything before it is durable.
    """
    files.make_directories(root)
    layout = os.path.join(root, LAYOUT_FILE)
    if not os.path.lexists(layout):
        _refuse_strangers(root)
    with locks.held(os.path.join(root, locks.LOCK_NAME), exclusive=True):
        if not os.path.lexists(layout):
            files.write_small(layout, _LAYOUT.encode(), durable=True)
        if os.path.lexists(index.path):
            return
        _create_blobs(root, sync=True)  # a process that created them may have been killed before it synced
        index.create()


def _create_blobs(root: str, *, sync: bool = False) -> None:
    """`blobs/sha256`. Layouts that were in git or in an archive may lack it: neither keeps empty directories."""
    for parent, name in ((root, "blobs"), (os.path.join(root, "blobs"), "sha256")):
        if sync or not os.path.isdir(os.path.join(parent, name)):
            files.make_directory(os.path.join(parent, name))
            files.sync_directory(parent)


def _refuse_containerd(root: str) -> None:
    inside = _CONTAINERD in os.path.realpath(root).split(os.sep)
    if inside or os.path.lexists(os.path.join(root, _CONTAINERD)):
        raise PolicyRefused(
            f"{root} belongs to containerd, which would remove what others write there",
            hint="use a store of your own; reading by digest is fine",
        )


def _refuse_strangers(root: str) -> None:
    """A containerd root that was moved away also ends here: it has blobs, and no `oci-layout`."""
    allowed = {locks.LOCK_NAME, LAYOUT_FILE, f".{LAYOUT_FILE}.new", "lost+found"}  # the last as on a fresh ext4
    strange = next((name for name in os.listdir(root) if name not in allowed), None)
    if strange is not None and not os.path.lexists(os.path.join(root, LAYOUT_FILE)):
        raise InvalidArgument(
            f"{root} is not a store: there is {strange!r}, and no oci-layout", hint="choose an empty or a new directory"
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
