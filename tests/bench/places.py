"""Where the benchmarks' content is served from."""

from __future__ import annotations

import hashlib
import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from support.content import Blob, Image, write_blob, write_layout

from dist_tool.service.http import RegistryServer

PIECE = 1 << 20


@contextmanager
def registry_over(directory: Path, image: Image | None = None) -> Iterator[str]:
    """HOST:PORT/bench of our own registry over a layout in `directory`."""
    write_layout(directory, {"latest": image} if image else {})
    with ExitStack() as stack:
        server = stack.enter_context(RegistryServer(directory, name="bench"))
        yield f"{server.address}/bench"


def large_blob(layout: Path, size: int, seed: int = 1) -> str:
    """Put a blob of `size` bytes, in pieces, into a layout; returns its digest."""
    source = random.Random(seed)
    hasher = hashlib.sha256()
    temporary = layout / "blobs" / "sha256" / ".new"
    temporary.parent.mkdir(parents=True, exist_ok=True)
    with temporary.open("wb") as file:
        for _ in range(size // PIECE):
            piece = source.randbytes(PIECE)
            hasher.update(piece)
            file.write(piece)
    temporary.rename(temporary.with_name(hasher.hexdigest()))
    return f"sha256:{hasher.hexdigest()}"


def have(program: str) -> bool:
    """True where a peer is in PATH."""
    return shutil.which(program) is not None


__all__ = ["Blob", "have", "large_blob", "registry_over", "write_blob"]
