"""File metadata: owners, extended attributes, modes and times.

chown clears set-user-ID bits and capabilities, so both are set after it; times are set last
(behaviours G15).
"""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from contextlib import suppress

from dist_tool.errors import InvalidContent
from dist_tool.layers.omissions import Omissions
from dist_tool.layers.options import ApplyOptions
from dist_tool.rootfs.names import shown
from dist_tool.tar.reader import Entry

# Attributes that are meaningful only on the machine that wrote them (behaviours G18).
_FOREIGN = (b"trusted.", b"security.selinux", b"system.nfs4_acl")
# Attributes that overlayfs interprets (behaviours G19).
_OVERLAY = (b"user.overlay.", b"trusted.overlay.")
_ROOTLESS = b"user.rootlesscontainers"
_NO_CHANGE = 2**32 - 1
# Expected errors: the file system has no attributes, the user lacks the right, or the file is a special file.
_XATTR_REFUSALS = {
    errno.ENOTSUP: "not supported here",
    errno.EPERM: "not permitted",
    errno.EACCES: "not permitted",
    errno.ENOSPC: "no space",
    errno.E2BIG: "too large here",
    errno.EINVAL: "not accepted here",
}


class Metadata:
    """Sets an entry's metadata, as far as options and permissions allow."""

    def __init__(self, options: ApplyOptions, omissions: Omissions) -> None:
        self._options = options
        self._omissions = omissions
        self._self = (os.geteuid(), os.getegid())
        self._privileged = self._self[0] == 0
        self._sets_owners = options.owners or bool(options.uid_map or options.gid_map)

    def owner(self, entry: Entry, path: bytes) -> tuple[int, int] | None:
        """The owner (uid, gid) to set, or None to leave it unchanged. Raises InvalidContent."""
        if self._sets_owners:
            return self._options.owner(entry.uid, entry.gid)
        if (entry.uid or entry.gid) and not self._options.rootlesscontainers:
            self._omissions.note("owner", path, f"{entry.uid}:{entry.gid}")
        return None

    def xattrs(self, entry: Entry, path: bytes) -> dict[bytes, bytes]:
        """The extended attributes to set: overlayfs and machine-specific attributes are removed."""
        chosen: dict[bytes, bytes] = {}
        for name, value in (entry.xattrs or {}).items():
            if name.startswith(_OVERLAY):
                self._omissions.note("overlay", path, shown(name))
            elif not name.startswith(_FOREIGN):
                chosen[name] = value
        if self._options.rootlesscontainers and (entry.uid or entry.gid):
            chosen[_ROOTLESS] = _owners_message(entry.uid, entry.gid)
        return chosen

    def set_owner(self, target: int | bytes, owner: tuple[int, int], path: bytes) -> None:
        """Set the owner of an inode, given by descriptor or by the descriptor's path in /proc.

        Raises OSError if an ID map was given and the owner cannot be set.
        """
        if owner == self._self and not self._privileged:
            return  # a new file already has this owner
        try:
            os.chown(target, *owner)
        except OSError as error:
            if error.errno not in (errno.EPERM, errno.EINVAL) or self._options.uid_map or self._options.gid_map:
                raise
            self._omissions.note("chown", path, f"{owner[0]}:{owner[1]}")

    def replace_xattrs(self, fd: int, xattrs: Mapping[bytes, bytes], path: bytes) -> None:
        """Replace a directory's attributes, except machine-specific ones (behaviours G7). Raises OSError."""
        for name in _listed(fd):
            if name not in xattrs and not name.startswith(_FOREIGN):
                with suppress(OSError):  # an attribute namespace that allows listing but not removal
                    os.removexattr(fd, name)
        self.set_xattrs(fd, xattrs, path)

    def set_xattrs(self, target: int | bytes, xattrs: Mapping[bytes, bytes], path: bytes) -> None:
        """Set attributes of an inode, given by descriptor or by the descriptor's path in /proc.

        Raises InvalidContent, OSError.
        """
        for name, value in xattrs.items():
            if b"\0" in name:
                raise InvalidContent(f"{shown(path)}: an extended attribute's name contains a NUL byte")
            try:
                os.setxattr(target, name, value)
            except OSError as error:
                reason = _XATTR_REFUSALS.get(error.errno or 0)
                if reason is None:
                    raise
                self._omissions.note("xattr", path, f"{shown(name)} {reason}")


def _listed(fd: int) -> list[bytes]:
    try:
        return [os.fsencode(name) for name in os.listxattr(fd)]
    except OSError:  # the file system does not support extended attributes
        return []


def _owners_message(uid: int, gid: int) -> bytes:
    """The protocol buffer message of rootlesscontainers: field 1 is the uid, field 2 the gid.

    An ID of 0 is encoded as "no change", as in umoci: the file appears to belong to root anyway.
    """
    return b"\x08" + _varint(uid or _NO_CHANGE) + b"\x10" + _varint(gid or _NO_CHANGE)


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)
