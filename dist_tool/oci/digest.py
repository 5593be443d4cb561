"""Digests: `algorithm:encoded` (image-spec descriptor.md, "Digests")."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.errors import InvalidArgument, Unsupported

if TYPE_CHECKING:
    from hashlib import _Hash

# ASCII classes and fullmatch throughout: `\w` would match "ü" and `$` would accept a final newline.
_GRAMMAR = re.compile(r"([a-z0-9]+(?:[.+_-][a-z0-9]+)*):([a-zA-Z0-9=_-]+)")
_HEX = re.compile(r"[a-f0-9]+")
# Length of the encoded part for each registered algorithm. blake3 is registered, and not in hashlib.
_REGISTERED = {"sha256": 64, "sha384": 96, "sha512": 128, "blake3": 64}
VERIFIABLE = ("sha256", "sha384", "sha512")
_LONGEST = 512


class Digest(NamedTuple):
    """A content identifier. `str()` is the wire form.

    Only this type makes paths and URLs: once parsed, the text holds nothing that could
    traverse either.
    """

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Read the wire form. Unregistered algorithms parse; hashing them raises `Unsupported`.

        Raises InvalidArgument for anything outside the grammar (behaviours A11, A12).
        """
        match = _GRAMMAR.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            raise InvalidArgument(f"{text!r} is not a digest", hint="expected ALGORITHM:ENCODED, as in sha256:6e3c…")
        algorithm, encoded = match.groups()
        length = _REGISTERED.get(algorithm)
        if length is not None and not (len(encoded) == length and _HEX.fullmatch(encoded)):
            raise InvalidArgument(
                f"{text!r} is not a {algorithm} digest",
                hint=f"expected {length} lower-case hexadecimal digits, got {len(encoded)} characters",
            )
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes, algorithm: str = "sha256") -> Digest:
        """The digest of `data`. Raises Unsupported for an algorithm that cannot be computed."""
        hasher = new_hasher(algorithm)
        hasher.update(data)
        return cls(algorithm, hasher.hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"

    def hasher(self) -> _Hash:
        """A fresh hash of this digest's algorithm. Raises Unsupported."""
        return new_hasher(self.algorithm)


def new_hasher(algorithm: str) -> _Hash:
    """A fresh hash of a registered algorithm. Raises Unsupported for all others."""
    if algorithm not in VERIFIABLE:
        raise Unsupported(
            f"digest algorithm {algorithm!r} cannot be verified here", hint=f"supported: {', '.join(VERIFIABLE)}"
        )
    import hashlib  # loads OpenSSL: not needed to parse, nor for --help

    return hashlib.new(algorithm)
