"""Secrets that this process has used, and texts without them.

Servers repeat what they were sent: in error bodies, headers, addresses, names. Everything that
is shown goes through `hide`, by way of `errors.printable`, after it was decoded and before it is
shortened. Secrets are registered when they are read or sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

HIDDEN = "***"
_SHORTEST = 4  # characters: what is shorter is a part of too many words
_MOST = 1024  # of each sort; the oldest go first
_ROUNDS = 3  # of decoding: a server may escape what was escaped already
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^\sA-Za-z0-9]))")
_WORD = re.compile(r"\S+")
_ENCODED = frozenset("\\%&+")

_guard = Lock()
_indexed: set[str] = set()
_by_prefix: dict[str, list[str]] = {}
_lasting: dict[str, None] = {}
_passing: dict[str, None] = {}
_asked: dict[str, None] = {}


def remember(secrets: Iterable[str], *, lasting: bool = True) -> None:
    """Register secrets. Those of one request, such as the signature in its URL, are not `lasting`.

    A value of a URL that is a part of what the user asked for is no secret.
    """
    for secret in secrets:
        if len(secret) >= _SHORTEST and (lasting or not any(secret in text for text in tuple(_asked))):
            _add(_lasting if lasting else _passing, secret)


def allow(text: str) -> None:
    """Register a name that the user asked for: messages repeat it."""
    _add(_asked, text)


def _add(known: dict[str, None], text: str) -> None:
    with _guard:
        known.pop(text, None)
        known[text] = None
        while len(known) > _MOST:
            del known[next(iter(known))]


def forget_all() -> None:
    """Forget everything: between the tests of one process."""
    with _guard:
        for known in (_lasting, _passing, _asked, _indexed, _by_prefix):
            known.clear()


def hide(text: str, *, least: int = _SHORTEST) -> str:
    """`text` without the secrets that are registered, in whatever letter case and common escaping.

    `least` is the number of characters from which a secret counts.
    """
    if not text or not (_lasting or _passing):
        return text
    index = _index()
    found = _found(_fold(text), index, least)
    for form in sorted(found, key=len, reverse=True):  # one may be a part of another
        folded = _fold(text)
        while (at := folded.find(form)) >= 0:
            text = f"{text[:at]}{HIDDEN}{text[at + len(form) :]}"
            folded = f"{folded[:at]}{HIDDEN}{folded[at + len(form) :]}"
    if text.isascii() and not _ENCODED.intersection(text) and "\0" not in text:
        return text

    def repeats(part: str) -> bool:
        return any(_found(decoded, index, least) for decoded in dict.fromkeys(map(_fold, _decodings(part))))

    if not repeats(text):
        return text
    shown = _WORD.sub(lambda word: HIDDEN if repeats(word[0]) else word[0], text)
    return HIDDEN if repeats(shown) else shown  # all of it if a secret spans words


def _index() -> Mapping[str, list[str]]:
    """Every form of every secret by its first characters, so that a search takes one pass over a text.

    Secrets that went stay in it for a while: to hide one of them does no harm.
    """
    with _guard:
        new = [secret for known in (_lasting, _passing) for secret in known if secret not in _indexed]
        if len(_indexed) + len(new) > 3 * _MOST:
            _indexed.clear()
            _by_prefix.clear()
            new = [*_lasting, *_passing]
        for secret in new:
            _indexed.add(secret)
            for form in _forms(secret):
                forms = _by_prefix.setdefault(form[:_SHORTEST], [])
                if form not in forms:
                    forms.append(form)
        return _by_prefix


def _found(folded: str, index: Mapping[str, list[str]], least: int) -> set[str]:
    return {
        form
        for at in range(len(folded) - _SHORTEST + 1)
        for form in index.get(folded[at : at + _SHORTEST], ())
        if len(form) >= least and folded.startswith(form, at)
    }


def _decodings(text: str) -> Iterator[str]:
    """The text after each round of decoding: of URLs, HTML, JSON, and UTF-8 or UTF-16 read as Latin-1."""
    from html import unescape
    from urllib.parse import unquote_plus

    text = text.replace("\0", "")
    for _ in range(_ROUNDS):
        plain = _ESCAPE.sub(_unescaped, text)
        latin = unquote_plus(plain, "latin-1")  # as servers write headers
        for decoded in (text, plain, unescape(plain), unquote_plus(plain), latin, unquote_plus(unescape(plain))):
            yield decoded
            yield _as_utf8(decoded)
        following = unquote_plus(unescape(plain))
        if following == text:
            return
        text = following


def _unescaped(match: re.Match[str]) -> str:
    code = match[1] or match[2]
    return chr(int(code, 16)) if code else match[3]


def _as_utf8(text: str) -> str:
    try:
        return text.encode("latin-1").decode("utf-8")
    except UnicodeError:
        return text


def _fold(text: str) -> str:
    return text.translate(_LOWER)


def _forms(secret: str) -> frozenset[str]:
    """How a secret may be spelled within a text, in lower case."""
    from json import dumps
    from urllib.parse import quote, quote_plus

    data = secret.encode("utf-8", "surrogateescape")
    forms = {secret, data.decode("latin-1")}
    for text in tuple(forms):
        escaped = dumps(text)[1:-1]
        forms |= {escaped, escaped.replace("/", "\\/"), dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
        forms.add(text.encode("unicode_escape", "replace").decode())
    forms |= {quote(data), quote(data, safe=""), quote_plus(data)}
    return frozenset(map(_fold, forms))
