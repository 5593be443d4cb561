"""Redaction of secrets in displayed text.

Servers repeat data from requests in error bodies, headers, URLs and names. All displayed text
passes through `hide`, called by `errors.printable`, after decoding and before shortening.
Secrets are registered when they are read or sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock

HIDDEN = "***"
_MIN_LENGTH = 4  # characters: shorter secrets would match in too many ordinary words
_MAX_ENTRIES = 1024  # entries of each registry; the oldest are removed first
_ROUNDS = 3  # of decoding: servers may escape text that is already escaped
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|x([0-9a-fA-F]{2})|([^\sA-Za-z0-9]))")
_WORD = re.compile(r"\S+")
_ESCAPE_SIGNS = frozenset("\\%&+")

_guard = Lock()
_indexed: set[str] = set()
_by_prefix: dict[str, list[str]] = {}
_lasting: dict[str, None] = {}
_transient: dict[str, None] = {}
_requested: dict[str, None] = {}


def remember(secrets: Iterable[str], *, lasting: bool = True) -> None:
    """Register secrets. Secrets of one request, such as the signature in its URL, are not `lasting`.

    A value that is not `lasting` and is part of a requested name (see `allow`) is not registered.
    """
    for secret in secrets:
        if len(secret) >= _MIN_LENGTH and (lasting or not any(secret in text for text in tuple(_requested))):
            _add(_lasting if lasting else _transient, secret)


def allow(text: str) -> None:
    """Register a name that the user requested, which messages must show."""
    _add(_requested, text)


def _add(known: dict[str, None], text: str) -> None:
    with _guard:
        known.pop(text, None)
        known[text] = None
        while len(known) > _MAX_ENTRIES:
            del known[next(iter(known))]


def forget_all() -> None:
    """Clear all registered secrets and names. For tests."""
    with _guard:
        for known in (_lasting, _transient, _requested, _indexed, _by_prefix):
            known.clear()


def hide(text: str, *, least: int = _MIN_LENGTH) -> str:
    """Replace registered secrets in `text` by `***`, in any letter case and common escaping.

    `least` is the minimum length of a secret, in characters.
    """
    if not text or not (_lasting or _transient):
        return text
    index = _index()
    found = _found(_fold(text), index, least)
    for form in sorted(found, key=len, reverse=True):  # longest first: one may contain another
        folded = _fold(text)
        while (at := folded.find(form)) >= 0:
            text = f"{text[:at]}{HIDDEN}{text[at + len(form) :]}"
            folded = f"{folded[:at]}{HIDDEN}{folded[at + len(form) :]}"
    if text.isascii() and not _ESCAPE_SIGNS.intersection(text) and "\0" not in text:
        return text

    def repeats(part: str) -> bool:
        return any(_found(decoded, index, least) for decoded in dict.fromkeys(map(_fold, _decodings(part))))

    if not repeats(text):
        return text
    shown = _WORD.sub(lambda word: HIDDEN if repeats(word[0]) else word[0], text)
    return HIDDEN if repeats(shown) else shown  # hide all if a secret spans several words


def _index() -> Mapping[str, list[str]]:
    """Index of all spellings of all secrets by their first characters, for a search in one pass over a text.

    Secrets that were removed remain in the index for a while, which is harmless.
    """
    with _guard:
        new = [secret for known in (_lasting, _transient) for secret in known if secret not in _indexed]
        if len(_indexed) + len(new) > 3 * _MAX_ENTRIES:
            _indexed.clear()
            _by_prefix.clear()
            new = [*_lasting, *_transient]
        for secret in new:
            _indexed.add(secret)
            for form in _forms(secret):
                forms = _by_prefix.setdefault(form[:_MIN_LENGTH], [])
                if form not in forms:
                    forms.append(form)
        return _by_prefix


def _found(folded: str, index: Mapping[str, list[str]], least: int) -> set[str]:
    return {
        form
        for at in range(len(folded) - _MIN_LENGTH + 1)
        for form in index.get(folded[at : at + _MIN_LENGTH], ())
        if len(form) >= least and folded.startswith(form, at)
    }


def _decodings(text: str) -> Iterator[str]:
    """`text` after each round of decoding of URL, HTML and JSON escapes, and of UTF-8 or UTF-16 read as Latin-1."""
    from html import unescape
    from urllib.parse import unquote_plus

    text = text.replace("\0", "")
    for _ in range(_ROUNDS):
        plain = _ESCAPE.sub(_unescaped, text)
        latin = unquote_plus(plain, "latin-1")  # the encoding of headers
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
    """Spellings of a secret in texts: plain, and in JSON, Python and URL escapes; in lower case."""
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
