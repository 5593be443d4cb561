"""Plugins as pip leaves them: a module and a `.dist-info` beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

GROUP = "dist_tool.remotes"


def install(site: Path, name: str, module: str, kinds: Mapping[str, str], *, version: str = "1.2") -> None:
    """Put a distribution into `site`: module NAME with the text `module`, and its entry points.

    `kinds` maps a kind to the attribute of the module that opens it.
    """
    site.mkdir(parents=True, exist_ok=True)
    (site / f"{name}.py").write_text(module)
    info = site / f"{name}-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    points = [f"{kind} = {target if ':' in target else f'{name}:{target}'}" for kind, target in kinds.items()]
    (info / "entry_points.txt").write_text("\n".join([f"[{GROUP}]", *points, ""]))
