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
# Length of the encoded part for each registered algorithm. blake3 is registered, but hashlib does not have it.
_REGISTERED = {"sha256": 64, "sha384": 96, "sha512": 128, "blake3": 64}
VERIFIABLE = ("sha256", "sha384", "sha512")
_LONGEST = 512
# Names of hash functions, verifiable or not, in common spellings.
_HASH_NAME = r"(?:sha[-_]?[0-9][a-z0-9+._-]*|sha|md[2-6]|blake[23]?[a-z0-9+._-]*)"
_IS_HASH_NAME = re.compile(_HASH_NAME)
_LOOKS_LIKE_DIGEST = re.compile(rf"{_HASH_NAME}[:=].*|[a-f0-9]{{64}}|[a-f0-9]{{96}}|[a-f0-9]{{128}}")
_HEX_RUN = re.compile(r"(?<![a-f0-9])(?:[a-f0-9]{64}|[a-f0-9]{96}|[a-f0-9]{128})(?![a-f0-9])")
_BY_LENGTH = {64: "sha256", 96: "sha384", 128: "sha512"}


class Digest(NamedTuple):
    """A content digest. `str()` returns the wire form.

    Paths and URLs are built from this type only: a parsed digest contains nothing that allows
    path traversal.
    """

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: str) -> Digest:
        """Parse the wire form. Unregistered algorithms are accepted; hashing with them raises `Unsupported`.

        Raises InvalidArgument for text outside the grammar (behaviours A11, A12).
        """
        match = _GRAMMAR.fullmatch(text) if len(text) <= _LONGEST else None
        if match is None:
            hint = _right_spelling(text) or "expected ALGORITHM:ENCODED, as in sha256:6e3c…"
            raise InvalidArgument(f"{_short(text)} is not a digest", hint=hint)
        algorithm, encoded = match.groups()
        length = _REGISTERED.get(algorithm)
        if length is not None and not (len(encoded) == length and _HEX.fullmatch(encoded)):
            hint = f"expected {length} lower-case hexadecimal digits, got {len(encoded)} characters"
            raise InvalidArgument(f"{text!r} is not a {algorithm} digest", hint=_right_spelling(text) or hint)
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
        """A new hash object for this digest's algorithm. Raises Unsupported."""
        return new_hasher(self.algorithm)


def is_hash_name(algorithm: str) -> bool:
    """True if `algorithm` is the name of a hash function, including those that cannot be verified."""
    return _IS_HASH_NAME.fullmatch(algorithm) is not None


def looks_like_digest(text: str) -> bool:
    """True if `text`, or the part after its last `@`, is intended as a digest, valid or misspelled.

    Ignores case, whitespace, control characters, `=` or `%3A` for `:`, and a missing algorithm:
    `SHA256:…`, `md5=…`, 64 hexadecimal digits. `redis:7` has the form of a digest but is not one.
    """
    return _LOOKS_LIKE_DIGEST.fullmatch(_folded(text)) is not None


def reject_misspelled_digest(text: str) -> None:
    """Raise InvalidArgument, with the correct spelling, if `text` looks like a digest but is not a valid one.

    Call this before treating an object as a name: the content of a name can be delivered
    without verification.
    """
    if looks_like_digest(text):
        Digest.parse(text.rpartition("@")[2])


def _folded(text: str) -> str:
    tail = text.rpartition("@")[2][: 2 * _LONGEST].lower()
    visible = "".join(character for character in tail if character.isprintable() and not character.isspace())
    return visible.replace("%3a", ":")


def _right_spelling(text: str) -> str:
    """A hint with the digest that `text` was probably meant to be, "" if none is evident."""
    found = _HEX_RUN.search(_folded(text))
    if found is None:
        return ""
    algorithm = _BY_LENGTH[len(found[0])]
    named = _IS_HASH_NAME.match(_folded(text))
    if named is not None and named[0].replace("-", "").replace("_", "") != algorithm:
        return ""
    return f"did you mean {algorithm}:{found[0]}?"


def _short(text: str) -> str:
    return repr(text) if len(text) <= _LONGEST else f"{text[:80]!r}…"


def new_hasher(algorithm: str) -> _Hash:
    """A new hash object for a verifiable algorithm. Raises Unsupported for all others."""
    if algorithm not in VERIFIABLE:
        raise Unsupported(
            f"digest algorithm {algorithm!r} cannot be verified here", hint=f"supported: {', '.join(VERIFIABLE)}"
        )
    import hashlib  # loads OpenSSL, which parsing and --help do not need

    return hashlib.new(algorithm)
