"""Many referrers, and clients that ask for them without pause: the others are answered at once."""

from __future__ import annotations

import json
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path

from support.content import Blob, image, to_json, write_blob, write_layout
from support.serving import ask, connect

from dist_tool.oci.mediatypes import OCI_MANIFEST
from dist_tool.service.http import RegistryServer

COUNT = 2000
CLIENTS = 10


def write_referrers(path: Path) -> str:
    """A layout with `COUNT` manifests that refer to one subject; returns its digest."""
    subject = image("subject")
    write_layout(path, {"v1": subject})
    document = json.loads((path / "index.json").read_bytes())
    for number in range(COUNT):
        manifest = {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/x.sig",
            "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": f"sha256:{'0' * 64}", "size": 2},
            "layers": [],
            "subject": subject.root.descriptor.to_json(),
            "annotations": {"number": str(number)},
        }
        content = Blob(to_json(manifest), OCI_MANIFEST)
        write_blob(path, content)
        document["manifests"].append(content.descriptor.to_json())
    (path / "index.json").write_bytes(to_json(document))
    return str(subject.root.digest)


def test_clients_that_ask_for_referrers_do_not_hold_the_others_up(tmp_path: Path) -> None:
    subject = write_referrers(tmp_path / "img")
    path = f"/v2/demo/referrers/{subject}"
    flood = f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n".encode() * 200
    with RegistryServer(tmp_path / "img", name="demo") as server, ExitStack() as stack:
        for _ in range(CLIENTS):
            sock = stack.enter_context(connect(server.address))
            threading.Thread(target=_read_all, args=(sock,), daemon=True).start()
            sock.sendall(flood)
        slowest = 0.0
        until = time.monotonic() + 3
        while time.monotonic() < until:
            started = time.monotonic()
            assert ask(server.address, "/v2/").status == 200
            slowest = max(slowest, time.monotonic() - started)
        assert slowest < 1.5
        assert len(ask(server.address, path).json()["manifests"]) == COUNT


def _read_all(sock: object) -> None:
    with suppress(OSError):
        while sock.recv(1 << 20):  # type: ignore[attr-defined]
            pass
