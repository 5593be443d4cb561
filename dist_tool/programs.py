"""Lookup and environment of external programs.

Credential helpers (`docker-credential-NAME`) and remote helpers (`dist-remote-KIND`) are named in
configuration files and locators. They must not be looked up in the working directory, and must not
get credentials that they do not need.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from dist_tool.errors import InvalidArgument

# Credentials for other registries, and for our own server.
_SECRETS = frozenset({"DIST_AUTH_CONFIG", "DIST_SERVE_PASSWORD", "DOCKER_AUTH_CONFIG"})
_OURS = "DIST_"


def find_program(name: str, path: str) -> str:
    """The absolute path of a program in `path`, a value of PATH; "" if there is none.

    Raises InvalidArgument if the first match is in an entry that is not absolute: an empty
    entry, `.` and `bin` depend on the working directory, which may contain downloaded files.
    """
    for directory in path.split(os.pathsep) if path else ():
        program = os.path.join(directory, name)
        if not (os.path.isfile(program) and os.access(program, os.X_OK)):
            continue
        if os.path.isabs(program):
            return program
        entry = f"the entry {directory!r}" if directory else "an empty entry"
        raise InvalidArgument(
            f"{name} is not run: {entry} of PATH finds it relative to the working directory",
            hint="install it in a directory with an absolute path, or remove the entry from PATH",
        )
    return ""


def absolute_directories(path: str) -> Iterator[str]:
    """The absolute directories of `path`, a value of PATH."""
    return (directory for directory in path.split(os.pathsep) if os.path.isabs(directory))


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a remote helper: without the variables that hold registry credentials.

    Other variables are passed on: the program may need credentials of its own
    (AWS_SECRET_ACCESS_KEY), and may run `dist`, which needs DIST_CONFIG.
    """
    return {name: value for name, value in environ.items() if name not in _SECRETS}


def for_credential_helper(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a credential helper: `without_secrets`, and without any variable of `dist`.

    AWS_*, GOOGLE_* and AZURE_* are passed on, since helpers of cloud registries log in with them.
    """
    return {name: value for name, value in without_secrets(environ).items() if not name.startswith(_OURS)}
