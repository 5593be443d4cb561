"""Pins: what a tag means now, to be written down, or to be compared with what is written."""

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
    """A tag's full `NAME:TAG`, what it is pinned to (None: not yet), and what it means now."""

    name: str
    before: Digest | None
    now: Digest


def look_up(reference: Reference, settings: Settings, run: Run = NO_RUN) -> Pinned:
    """Ask what a tag means, whatever its pin says.

    A reference with a digest as well is not asked for its tag: the digest is looked for, and
    must be there. A policy that wants digests does not stand in the way: it is what pins are
    for. Raises InvalidArgument for what has no tag, and all that resolving raises.
    """
    name = parse_object(reference.object_id or "latest")
    if reference.locator.kind not in ("", "registry"):
        raise InvalidArgument(f"{reference.locator} is not in a registry", hint="only tags of one are pinned")
    if not name.tag:
        raise InvalidArgument(f"{reference} has no tag to pin", hint="expected NAME:TAG or NAME:TAG@DIGEST")
    policy = replace(settings.policy, require_digest=())
    asked = replace(settings, pins={}, policy=policy)
    with open_repository(reference.locator, asked, run) as repository:
        found = repository.resolve(str(name.digest or name.tag)).digest
    policy.check_digest(found)
    return Pinned(f"{reference.locator.rest}:{name.tag}", settings.pin_for(reference.locator, name.tag), found)
