"""A web server of plain files, as nginx would serve them: ranges, strong tags, If-Range, 404."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple
from urllib.parse import unquote


class FileServer(NamedTuple):
    """A running server. `host` is HOST:PORT; `root` its directory, read again for each request."""

    host: str
    root: Path


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    root: Path

    def handle_error(self, *args: object) -> None:
        """A client that leaves is its own affair."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = self.server.root / unquote(self.path.partition("?")[0]).lstrip("/")
        if not path.is_file():
            self._send(404, b"<html>there is no such file</html>", body)
            return
        data = path.read_bytes()
        tag = f'"{md5(data).hexdigest()}"'
        first = int(self.headers.get("Range", "bytes=0-")[6:-1])
        if not first or self.headers.get("If-Range", tag) != tag:
            self._send(200, data, body, ETag=tag)
        elif first >= len(data):
            self._send(416, b"", body, Content_Range=f"bytes */{len(data)}")
        else:
            where = f"bytes {first}-{len(data) - 1}/{len(data)}"
            self._send(206, data[first:], body, Content_Range=where, ETag=tag)

    def _send(self, status: int, data: bytes, body: bool, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if body:
            self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        """Nothing: a test's output is its own."""


@contextmanager
def serving(root: Path) -> Iterator[FileServer]:
    """Serve a directory on a free port of 127.0.0.1."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.root = root
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield FileServer(f"127.0.0.1:{server.server_port}", root)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
