"""Options of commands that read an image, and opening it, through the store if that is enabled."""

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
    """Values of `image_options`."""

    platform: str | None
    store: bool | None
    progress: str

    @contextmanager
    def open(self, reference: str, common: Common) -> Iterator[tuple[Session, OpenedImage]]:
        """Open the image of a reference; errors raised in the block get its name."""
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
    """Add --platform, --store and --progress; the command gets `wanted`."""
    return gathered(function, "wanted", ImageOptions, _OPTIONS)


_OPTIONS = (
    click.option(
        "--platform",
        metavar="OS/ARCH[/VARIANT]",
        help="Platform of the image. Default: linux on this machine's architecture.",
    ),
    click.option("--store/--no-store", default=None, help="Store blobs in the local store, and reuse stored ones."),
    progress_option,
)
