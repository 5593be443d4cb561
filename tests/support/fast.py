"""Guard of the fast tests: no processes, and no sockets with an address.

It holds for the folders that `make test-fast` runs, and for the setup and the teardown of a test too. Socket pairs
have no address and are allowed.
"""

from __future__ import annotations

import sys
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import urllib3.util.connection  # noqa: F401 - binds a socket when it is imported, to find out about IPv6

# Audit events of CPython, <https://docs.python.org/3/library/audit_events.html>. They cannot be avoided by a module
# that bound a function at its import, as a replaced function can. `socket.listen` has none, and needs `bind`.
_PROCESSES = frozenset({"os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.system", "subprocess.Popen"})
_SOCKETS = frozenset({"socket.bind", "socket.connect", "socket.sendto"})
_TESTS = Path(__file__).resolve().parents[1]
_FOLDERS = frozenset({"architecture", "contract", "property", "unit"})
_guarded = False


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _guarded:
        return
    if event in _PROCESSES:
        _refuse("starts a process", event, args)
    elif event in _SOCKETS:
        _refuse("uses a socket", event, args)


def _refuse(what: str, event: str, args: tuple[Any, ...]) -> None:
    pytest.fail(f"a fast test {what} ({event} {args[:2]!r}): move it to tests/component")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Guard each test of the folders, except contracts with the mark `component`."""
    global _guarded
    folder = _folder(item.path)
    _guarded = folder in _FOLDERS and not (folder == "contract" and item.get_closest_marker("component"))
    try:
        return (yield)
    finally:
        _guarded = False


def _folder(path: Path) -> str:
    """The folder of a test file below `tests`."""
    return path.relative_to(_TESTS).parts[0] if path.is_relative_to(_TESTS) else ""


sys.addaudithook(_audit)
