"""Pins: resolve a tag, to record its digest or to compare it with the recorded one."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from dist_tool.errors import InvalidArgument
from dist_tool.names.reference import Reference, parse_object
from dist_tool.oci.digest import Digest
from dist_tool.run import NO_RUN, Run
from dist_tool.settings import Settings
from dist_tool.transfer.repository import open_repository


class Pinned(NamedTuple):
    """A tag's full `NAME:TAG`, the digest it is pinned to (None if not pinned), and the digest it points to now."""

    name: str
    before: Digest | None
    now: Digest


def look_up(reference: Reference, settings: Settings, run: Run = NO_RUN) -> Pinned:
    """Resolve a tag, ignoring its pin.

    If the reference has a digest as well, that digest is resolved instead of the tag, and must
    exist. `require_digest` does not apply: pins are the way to comply with it. Raises
    InvalidArgument for a reference without a tag, and the errors of resolving.
    """
    name = parse_object(reference.object_id or "latest")
    if reference.locator.kind not in ("", "registry"):
        raise InvalidArgument(f"{reference.locator} is not in a registry", hint="only tags in a registry can be pinned")
    if not name.tag:
        raise InvalidArgument(f"{reference} has no tag to pin", hint="expected NAME:TAG or NAME:TAG@DIGEST")
    policy = replace(settings.policy, require_digest=())
    unpinned = replace(settings, pins={}, policy=policy)
    with open_repository(reference.locator, unpinned, run) as repository:
        found = repository.resolve(str(name.digest or name.tag)).digest
    policy.check_digest(found)
    return Pinned(f"{reference.locator.rest}:{name.tag}", settings.pin_for(reference.locator, name.tag), found)
