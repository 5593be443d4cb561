"""The `certs.d` directories of docker and the containers tools (behaviours D6)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from dist_tool.settings import Tls

if TYPE_CHECKING:
    pass


def certificates_in(directory: str) -> Tls:
    """Docker's pattern (D6): `*.crt` are CAs, `NAME.cert` a client certificate with `NAME.key`.

    Without a key file the certificate's own holds the key. Raises InvalidArgument for a
    directory that cannot be read, and a key without its certificate, as docker does.
    """
    from dist_tool.errors import InvalidArgument

    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise InvalidArgument(f"{directory}: {error.strerror}") from error
    places = [f"{directory}/{name}" for name in names if not os.path.isdir(f"{directory}/{name}")]
    for place in places:
        if place.endswith(".key") and f"{place[:-4]}.cert" not in places:
            raise InvalidArgument(f"{place} belongs to no certificate", hint=f"there is no {place[:-4]}.cert")
    certificates = [place for place in places if place.endswith(".cert")]
    keys = {place: f"{place[:-5]}.key" if f"{place[:-5]}.key" in places else place for place in certificates}
    return Tls(ca=tuple(place for place in places if place.endswith(".crt")), client=tuple(keys.items()))
