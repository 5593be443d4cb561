"""A name under rules: what `[policy]` forbids is refused, and a pinned tag is its digest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from dist_tool.api import (
    Alternatives,
    Closable,
    Cut,
    Listable,
    NamedFetcher,
    NamedResumer,
    PathFetcher,
    Referring,
    Remote,
    Search,
)
from dist_tool.errors import InvalidArgument, NoDigest, Unsupported
from dist_tool.names.hints import Hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import ObjectName, as_object
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.settings import Policy, Settings
from dist_tool.stream.body import Body

_T = TypeVar("_T")
# What an object is to be asked for as. Raises PolicyRefused for what must not be asked for.
Rule = Callable[[str], str]


def rule_for(locator: Locator, settings: Settings) -> Rule:
    """The rule for the objects of a name."""

    def rule(object_id: str) -> str:
        name = _named(object_id)
        settings.check_object(locator, name)
        pinned = None if name.digest else settings.pin_for(locator, name.tag)
        return f"{name.tag}@{pinned}" if pinned else object_id

    return rule


def policy_rule(target: Locator, policy: Policy) -> Rule:
    """The rule for a location that a table leads to: what `[policy]` forbids under the location's own name."""

    def rule(object_id: str) -> str:
        policy.check_object(target, _named(object_id))
        return object_id

    return rule


def _named(object_id: str) -> ObjectName:
    try:
        return as_object(object_id)
    except InvalidArgument:
        return ObjectName(object_id)  # a name of another grammar, if its remote has one


class GovernedRemote:
    """One place, asked only for what the rule allows."""

    def __init__(self, remote: Remote, rule: Rule, allowed: Callable[[Digest], None]) -> None:
        self._remote = remote
        self._rule = rule
        self._allowed = allowed

    def resolve(self, object_id: str, hints: Hints) -> Descriptor:
        """The descriptor, of an algorithm that is allowed; see `api.Resolver`. Raises PolicyRefused."""
        asked = self._rule(object_id)
        if asked != object_id and not hints.media_type():
            hints = hints._replace(kind="manifest")  # a pin: what tags mean is no blob
        desc = self._remote.resolve(asked, hints)
        self._allowed(desc.digest)
        return desc

    def open(self, desc: Descriptor, offset: int = 0) -> Body:
        """The object's bytes from `offset`."""
        self._allowed(desc.digest)
        return self._remote.open(desc, offset)

    def open_name(self, object_id: str, hints: Hints) -> Body:
        """The bytes that a name means now."""
        if not isinstance(self._remote, NamedFetcher):
            raise NoDigest(f"the digest of {object_id!r} is not known")
        return self._remote.open_name(self._rule(object_id), hints)

    def reopen_name(self, object_id: str, hints: Hints, cut: Cut) -> Body:
        """A name again; from its beginning where the place cannot tell whether it is still the same."""
        if not isinstance(self._remote, NamedResumer):
            return self.open_name(object_id, hints)
        return self._remote.reopen_name(self._rule(object_id), hints, cut)

    def open_path(self, path: str, desc: Descriptor | None = None, offset: int = 0) -> Body:
        """A file of a layout, which has a rule of its own for its names."""
        if desc is not None:
            self._allowed(desc.digest)
        if not isinstance(self._remote, PathFetcher):
            raise Unsupported("this remote does not serve files by path")
        return self._remote.open_path(path, desc, offset)

    def tags(self) -> Iterator[str]:
        """Every tag."""
        if not isinstance(self._remote, Listable):
            raise Unsupported("this remote does not list tags")
        return self._remote.tags()

    def referrers(self, subject: Digest, artifact_type: str = "") -> Iterator[Descriptor]:
        """Manifests that refer to `subject`."""
        if not isinstance(self._remote, Referring):
            raise Unsupported("this remote does not list referrers")
        return self._remote.referrers(subject, artifact_type)

    def close(self) -> None:
        """Close the place."""
        if isinstance(self._remote, Closable):
            self._remote.close()


class GovernedAlternatives(GovernedRemote):
    """Several places under one rule."""

    def search(self, desc: Descriptor) -> Search:
        """The places of an object; see `api.Alternatives`."""
        assert isinstance(self._remote, Alternatives)
        self._allowed(desc.digest)
        return self._remote.search(desc)

    def first(self, ask: Callable[[Remote], _T]) -> _T:
        """What the first place says that is trusted with names, each of them under the rule."""
        assert isinstance(self._remote, Alternatives)
        return self._remote.first(lambda place: ask(GovernedRemote(place, self._rule, self._allowed)))
