"""Options that flags, the environment and each file can set; precedence applies to each option separately."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from dist_tool.config.quantity import parse_duration
from dist_tool.errors import InvalidArgument

# The second name is that of this program's predecessor.
_TIMEOUT_VARIABLES = ("DIST_TIMEOUT", "CONTAINERD_FETCH_TIMEOUT")
_NO_TOKEN_CACHE = "DIST_NO_TOKEN_CACHE"  # noqa: S105  a name, not a secret
_IMPORT = "DIST_IMPORT"
# The files of other programs that can be read (behaviours D17).
IMPORTS = ("hosts.toml", "registries.conf", "certs.d")
_WORDS = {"1": True, "true": True, "yes": True, "on": True, "0": False, "false": False, "no": False, "off": False}


class FetchDefaults(NamedTuple):
    """The options from one source; None if not set. A timeout or size of 0 removes a limit of lower precedence."""

    timeout_s: float | None = None
    max_size: int | None = None
    lenient: bool | None = None
    token_cache: bool | None = None
    store: bool | None = None

    def over(self, lower: FetchDefaults) -> FetchDefaults:
        """These options, with those of `lower`, of lower precedence, for the ones not set."""
        return lower._replace(**{name: value for name, value in self._asdict().items() if value is not None})


def from_environ(environ: Mapping[str, str]) -> FetchDefaults:
    """The options from the environment; empty variables count as unset. Raises InvalidArgument with the variable."""
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
        raise InvalidArgument(f"{_NO_TOKEN_CACHE}: {word!r} is not a boolean", hint="use 1 or 0")
    return not off


def imports_from_environ(environ: Mapping[str, str]) -> tuple[str, ...] | None:
    """The value of DIST_IMPORT, the files of other programs to read: some of IMPORTS, () for `none`, None if unset.

    Raises InvalidArgument.
    """
    words = environ.get(_IMPORT, "").replace(",", " ").split()
    if not words:
        return None
    if words == ["none"]:
        return ()
    for word in words:
        if word not in IMPORTS:
            raise InvalidArgument(
                f"{_IMPORT}: {word!r} is not known", hint=f"use some of {', '.join(IMPORTS)}, or none"
            )
    return tuple(words)
