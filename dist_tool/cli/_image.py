"""Finding the image that a command is about."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from dist_tool.cli._options import Common, fetch_options
from dist_tool.errors import DistError

if TYPE_CHECKING:
    from dist_tool.api import Remote
    from dist_tool.settings import Settings
    from dist_tool.spec.reference import Reference
    from dist_tool.transfer.image import Image


@contextmanager
def opened_image(
    reference: Reference, platform: str | None, settings: Settings, common: Common
) -> Iterator[tuple[Remote, Image]]:
    """The remote and the image of a reference; errors inside come out naming both."""
    from dist_tool.api import Notice
    from dist_tool.spec.platform import Platform, default_platform
    from dist_tool.transfer.fetch import open_remote
    from dist_tool.transfer.image import open_image

    wanted = Platform.parse(platform) if platform else default_platform()
    try:
        with open_remote(reference.locator, settings, common.report) as remote:
            image = open_image(remote, reference.object_id, wanted, fetch_options(settings, reference.locator, common))
            text = f"{reference}: {image.desc.digest}, {image.config.platform}, {len(image.layers)} layers"
            common.report(Notice("debug", text))
            yield remote, image
    except DistError as error:
        error.with_facts(locator=str(reference.locator), object_id=reference.object_id)
        raise
