"""The image that a command is about: finding it, through the store where that is on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from dist_tool.cli._options import Common, counted, gathered, naming
from dist_tool.cli._progress import progress_option

if TYPE_CHECKING:
    from dist_tool.session import OpenedImage, Session

_F = TypeVar("_F", bound=Callable[..., Any])


class ImageOptions(NamedTuple):
    """What `image_options` say."""

    platform: str | None
    store: bool | None
    progress: str

    @contextmanager
    def open(self, reference: str, common: Common) -> Iterator[tuple[Session, OpenedImage]]:
        """Open the image of a reference; errors inside get its name."""
        from dist_tool.run import Notice

        settings, run = common.begin(store=self.store)
        parsed = settings.reference(reference)
        with (
            naming(reference, parsed.locator, parsed.object_id),
            common.session(settings, run, self.progress) as session,
        ):
            opened = session.image(parsed, platform=self.platform)
            image = opened.image
            text = f"{reference}: {image.desc.digest}, {image.config.platform}, {counted(len(image.layers), 'layer')}"
            common.report(Notice("debug", text))
            yield session, opened


def image_options(function: _F) -> _F:
    """--platform, --store and --progress; the command gets `wanted`."""
    return gathered(function, "wanted", ImageOptions, _OPTIONS)


_OPTIONS = (
    click.option(
        "--platform", metavar="OS/ARCH[/VARIANT]", help="Which image of several. Default: linux, this machine."
    ),
    click.option("--store/--no-store", default=None, help="Keep blobs in the local store, and use what is there."),
    progress_option,
)
