"""Two hundred small blobs from a registry with TLS and tokens, 30 ms away."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.measure import Command, compare
from bench.places import have
from support.content import Image, image, random_bytes, write_layout
from support.processes import Authority

BLOBS = 200
SIZE = 4096
ROUND_TRIP_S = 0.030


@contextmanager
def program(*argv: str) -> Iterator[str]:
    """A server that says in a line where it is, and ends when its input does."""
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def bench(directory: Path) -> None:
    if not have("openssl"):
        print("\nmany: left out, openssl is not in PATH")
        return
    sample = image("many", layers=[{f"f{n}": random_bytes(f"many/{n}", SIZE)} for n in range(BLOBS)])
    layout = write_layout(directory / "layout", {"latest": sample})
    authority = Authority(directory)
    certificate, key = authority.issue("bench")
    serve = [sys.executable, "-m", "dist_tool", "serve", str(layout), "--listen", "127.0.0.1:0", "--name", "bench"]
    with (
        program(*serve, "--token-auth", "--tls-cert", certificate, "--tls-key", key) as address,
        program(sys.executable, str(Path(__file__).with_name("delay.py")), address, str(ROUND_TRIP_S / 2)) as port,
    ):
        measure(directory, sample, f"localhost:{port}/bench", authority.ca)


def measure(directory: Path, sample: Image, repository: str, ca: str) -> None:
    digests = directory / "digests"
    digests.write_text("".join(f"{layer.digest}\n" for layer in sample.layers))
    dist = f"{sys.executable} -m dist_tool"
    env = {"SSL_CERT_FILE": ca, "XDG_CACHE_HOME": str(directory / "cache")}
    # plain_http off: a name on loopback would be asked over plain http first
    config = directory / "config.toml"
    config.write_text(f'[[remote]]\nprefix = "{repository.partition("/")[0]}"\nplain_http = false\n')
    env["DIST_CONFIG"] = str(config)

    def cold() -> None:
        for name in ("cache", "into", "pulled"):
            shutil.rmtree(directory / name, ignore_errors=True)

    fetch = f"{dist} fetch {repository}"
    many = [
        Command(
            "dist fetch --stdin -j16 --into", f"{fetch} --stdin -j16 --into {directory}/into < {digests}", env, cold
        ),
        Command("xargs -n1 -P10 dist fetch", f"xargs -n1 -P10 {fetch} < {digests} > /dev/null", env, cold),
    ]
    if have("crane"):
        each = f"xargs -n1 -P10 sh -c 'crane blob {repository}@$0' < {digests} > /dev/null"
        pull = f"crane pull --format=oci {repository}:latest {directory}/pulled"
        many += [Command("xargs -n1 -P10 crane blob", each, env, cold), Command("crane pull", pull, env, cold)]
    compare(f"{BLOBS} blobs of {SIZE} bytes, TLS, tokens, {ROUND_TRIP_S * 1000:.0f} ms away", many, rounds=3)
