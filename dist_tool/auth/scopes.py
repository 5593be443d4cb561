"""Token scopes (distribution auth, "Docker Registry Token Scope")."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

# Actions that every token server accepts together in one scope string.
_JOINED = ("pull", "push", "delete")
# More than any registry has reason to demand, and few enough for a URL.
_MOST_SCOPES = 32
_LONGEST_SCOPE = 1024


class Scope(NamedTuple):
    """`type:name:action,action`. `str()` is the wire form."""

    type: str
    name: str
    actions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.type}:{self.name}:{','.join(self.actions)}"


def pull_scope(repository: str) -> str:
    """Read a repository."""
    return f"repository:{repository}:pull"


def push_scope(repository: str) -> str:
    """Read and write a repository."""
    return f"repository:{repository}:pull,push"


def delete_scope(repository: str) -> str:
    """Delete from a repository. Does not include pull: request both."""
    return f"repository:{repository}:delete"


def mount_scopes(repository: str, source: str) -> tuple[str, ...]:
    """Write `repository` and mount blobs of `source` into it (behaviours C15)."""
    return push_scope(repository), pull_scope(source)


def parse_scope(text: str) -> Scope | None:
    """Parse one scope; None if it has another form, which only its server can interpret.

    The type ends at the first colon and the actions begin after the last one, as a name may
    contain a port (behaviours C13).
    """
    kind, first, rest = text.partition(":")
    name, last, actions = rest.rpartition(":")
    if not (first and last and kind and name):
        return None
    return Scope(kind, name, tuple(action for action in actions.split(",") if action))


def demanded_scopes(text: str) -> tuple[str, ...]:
    """The scopes in a challenge's `scope` parameter; limited in number, overlong ones are dropped."""
    return tuple(scope for scope in text.split()[:_MOST_SCOPES] if len(scope) <= _LONGEST_SCOPE)


def merge_scopes(demanded: Iterable[str], wanted: Iterable[str]) -> tuple[str, ...]:
    """All scopes in as few strings as possible, those that the server demands first (behaviours C12).

    Some servers read only the first scope. pull, push and delete on one resource become one
    string; other actions and scopes of unknown form stay separate strings.
    """
    groups: dict[tuple[str, ...], set[str]] = {}
    for text in (*demanded, *wanted):
        scope = parse_scope(text)
        if scope is None:
            groups.setdefault((text,), set())
            continue
        for action in scope.actions:
            if action in _JOINED:
                groups.setdefault(scope[:2], set()).add(action)
            else:
                groups.setdefault((*scope[:2], action), set()).add(action)
    return tuple(_joined(key, actions) for key, actions in groups.items())


def _joined(key: tuple[str, ...], actions: set[str]) -> str:
    if len(key) == 1:
        return key[0]
    known = tuple(action for action in _JOINED if action in actions)
    return str(Scope(key[0], key[1], known or tuple(actions)))


def covers(held: Iterable[str], wanted: Iterable[str]) -> bool:
    """True if `held` includes every action in `wanted`."""
    return _atoms(wanted) <= _atoms(held)


def repository_of(scopes: Iterable[str]) -> str:
    """The repository of the first scope that names one, "" if none does.

    Namespaced credentials are looked up by it (behaviours C29).
    """
    for text in scopes:
        scope = parse_scope(text)
        if scope is not None and scope.type.partition("(")[0] == "repository":
            return scope.name
    return ""


def _atoms(scopes: Iterable[str]) -> set[tuple[str, ...]]:
    atoms: set[tuple[str, ...]] = set()
    for text in scopes:
        scope = parse_scope(text)
        atoms |= {(*scope[:2], action) for action in scope.actions} if scope else {(text,)}
    return atoms
