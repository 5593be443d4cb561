"""Measure `dist` against its peers, each pair in one run: `make bench`.

Names on the command line choose among the cases. Peers that are not in PATH are left out, and
said to be. Nothing here is a test: figures depend on the machine, ratios less so.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parents[2]))

from bench.measure import machine

CASES = {
    "startup": "starting: --version and a small fetch, against python -c pass and crane",
    "many": "200 small blobs, TLS and tokens, 30 ms away, against crane",
    "ingest": "1 GiB from a pipe into the store, against openssl dgst and cp",
    "unpack": "a Debian image to a directory, against umoci and gzip with tar",
    "mirrors": "a Debian image through a mirror, layers applied while they arrive or when complete",
    "blob": "one verified blob of 1 GiB over loopback, against crane blob and curl",
}
PEERS = ("curl", "crane", "skopeo", "umoci", "ctr", "docker-registry")


def main(names: list[str]) -> None:
    unknown = set(names) - set(CASES)
    if unknown:
        sys.exit(f"no such case: {', '.join(sorted(unknown))}; there are: {', '.join(CASES)}")
    print(f"machine: {machine()}")
    print(f"not in PATH: {', '.join(peer for peer in PEERS if not shutil.which(peer)) or 'nothing'}")
    for name in names or CASES:
        with tempfile.TemporaryDirectory(prefix="dist-bench-") as directory:
            importlib.import_module(f"bench.{name}").bench(Path(directory))


if __name__ == "__main__":
    main(sys.argv[1:])
