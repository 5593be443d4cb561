"""Options that flags, the environment and every file can give; the weightier wins, one by one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dist_tool.config.quantity import parse_duration
from dist_tool.errors import InvalidArgument

# The second name is that of this program's ancestor.
_TIMEOUT_VARIABLES = ("DIST_TIMEOUT", "CONTAINERD_FETCH_TIMEOUT")
_NO_TOKEN_CACHE = "DIST_NO_TOKEN_CACHE"  # noqa: S105  a name, not a secret
_IMPORT = "DIST_IMPORT"
# Which files of other programs are read (behaviours D17).
IMPORTS = ("hosts.toml", "registries.conf", "certs.d")
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class FetchDefaults(NamedTuple):
    """What one of them says; None where it says nothing. A timeout or size of 0 lifts a lesser one's limit."""

    timeout_s: float | None = None
    max_size: int | None = None
    lenient: bool | None = None
    token_cache: bool | None = None
    store: bool | None = None

    def over(self, lesser: FetchDefaults) -> FetchDefaults:
        """This, and what `lesser` says where this says nothing."""
        said = {name: value for name, value in self._asdict().items() if value is not None}
        return lesser._replace(**said)


def from_environ(environ: Mapping[str, str]) -> FetchDefaults:
    """What the environment says; an empty variable says nothing. Raises InvalidArgument naming the variable."""
    timeout_s = next((_seconds(environ, name) for name in _TIMEOUT_VARIABLES if environ.get(name)), None)
    return FetchDefaults(timeout_s=timeout_s, token_cache=_token_cache(environ.get(_NO_TOKEN_CACHE, "")))


def _seconds(environ: Mapping[str, str], name: str) -> float:
    try:
        return parse_duration(environ[name])
    except InvalidArgument as error:
        raise InvalidArgument(f"{name}: {error.what}", hint=error.hint) from error


def _token_cache(word: str) -> bool | None:
    if not word:
        return None
    off = _WORDS.get(word.lower())
    if off is None:
        raise InvalidArgument(f"{_NO_TOKEN_CACHE}: {word!r} is neither yes nor no", hint="write 1 or 0")
    return not off


def imports_from_environ(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """Which files of others the environment says to read: some of IMPORTS, or `none`; None where it is silent."""
    words = environ.get(_IMPORT, "").replace(",", " ").split()
    if not words:
        return None
    if words == ["none"]:
        return ()
    for word in words:
        if word not in IMPORTS:
            raise InvalidArgument(f"{_IMPORT}: {word!r} is not known", hint=f"some of {', '.join(IMPORTS)}, or none")
    return tuple(words)
