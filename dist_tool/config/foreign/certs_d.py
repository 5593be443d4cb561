"""The `certs.d` directories of docker and the containers tools (behaviours D6)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dist_tool.settings import Tls

if TYPE_CHECKING:
    pass


def certificates_in(directory: str) -> Tls:
    """The certificates in a directory: `*.crt` are CAs, `NAME.cert` client certificates with `NAME.key` (D6).

    If there is no key file, the certificate file also holds the key. Raises InvalidArgument for a
    directory that cannot be read, and for a key without a certificate, as docker does.
    """
    from dist_tool.errors import InvalidArgument

    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise InvalidArgument(f"{directory}: {error.strerror}") from error
    paths = [f"{directory}/{name}" for name in names if not os.path.isdir(f"{directory}/{name}")]
    for path in paths:
        if path.endswith(".key") and f"{path[:-4]}.cert" not in paths:
            raise InvalidArgument(f"{path} has no certificate", hint=f"there is no {path[:-4]}.cert")
    certificates = [path for path in paths if path.endswith(".cert")]
    keys = {path: f"{path[:-5]}.key" if f"{path[:-5]}.key" in paths else path for path in certificates}
    return Tls(ca=tuple(path for path in paths if path.endswith(".crt")), client=tuple(keys.items()))
