"""AWS Signature Version 4 for requests without a body ("Signing AWS API requests", S3 variant).

The signature covers method, path, query, host and time. Other headers, such as Range, are not
signed, so they can be sent on to a redirect's target. This module has no state and reads no files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from hmac import digest as hmac_digest
from time import gmtime, strftime
from urllib.parse import quote, urlsplit

EMPTY = sha256(b"").hexdigest()
_ALGORITHM = "AWS4-HMAC-SHA256"
_PLAIN = "-._~"


@dataclass(frozen=True, slots=True)
class Keys:
    """An access key. `source` names its origin (environment, file and section) in messages."""

    access_key: str
    secret_key: str = field(repr=False)
    token: str = field(default="", repr=False)
    source: str = field(default="", compare=False)


def quoted(path: str) -> str:
    """A path quoted for signature and request: unreserved bytes and slashes as they are, all others as %XX."""
    return quote(path, safe=f"{_PLAIN}/")


def sign(method: str, url: str, keys: Keys, region: str, now: float) -> Mapping[str, str]:
    """The headers that sign a request for a URL whose path is already `quoted`; `now` is seconds since the epoch."""
    parts = urlsplit(url)
    moment = gmtime(now)
    stamp, day = strftime("%Y%m%dT%H%M%SZ", moment), strftime("%Y%m%d", moment)
    headers = {"host": parts.netloc, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    if keys.token:
        headers["x-amz-security-token"] = keys.token
    names = ";".join(sorted(headers))
    lines = "".join(f"{name}:{headers[name]}\n" for name in sorted(headers))
    query = "&".join(sorted(pair if "=" in pair else f"{pair}=" for pair in parts.query.split("&") if pair))
    request = "\n".join((method, parts.path or "/", query, lines, names, EMPTY))
    scope = f"{day}/{region}/s3/aws4_request"
    text = "\n".join((_ALGORITHM, stamp, scope, sha256(request.encode()).hexdigest()))
    key = f"AWS4{keys.secret_key}".encode()
    for part in (day, region, "s3", "aws4_request"):
        key = hmac_digest(key, part.encode(), "sha256")
    signature = hmac_digest(key, text.encode(), "sha256").hex()
    del headers["host"]  # sent by the connection
    value = f"{_ALGORITHM} Credential={keys.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    return {**headers, "Authorization": value}
