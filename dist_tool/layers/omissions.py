"""What could not be done, each kind told once (behaviours G18, G21, G22)."""

from __future__ import annotations

from dist_tool.rootfs.names import shown
from dist_tool.run import Notice, Report

_TEXTS = {
    "device": "devices are left out",
    "placeholder": "devices become empty files",
    "owner": "owners are not kept: that takes root or an id map",
    "chown": "owners could not all be set",
    "xattr": "extended attributes could not all be set",
    "overlay": "extended attributes that overlay file systems act on are left out",
    "times": "times of directories could not all be set",
}


class Omissions:
    """Reports the first of each kind, with the name that it was met at, and counts all."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self.counts: dict[str, int] = {}

    def note(self, kind: str, path: bytes, detail: str = "") -> None:
        """One more of `kind` at `path`; `detail` says which and why."""
        key = f"{kind} {detail}" if kind == "xattr" else kind
        self.counts[key] = self.counts.get(key, 0) + 1
        if self.counts[key] == 1:
            reason = f", {detail}" if detail else ""
            self._report(Notice("warning", f"{_TEXTS[kind]} (first: {shown(path)}{reason})"))
