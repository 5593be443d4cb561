"""Warnings about skipped or unset metadata and devices, one per kind (behaviours G18, G21, G22)."""

from __future__ import annotations

from dist_tool.rootfs.names import shown
from dist_tool.run import Notice, Report

_TEXTS = {
    "device": "devices are skipped",
    "placeholder": "devices are replaced with empty files",
    "owner": "owners are not set: this requires root or an ID map",
    "chown": "some owners could not be set",
    "xattr": "some extended attributes could not be set",
    "overlay": "extended attributes that overlayfs interprets are skipped",
    "times": "times of some directories could not be set",
}


class Omissions:
    """Reports the first omission of each kind with its path, and counts all of them."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.counts: dict[str, int] = {}

    def note(self, kind: str, path: bytes, detail: str = "") -> None:
        """Count an omission of `kind` at `path`. `detail` identifies it and may give the reason."""
        key = f"{kind} {detail}" if kind == "xattr" else kind
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] == 1:
            reason = f", {detail}" if detail else ""
            self._report(Notice("warning", f"{_TEXTS[kind]} (first: {shown(path)}{reason})"))
