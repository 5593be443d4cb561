"""Sessions: the public API of the library, on which the commands are built.

A session owns the resources shared by the operations of one process: connections, credentials,
access tokens and the store. Its methods take and return values, or raise an error of
`dist_tool.errors`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from dist_tool.names.hints import Hints, parse_hints
from dist_tool.names.locator import Locator
from dist_tool.names.reference import Reference
from dist_tool.run import NO_RUN, Progress, Report, Run, Shared, no_progress, no_report
from dist_tool.settings import Settings
from dist_tool.transfer.repository import Repository, repository_at

if TYPE_CHECKING:
    from typing import Self

    from dist_tool.api import NamedStore
    from dist_tool.images.image import Image
    from dist_tool.images.layer_fetcher import LayerFetcher
    from dist_tool.images.unpack import Unpacked, UnpackOptions
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.stream.pump import Sink
    from dist_tool.stream.verify import VerifiedReader
    from dist_tool.tar.limits import Limits

_NO_HINTS = Hints()


class OpenedImage(NamedTuple):
    """An image and the source of its layers. `local`: the layers are files on this machine."""

    image: Image
    layers: LayerFetcher
    local: bool
    stored: bool


class Session:
    """The operations of one process under the same settings. Thread-safe; close it, or use it in `with`.

    A locator is text as on the command line, a path object for a layout or archive on this
    machine, or a `Locator`. All methods raise the subclasses of `DistError`; those that move
    content raise Cancelled and DeadlineExceeded as `run` does.
    """

    def __init__(self, settings: Settings, run: Run = NO_RUN) -> None:
        self.settings = settings
        self.run = run
        self._shared = Shared()
        self._opened: list[Repository] = []

    @cached_property
    def store(self) -> NamedStore:
        """The local store, in the configured directory. Raises LocalFailure if that is not a store."""
        from dist_tool.store import configured_path, open_store

        return open_store(configured_path(self.settings), self.run)

    def repository(self, locator: str | os.PathLike[str] | Locator, *, store: bool | None = None) -> Repository:
        """The repository of a locator, open until the session is closed; no request is made yet.

        `store`: use the local store as a cache; None for the configured value. Raises
        InvalidArgument, PolicyRefused for a blocked name, Unsupported for an unknown kind.
        """
        repository = repository_at(self._locator(locator), self.settings, self.run, self._shared)
        if self.settings.store if store is None else store:
            from dist_tool.transfer.cache import CachedRepository

            repository = CachedRepository(repository, self.store)
        self._opened.append(repository)
        return repository

    def _locator(self, locator: str | os.PathLike[str] | Locator) -> Locator:
        if isinstance(locator, Locator):
            return locator
        if isinstance(locator, str):
            return self.settings.locator(locator)
        return Locator("path", os.path.abspath(os.fspath(locator)))

    def _reference(self, reference: str | Reference) -> Reference:
        return self.settings.reference(reference) if isinstance(reference, str) else reference

    # Objects

    def resolve(self, reference: str | Reference, *, platform: str | None = None) -> Descriptor:
        """The descriptor of a reference; with `platform` (`linux/arm64`), that of the image for it."""
        parsed = self._reference(reference)
        repository = self.repository(parsed.locator, store=False)
        if platform is None:
            return replace(repository.resolve(parsed.object_id), data=None)
        from dist_tool.images.select import select_image
        from dist_tool.oci.platform import Platform

        return select_image(repository, parsed.object_id, Platform.parse(platform)).desc

    def fetch(
        self,
        locator: str | os.PathLike[str] | Locator,
        object_id: str,
        sink: Sink,
        hints: Hints | Iterable[str] = _NO_HINTS,
    ) -> Descriptor:
        """Write an object to `sink`, a function that takes a memoryview; returns the complete descriptor.

        As in `dist fetch`, nothing of a small object is written before it is verified, and the
        end of a large one is withheld until then.
        """
        return self.repository(locator).fetch_to(object_id, sink, _hints(hints))

    def open(
        self, locator: str | os.PathLike[str] | Locator, object_id: str, hints: Hints | Iterable[str] = _NO_HINTS
    ) -> VerifiedReader:
        """An object as a binary file. Read it to the end, since wrong content raises DataLoss there, and close it."""
        return self.repository(locator).fetch(object_id, _hints(hints))[1]

    def tags(self, locator: str | os.PathLike[str] | Locator) -> Iterator[str]:
        """Every tag of a repository, or name of a layout. Raises Unsupported if the remote cannot list them."""
        return self.repository(locator, store=False).tags()

    # Images

    def image(
        self, reference: str | Reference, *, platform: str | None = None, store: bool | None = None
    ) -> OpenedImage:
        """Read the manifest and config of an image, for `platform` or by default linux on this machine's architecture.

        Raises NotFound if there is none for the platform, BadManifest, Unsupported for an artifact
        that is not an image.
        """
        from dist_tool.images.image import open_image
        from dist_tool.images.layer_fetcher import LayerFetcher, is_local
        from dist_tool.oci.platform import Platform, default_platform

        parsed = self._reference(reference)
        selected = Platform.parse(platform) if platform is not None else default_platform()
        repository = self.repository(parsed.locator, store=store)
        image = open_image(repository, parsed.object_id, selected)
        local = is_local(parsed.locator)
        layers = LayerFetcher(repository, in_place=local or repository.stored)
        return OpenedImage(image, layers, local and not repository.mirrored, repository.stored)

    def _opened_image(self, reference: str | Reference | OpenedImage, platform: str | None) -> OpenedImage:
        return reference if isinstance(reference, OpenedImage) else self.image(reference, platform=platform)

    def unpack(
        self,
        reference: str | Reference | OpenedImage,
        target: str | os.PathLike[str],
        options: UnpackOptions | None = None,
        *,
        platform: str | None = None,
    ) -> Unpacked:
        """Unpack an image to a directory, which appears once every layer is verified. See `images.unpack.unpack`."""
        from dist_tool.images.unpack import UnpackOptions, unpack

        opened = self._opened_image(reference, platform)
        how = options or UnpackOptions()
        how = replace(how, ahead=0 if opened.local else how.ahead, spool=how.spool and not opened.stored)
        return unpack(opened.image, opened.layers, os.fspath(target), how, self.run)

    def export(
        self,
        reference: str | Reference | OpenedImage,
        sink: Sink,
        limits: Limits | None = None,
        *,
        platform: str | None = None,
    ) -> None:
        """Write the merged file system of an image to `sink` as one tar. See `images.export.export`."""
        from dist_tool.images.export import export
        from dist_tool.tar.limits import DEFAULT_LIMITS

        opened = self._opened_image(reference, platform)
        export(opened.image, opened.layers, sink, limits or DEFAULT_LIMITS)

    def cat(
        self,
        reference: str | Reference | OpenedImage,
        paths: Sequence[str | bytes],
        sink: Sink,
        limits: Limits | None = None,
        *,
        platform: str | None = None,
    ) -> None:
        """Write files of an image to `sink`, one after the other. See `images.cat.cat`."""
        from dist_tool.images.cat import cat
        from dist_tool.tar.limits import DEFAULT_LIMITS

        opened = self._opened_image(reference, platform)
        cat(opened.image, opened.layers, [os.fsencode(path) for path in paths], sink, limits or DEFAULT_LIMITS)

    # Closing

    def close(self) -> None:
        """Close every repository and connection. Idempotent."""
        opened, self._opened = self._opened, []
        with closing(self._shared):
            for repository in opened:
                repository.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _hints(hints: Hints | Iterable[str]) -> Hints:
    return hints if isinstance(hints, Hints) else parse_hints(hints)


def open_session(
    settings: Settings | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    timeout_s: float | None = None,
    store: bool | None = None,
    report: Report = no_report,
    progress: Progress = no_progress,
) -> Session:
    """A session with the user's configuration: files and environment, as the command reads them.

    `settings`, if given, replaces them. `config` names a file to read instead of the user's
    own, "" for none. `timeout_s` limits the whole session, counted from now.
    `report` receives notices and `progress` events, from any thread. Raises InvalidArgument for
    a broken configuration.
    """
    if settings is None:
        from dist_tool.config import load_environment

        file = None if config is None else os.fspath(config)
        settings = load_environment(file=file, timeout_s=timeout_s, store=store)
    elif store is not None:
        settings = replace(settings, store=store)
    limit = settings.timeout_s if timeout_s is None else timeout_s
    return Session(settings, Run(report, progress, time.monotonic() + limit if limit else None))
