"""Talking to a registry server: one request by http.client, or raw bytes over a socket."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import Any, NamedTuple

from support.content import Blob, Image, Index

TIMEOUT_S = 20


@dataclass(frozen=True)
class Sample:
    """What is in the layout."""

    path: Path
    plain: Image
    redis: Index
    large: Blob


class Answer(NamedTuple):
    """A response, read whole."""

    status: int
    headers: Message
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def codes(self) -> list[str]:
        """The error codes of the body."""
        return [error["code"] for error in self.json()["errors"]]


def ask(
    address: str, path: str, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes | None = None
) -> Answer:
    connection = http.client.HTTPConnection(address, timeout=TIMEOUT_S)
    try:
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read())
    finally:
        connection.close()


def connect(address: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=TIMEOUT_S)


def read_to_end(sock: socket.socket) -> bytes:
    """Everything until the server closes; a reset is an end too."""
    out = bytearray()
    try:
        while part := sock.recv(65536):
            out += part
    except ConnectionResetError:
        pass
    return bytes(out)


def exchange(address: str, data: bytes) -> bytes:
    """Send raw bytes, say that there are no more, and read what comes until the server closes."""
    with connect(address) as sock:
        sock.sendall(data)
        sock.shutdown(socket.SHUT_WR)
        return read_to_end(sock)


def statuses(stream: bytes) -> list[int]:
    """The status of each response in a stream, by their lengths: any byte out of place raises."""
    found = []
    while stream:
        head, _, rest = stream.partition(b"\r\n\r\n")
        first, *fields = head.decode("latin-1").split("\r\n")
        assert first.startswith("HTTP/1.1 "), first
        lengths = [int(line.partition(":")[2]) for line in fields if line.lower().startswith("content-length:")]
        length = lengths[0] if lengths else 0
        assert len(rest) >= length
        found.append(int(first.split()[1]))
        stream = rest[length:]
    return found
