"""The image that a command is about: finding it, through the store where that is on."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import click

from dist_tool.cli._options import Common, counted, fetch_options, gathered, naming
from dist_tool.cli._progress import as_progress, choose, progress_option

if TYPE_CHECKING:
    from dist_tool.images.image import Image
    from dist_tool.images.layer_fetcher import LayerFetcher
    from dist_tool.run import Run

_F = TypeVar("_F", bound=Callable[..., Any])


class OpenedImage(NamedTuple):
    """An image, where its layers come from, whether they are near already, and the operation they are fetched in."""

    image: Image
    source: LayerFetcher
    local: bool
    stored: bool
    run: Run


class ImageOptions(NamedTuple):
    """What `image_options` say."""

    platform: str | None
    store: bool | None
    progress: str

    @contextmanager
    def open(self, reference: str, common: Common) -> Iterator[OpenedImage]:
        """Find the image of a reference; errors inside come out naming it."""
        from dist_tool.images.image import open_image
        from dist_tool.images.layer_fetcher import LayerFetcher, is_local
        from dist_tool.oci.platform import Platform, default_platform
        from dist_tool.run import Notice
        from dist_tool.transfer.fetch import open_remote

        platform = Platform.parse(self.platform) if self.platform else default_platform()
        settings, run = common.begin(store=self.store)
        parsed = settings.reference(reference)
        store = common.store(settings)
        display = choose(self.progress, os.environ, quiet=common.quiet)
        run = replace(run, progress=as_progress(display))
        try:
            with (
                naming(reference, parsed.locator, parsed.object_id),
                open_remote(parsed.locator, settings, run) as remote,
            ):
                options = fetch_options(settings, parsed.locator, run)
                if store is not None:
                    from dist_tool.transfer.cached_remote import KeptRemote

                    remote = KeptRemote(remote, store, options)
                image = open_image(remote, parsed.object_id, platform, options)
                text = (
                    f"{reference}: {image.desc.digest}, {image.config.platform}, {counted(len(image.layers), 'layer')}"
                )
                common.report(Notice("debug", text))
                local = is_local(parsed.locator)
                source = LayerFetcher(remote, options, in_place=local or store is not None)
                yield OpenedImage(image, source, local and not source.may_retract, store is not None, run)
        finally:
            if display is not None:
                display.close()


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
