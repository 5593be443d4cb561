"""Memory does not grow with the object: measured as the peak resident size of a real process."""

from __future__ import annotations

import hashlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from support.content import random_bytes
from support.faults import content, manifest_path, status
from support.kinds import REGISTRY, REPOSITORY, Kind
from support.processes import dist_command, dist_environment
from support.rusage import cost_of
from support.server import FaultServer

from dist_tool.oci.mediatypes import OCI_INDEX

MIB = 1 << 20
PIECE = random_bytes("memory", MIB)
CEILING_MIB = 80


def manifest_of_empty_lists(size: int) -> bytes:
    """A manifest of `size` bytes, nearly all of which are empty lists in a property that nobody knows."""
    head, tail = b'{"schemaVersion":2,"manifests":[],"x":[', b"[]]}"
    return head + b"[]," * ((size - len(head) - len(tail)) // 3) + tail


@pytest.mark.parametrize("words", [("fetch",), ("resolve",), ("resolve", "--platform", "linux/amd64")], ids=" ".join)
def test_a_manifest_of_very_many_values_is_refused_in_bounded_memory(
    words: tuple[str, ...], server: FaultServer
) -> None:
    data = manifest_of_empty_lists(8 << 20)
    answer = content(data, OCI_INDEX)
    for method in ("GET", "HEAD"):
        server.always(method, manifest_path(REPOSITORY, "v1"), answer if method == "GET" else status(405))
    place = f"{server.host}/{REPOSITORY}"
    name = (place, "v1") if words == ("fetch",) else (f"{place}:v1",)
    cost = cost_of(dist_command(*words, *name), env=dist_environment())
    assert cost.code == 5
    assert cost.memory < CEILING_MIB


@contextmanager
def blob_server(pieces: int, *, chunked: bool) -> Iterator[tuple[str, str]]:
    """HOST:PORT and digest of a blob that is never held anywhere: one piece, over and over."""
    hasher = hashlib.sha256()
    for _ in range(pieces):
        hasher.update(PIECE)
    listener = socket.create_server(("127.0.0.1", 0))

    def refuse_head() -> None:
        with suppress(OSError):  # the listener is shut down
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.recv(65536)
                    connection.sendall(b"HTTP/1.1 405 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    def serve() -> None:
        connection, _ = listener.accept()
        others.start()
        with connection:
            while b"\r\n\r\n" not in connection.recv(65536):
                pass
            framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (pieces * MIB)
            connection.sendall(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
            for _ in range(pieces):
                connection.sendall(b"%x\r\n%s\r\n" % (MIB, PIECE) if chunked else PIECE)
            if chunked:
                connection.sendall(b"0\r\n\r\n")

    others = threading.Thread(target=refuse_head)
    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"127.0.0.1:{listener.getsockname()[1]}", f"sha256:{hasher.hexdigest()}"
    finally:
        thread.join()
        listener.shutdown(socket.SHUT_RDWR)
        others.join()
        listener.close()


def peak_of_fetch(pieces: int, *options: str, kind: Kind = REGISTRY, name: str = "", chunked: bool = False) -> float:
    """Peak resident size in MiB of fetching `pieces` MiB to /dev/null, by digest or by a `name`."""
    with blob_server(pieces, chunked=chunked) as (host, digest):
        words = ("fetch", kind.at(None, host), name or digest, *options)
        cost = cost_of(dist_command(*words), env=dist_environment())
    assert cost.code == 0
    return cost.memory


@pytest.mark.parametrize(
    "options", [(), ("--store",), ("--verify=before",)], ids=lambda options: "".join(options) or "plain"
)
def test_memory_is_bounded_and_the_same_for_a_small_and_a_large_object(options: tuple[str, ...]) -> None:
    small, large = peak_of_fetch(20, *options), peak_of_fetch(160, *options)
    assert large < CEILING_MIB
    assert large < small * 1.1 + 2


def test_memory_is_bounded_without_a_declared_length(kind: Kind) -> None:
    assert peak_of_fetch(160, kind=kind, chunked=True) < CEILING_MIB


def test_memory_is_bounded_where_no_digest_is_known(tree: Kind) -> None:
    assert peak_of_fetch(160, kind=tree, name="disk.img") < CEILING_MIB


@pytest.mark.torture
def test_ten_gibibytes_stream_through_in_constant_memory() -> None:
    assert peak_of_fetch(10 << 10) < CEILING_MIB
