"""Directory trees as values, so that two can be compared, and one before and after."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "directory",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}


class Node(NamedTuple):
    """Everything that an unpacker sets. `content` is a file's digest, a link's target, a device's number."""

    kind: str
    mode: int
    owner: tuple[int, int]
    mtime: int
    size: int
    content: str
    xattrs: tuple[tuple[str, bytes], ...]
    links: tuple[str, ...]


def snapshot(root: Path | str, without: str = "") -> dict[str, Node]:
    """Every name below `root` ("." is itself), never through symlinks. `links` lists hard-linked names.

    `without` is a name at the top that is left out.
    """
    top = os.fspath(root)
    infos = {".": os.lstat(top)}
    for where, directories, files in os.walk(top):
        if where == top and without in directories:
            directories.remove(without)
        for name in directories + files:
            path = os.path.join(where, name)
            infos[os.path.relpath(path, top)] = os.lstat(path)
    same: dict[tuple[int, int], list[str]] = {}
    for path, info in infos.items():
        if info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            same.setdefault((info.st_dev, info.st_ino), []).append(path)
    return {path: _node(top, path, info, same) for path, info in sorted(infos.items())}


def _node(top: str, path: str, info: os.stat_result, same: dict[tuple[int, int], list[str]]) -> Node:
    full = os.path.join(top, path)
    kind = _KINDS[stat.S_IFMT(info.st_mode)]
    content, size = "", 0
    if kind == "file":
        content, size = _digest(full), info.st_size
    elif kind == "symlink":
        content = os.readlink(full)
    elif kind in ("char", "block"):
        content = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    xattrs = tuple((name, os.getxattr(full, name, follow_symlinks=False)) for name in sorted(_xattr_names(full)))
    links = tuple(sorted(same.get((info.st_dev, info.st_ino), ())))
    return Node(
        kind, stat.S_IMODE(info.st_mode), (info.st_uid, info.st_gid), info.st_mtime_ns, size, content, xattrs, links
    )


def _digest(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except PermissionError:
        return "unreadable"


def _xattr_names(path: str) -> list[str]:
    try:
        return os.listxattr(path, follow_symlinks=False)
    except OSError:
        return []


def differences(one: dict[str, Node], other: dict[str, Node], *ignored: str) -> list[str]:
    """What differs between two snapshots, a line for each name; fields named in `ignored` may."""
    lines = [f"only in the first: {path}" for path in one.keys() - other.keys()]
    lines += [f"only in the second: {path}" for path in other.keys() - one.keys()]
    for path in one.keys() & other.keys():
        for field, mine, theirs in zip(Node._fields, one[path], other[path], strict=True):
            if field not in ignored and mine != theirs:
                lines.append(f"{path}: {field} {mine!r} and {theirs!r}")
    return sorted(lines)


def shape(root: Path | str) -> dict[str, Any]:
    """The tree for a test to state: contents of files, `-> target` for links, None for directories."""
    out: dict[str, Any] = {}
    for path, node in snapshot(root).items():
        full = os.path.join(os.fspath(root), path)
        if path == ".":
            continue
        if node.kind == "file":
            with open(full, "rb") as file:
                out[path] = file.read()
        else:
            out[path] = {"directory": None, "symlink": f"-> {node.content}"}.get(node.kind, node.kind)
    return out
