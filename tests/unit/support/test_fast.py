"""The fast tests can neither start processes nor use sockets."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest
from support import fast


def test_a_process_is_refused() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"starts a process \(subprocess.Popen .*tests/component"):
        subprocess.run(["true"], check=True)


def test_a_fork_is_refused() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"starts a process \(os.fork .*tests/component"):
        _fork()


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


@pytest.mark.parametrize("use", ["bind", "connect", "connect_ex"])
def test_a_socket_with_an_address_is_refused(use: str) -> None:
    message = rf"uses a socket \(socket.{use.partition('_')[0]} .*tests/component"
    with socket.socket() as sock, pytest.raises(pytest.fail.Exception, match=message):
        getattr(sock, use)(("127.0.0.1", 1))


def test_a_socket_pair_is_allowed() -> None:
    one, other = socket.socketpair()
    with one, other:
        one.sendall(b"x")
        assert other.recv(1) == b"x"


def test_the_folder_of_a_test_decides(request: pytest.FixtureRequest) -> None:
    assert fast._folder(request.path) == "unit"
    assert fast._folder(request.path.parents[2] / "component" / "test_files.py") == "component"
    assert fast._folder(request.path.parents[3] / "elsewhere.py") == ""
