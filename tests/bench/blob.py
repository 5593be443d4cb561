"""One large blob, verified, over loopback."""

from __future__ import annotations

import sys
from pathlib import Path

from bench.measure import Command, compare
from bench.places import have, large_blob, registry_over


def bench(directory: Path) -> None:
    layout = directory / "layout"
    with registry_over(layout) as repository:
        digest = large_blob(layout, 1 << 30)
        url = f"http://{repository.replace('/', '/v2/', 1)}/blobs/{digest}"
        commands = [Command("dist fetch", [sys.executable, "-m", "dist_tool", "fetch", repository, digest])]
        if have("crane"):
            commands.append(Command("crane blob", ["crane", "blob", "--insecure", f"{repository}@{digest}"]))
        if have("curl"):
            commands.append(Command("curl -s | cat (unverified)", f"curl -sf {url} | cat > /dev/null"))
        compare("1 GiB, to /dev/null", commands)
