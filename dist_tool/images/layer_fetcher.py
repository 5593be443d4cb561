"""Fetch an image's layers, each blob verified: ahead of use, through temporary files, or read in place."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Event, Lock, Semaphore, Thread
from typing import TypeVar

from dist_tool.errors import DigestMismatch, DistError, InvalidContent
from dist_tool.layers.compression import INPUT, Read
from dist_tool.layers.decompressor import LayerStream
from dist_tool.names.locator import Locator
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.digest import Digest
from dist_tool.run import no_progress
from dist_tool.stream.spool import Retracted, Spool
from dist_tool.stream.verify import VerifiedReader
from dist_tool.tar.limits import Limits
from dist_tool.threads import start_thread
from dist_tool.transfer.repository import Repository

_STOP_S = 2.0  # a worker blocked on a silent source is abandoned (it is a daemon thread)
AHEAD = 4  # layers fetched at the same time
_LOCAL = frozenset({"path", "layout", "archive", "store"})

_T = TypeVar("_T")


def is_local(locator: Locator) -> bool:
    """Return True for local files. `layout::KIND::REST` is a layout that another remote serves."""
    return locator.kind in _LOCAL and "::" not in locator.rest


class LayerFetcher:
    """Fetches an image's layers from a remote.

    `in_place`: a layer that has been opened once is on this machine; it is opened again for a
    second read, not copied to a temporary file.
    """

    in_place = False

    def __init__(self, repository: Repository, *, in_place: bool = False) -> None:
        self._repository = repository
        self._options = repository.options._replace(small=0)  # results are used only after verification
        self.may_retract = repository.mirrored and not repository.stored
        self.in_place = in_place and not self.may_retract

    def open(self, layer: Descriptor) -> VerifiedReader:
        """Open a layer for reading. Its last read raises if the digest does not match."""
        return self._repository.open_known(_bare(layer), options=self._options)[1]

    def reopen(self, layer: Descriptor) -> VerifiedReader:
        """Open a layer again, without progress events: its bytes have been counted."""
        silent = self._options._replace(run=replace(self._options.run, progress=no_progress))
        return self._repository.open_known(_bare(layer), options=silent)[1]

    def fetch_into(self, layer: Descriptor, spool: Spool) -> None:
        """Fetch a layer into `spool`. Never raises: an error is raised by `spool.read`."""
        try:
            self._repository.fetch_known(_bare(layer), spool, options=self._options)
        except BaseException as error:
            spool.fail(error)
        else:
            spool.end()


def _bare(layer: Descriptor) -> Descriptor:
    return replace(layer, data=None, annotations={})


@contextmanager
def fetched_ahead(
    layers: Sequence[Descriptor],
    source: LayerFetcher,
    *,
    directory: str | int | None = None,
    ahead: int = AHEAD,
    whole: bool = False,
) -> Iterator[Iterator[Read]]:
    """Yield a `Read` for each layer in order, while up to `ahead` layers are fetched concurrently.

    Layers are fetched into temporary files in `directory`, a path or a descriptor. If it is None,
    opening a layer fetches it (into the store). With `ahead` 0 each layer is opened when its turn
    comes. With `whole` no byte of a layer is returned before the whole layer is verified. Reading
    raises the errors of fetching, and DataLoss at the end of a corrupt blob. The block raises
    Retracted if it has read corrupt bytes and another mirror may have the right ones.
    """
    if not ahead:
        yield _one_at_a_time(layers, source)
        return
    fetching = _Prefetcher(layers, source, directory, min(ahead, max(1, len(layers))), whole=whole)
    try:
        yield fetching.reads()
    except DistError as error:
        if fetching.retracted():
            raise Retracted from error
        raise
    finally:
        fetching.stop()


def _one_at_a_time(layers: Sequence[Descriptor], source: LayerFetcher) -> Iterator[Read]:
    for layer in layers:
        with source.open(layer) as reader:
            yield reader.read


class _Job:
    """A layer, and its open source once `started` is set."""

    def __init__(self, layer: Descriptor) -> None:
        self.layer = layer
        self.started = Event()
        self.source: Spool | VerifiedReader | None = None
        self.error: BaseException | None = None

    def close(self) -> None:
        """Close the source. Idempotent."""
        if self.source is not None:
            self.source.close()


class _Prefetcher:
    """Fetch layers in worker threads. At most `2 * ahead` temporary files exist at a time."""

    def __init__(
        self,
        layers: Sequence[Descriptor],
        source: LayerFetcher,
        directory: str | int | None,
        ahead: int,
        *,
        whole: bool,
    ) -> None:
        self._source = source
        self._directory = directory
        self._whole = whole
        self._jobs = [_Job(layer) for layer in layers]
        self._todo = iter(self._jobs)
        self._next = Lock()
        self._window = Semaphore(2 * ahead)
        self._stopped = False
        started = (start_thread(self._run, name="dist-fetch") for _ in range(ahead))
        self._workers = [worker for worker in started if worker is not None]

    def _run(self) -> None:
        while True:
            self._window.acquire()
            with self._next:
                job = None if self._stopped else next(self._todo, None)
            if job is None:
                return
            self._fetch(job)

    def _fetch(self, job: _Job) -> None:
        try:
            if self._directory is None:
                job.source = self._source.open(job.layer)
                job.started.set()
                return
        except BaseException as error:  # raised by `reads`
            job.error = error
            job.started.set()
            return
        job.source = spool = Spool(self._directory, whole=self._whole)
        job.started.set()
        self._source.fetch_into(job.layer, spool)

    def reads(self) -> Iterator[Read]:
        """Yield the layers' readers, in order; each temporary file is removed when the next reader is requested."""
        for job in self._jobs:
            if not self._workers:
                self._fetch(job)
            job.started.wait()
            if job.source is None:
                assert job.error is not None
                raise job.error
            yield (job.source.reader() if isinstance(job.source, Spool) else job.source).read
            job.close()
            self._window.release()

    def retracted(self) -> bool:
        """Whether corrupt bytes were read that another mirror may have right; waits until that is known."""
        spools = (job.source for job in self._jobs if isinstance(job.source, Spool))
        return self._source.may_retract and any(spool.retracted() for spool in spools)

    def stop(self) -> None:
        """Start no more fetches; running ones end when their next chunk arrives."""
        self._stopped = True
        for _ in self._workers:
            self._window.release()
        self._close()
        for worker in self._workers:
            worker.join(_STOP_S)
        self._close()  # sources that a worker opened in the meantime

    def _close(self) -> None:
        for job in self._jobs:
            job.close()


class _Opening:
    """A layer that a background thread opens; opening may include fetching all of it."""

    def __init__(self, source: LayerFetcher, layer: Descriptor) -> None:
        self._source = source
        self._layer = layer
        self._reader: VerifiedReader | None = None
        self._error: BaseException | None = None
        self._thread = Thread(target=self._run, name="dist-fetch", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._reader = self._source.open(self._layer)
        except BaseException as error:  # raised by `reader`
            self._error = error

    def reader(self) -> VerifiedReader:
        """The open layer, which the caller closes. Raises the error of opening."""
        self._thread.join()
        reader, self._reader = self._reader, None
        if reader is None:
            assert self._error is not None
            raise self._error
        return reader

    def close(self) -> None:
        """Close a layer that `reader` has not returned. Idempotent."""
        self._thread.join(_STOP_S)
        if self._reader is not None:
            self._reader.close()


class BufferedLayers:
    """Layers that can be read more than once, fetched on first use.

    A context manager. Meanwhile up to `ahead` further layers are fetched, in list order. Local
    layers (`LayerFetcher.in_place`) are read in place and verified on each read; all others are
    buffered in temporary files.
    """

    def __init__(self, layers: Sequence[tuple[Descriptor, Digest]], source: LayerFetcher, ahead: int = 0) -> None:
        self._layers = layers
        self._source = source
        self._ahead = ahead
        self._whole = False
        self._spools: dict[int, Spool] = {}
        self._workers: list[Thread] = []
        self._openings: dict[int, _Opening] = {}
        self._opened: set[int] = set()

    def __len__(self) -> int:
        return len(self._layers)

    def first(self, work: Callable[[], _T]) -> _T:
        """Run `work`, which reads layers while they are fetched; a corrupt layer is detected at its end.

        If a layer was corrupt and another mirror may have it right, run `work` a second time,
        with each layer readable only after it is verified.
        """
        try:
            return work()
        except (DistError, Retracted):
            spools = self._spools.values()
            if not (self._source.may_retract and any(spool.retracted() for spool in spools)):
                raise
        self._whole = True
        for spool in spools:
            spool.distrust()
        return work()

    @contextmanager
    def stream(self, index: int, limits: Limits) -> Iterator[LayerStream]:
        """Layer number `index`, uncompressed, from the start. The blob is verified once it is read to the end."""
        algorithm = self._layers[index][1].algorithm
        if not self._source.in_place:
            with LayerStream(self._spool(index).reader().read, limits, algorithm) as stream:
                yield stream
            return
        with self._open(index) as reader, LayerStream(reader.read, limits, algorithm) as stream:
            yield stream

    @contextmanager
    def again(self, index: int, limits: Limits) -> Iterator[LayerStream]:
        """Layer number `index`, already verified, from the start; it need not be read to the end.

        A layer that is read in place may have changed since. The block then raises DataLoss, and
        the bytes that it has read are invalid.
        """
        if not self._source.in_place:
            with LayerStream(self._spools[index].reader().read, limits, None) as stream:
                yield stream
            return
        with self._source.reopen(self._layers[index][0]) as reader:
            with LayerStream(reader.read, limits, None) as stream:
                try:
                    yield stream
                except InvalidContent:
                    stream.finish()
                    _verify_rest(reader)  # if the bytes have changed, DataLoss is the better error
                    raise
                stream.finish()
            _verify_rest(reader)

    def check(self, index: int, stream: LayerStream) -> None:
        """Raise DigestMismatch unless the stream, read to its end, has the diff ID of layer `index`."""
        expected, actual = self._layers[index][1], stream.digest()
        if actual != expected:
            raise DigestMismatch(f"the uncompressed layer is {actual}, expected {expected}").with_facts(
                object_id=str(self._layers[index][0].digest)
            )

    def _lookahead(self, index: int) -> range:
        return range(index, min(index + 1 + self._ahead, len(self._layers)))

    def _spool(self, index: int) -> Spool:
        for number in self._lookahead(index):
            if number not in self._spools:
                self._start(number)
        return self._spools[index]

    def _start(self, index: int) -> None:
        spool = self._spools[index] = Spool(whole=self._whole)
        worker = start_thread(self._source.fetch_into, self._layers[index][0], spool, name="dist-fetch")
        if worker is None:
            self._source.fetch_into(self._layers[index][0], spool)
        else:
            self._workers.append(worker)

    def _open(self, index: int) -> VerifiedReader:
        for number in self._lookahead(index):
            if self._ahead and number not in self._opened:
                self._openings[number] = _Opening(self._source, self._layers[number][0])
                self._opened.add(number)
        opening = self._openings.pop(index, None)
        if opening is not None:
            return opening.reader()
        layer = self._layers[index][0]
        reader = self._source.reopen(layer) if index in self._opened else self._source.open(layer)
        self._opened.add(index)
        return reader

    def __enter__(self) -> BufferedLayers:
        return self

    def __exit__(self, *exc: object) -> None:
        for spool in self._spools.values():
            spool.close()
        for opening in self._openings.values():
            opening.close()
        for worker in self._workers:
            worker.join(_STOP_S)


def _verify_rest(reader: VerifiedReader) -> None:
    """Read to the end. Raises DataLoss unless the whole layer matches its digest."""
    buffer = bytearray(INPUT)
    while reader.readinto(buffer):
        pass
