"""Programs that are run by name: where they are found, and which part of the environment they get.

Credential helpers (`docker-credential-NAME`) and remote helpers (`dist-remote-KIND`) are names
that a configuration file or a locator mentions. They must not turn into programs of the working
directory, and they get no credentials that they have no use for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from dist_tool.errors import InvalidArgument

# Credentials for other registries, and for our own server.
_SECRETS = frozenset({"DIST_AUTH_CONFIG", "DIST_SERVE_PASSWORD", "DOCKER_AUTH_CONFIG"})
_OURS = "DIST_"


def find_program(name: str, path: str) -> str:
    """The absolute path of a program in `path`, a value of PATH; "" for none.

    Raises InvalidArgument when the first match is in an entry that is not absolute: an empty
    one, `.` and `bin` depend on the working directory, which may hold what was downloaded.
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
            hint="install it in a directory with an absolute path, or take the entry out of PATH",
        )
    return ""


def absolute_directories(path: str) -> Iterator[str]:
    """The directories of `path`, a value of PATH, in which programs are run."""
    return (directory for directory in path.split(os.pathsep) if os.path.isabs(directory))


def without_secrets(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a remote helper: without the variables that hold credentials for registries.

    Others stay: the program may have credentials of its own there (AWS_SECRET_ACCESS_KEY), and may
    run `dist`, which needs DIST_CONFIG.
    """
    return {name: value for name, value in environ.items() if name not in _SECRETS}


def for_credential_helper(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment of a credential helper: as above, and without any variable of `dist`.

    AWS_*, GOOGLE_* and AZURE_* stay, since helpers of cloud registries log in with them.
    """
    return {name: value for name, value in without_secrets(environ).items() if not name.startswith(_OURS)}
