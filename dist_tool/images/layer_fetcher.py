"""The bytes of an image's layers, every blob verified: fetched ahead, kept in temporary files, or read in place."""

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

_STOP_S = 2.0  # a worker that waits for a silent source is left behind (it is a daemon)
AHEAD = 4  # layers fetched at the same time
_LOCAL = frozenset({"path", "layout", "archive", "store"})

_T = TypeVar("_T")


def is_local(locator: Locator) -> bool:
    """True for files of this machine. `layout::KIND::REST` is a layout that another remote serves."""
    return locator.kind in _LOCAL and "::" not in locator.rest


class LayerFetcher:
    """The layers of an image in a remote.

    `in_place`: a layer that was opened once is on this machine, and is opened again rather than
    copied to a temporary file when it is read twice.
    """

    in_place = False

    def __init__(self, repository: Repository, *, in_place: bool = False) -> None:
        self._repository = repository
        self._options = repository.options._replace(small=0)  # nothing of a layer is used before all of it is right
        self.may_retract = repository.mirrored and not repository.stored
        self.in_place = in_place and not self.may_retract

    def open(self, layer: Descriptor) -> VerifiedReader:
        """A layer, read from where it is; the end is the verdict."""
        return self._repository.open_known(_bare(layer), options=self._options)[1]

    def reopen(self, layer: Descriptor) -> VerifiedReader:
        """A layer that was opened before, without progress: its bytes were counted then."""
        silent = self._options._replace(run=replace(self._options.run, progress=no_progress))
        return self._repository.open_known(_bare(layer), options=silent)[1]

    def bring(self, layer: Descriptor, spool: Spool) -> None:
        """Write a layer to `spool`, from whichever place has it. Never raises: `spool.read` does."""
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
    """A `Read` for each layer in order, while up to `ahead` of them are being fetched.

    They go to temporary files in `directory`, a path or a descriptor; where it is None to open a
    layer is what brings it near. With `ahead` 0 each layer is opened when its turn comes. With `whole` nothing of a
    layer is given before all of it is right. Reading raises what fetching does, and DataLoss at
    the end of a wrong blob; or the block ends by Retracted, where what it was given was wrong
    and another place may do better.
    """
    if not ahead:
        yield _straight(layers, source)
        return
    fetching = _Fetching(layers, source, directory, min(ahead, max(1, len(layers))), whole=whole)
    try:
        yield fetching.reads()
    except DistError as error:
        if fetching.retracted():
            raise Retracted from error
        raise
    finally:
        fetching.stop()


def _straight(layers: Sequence[Descriptor], source: LayerFetcher) -> Iterator[Read]:
    for layer in layers:
        with source.open(layer) as reader:
            yield reader.read


class _Job:
    """A layer, and how to read it once its turn has come."""

    def __init__(self, layer: Descriptor) -> None:
        self.layer = layer
        self.started = Event()
        self.source: Spool | VerifiedReader | None = None
        self.error: BaseException | None = None

    def close(self) -> None:
        """Let go of what is open. Idempotent."""
        if self.source is not None:
            self.source.close()


class _Fetching:
    """Layers under way: at most twice as many temporary files exist as layers are being fetched."""

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
        except BaseException as error:  # it is raised where the layer is read
            job.error = error
            job.started.set()
            return
        job.source = spool = Spool(self._directory, whole=self._whole)
        job.started.set()
        self._source.bring(job.layer, spool)

    def reads(self) -> Iterator[Read]:
        """The layers' readers, in order; each temporary file goes when the next is asked for."""
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
        """Whether something wrong was read that may be had right; waits until that is known."""
        spools = (job.source for job in self._jobs if isinstance(job.source, Spool))
        return self._source.may_retract and any(spool.retracted() for spool in spools)

    def stop(self) -> None:
        """Begin nothing more; what is under way ends with the next piece that arrives."""
        self._stopped = True
        for _ in self._workers:
            self._window.release()
        self._close()
        for worker in self._workers:
            worker.join(_STOP_S)
        self._close()  # what a worker had just begun

    def _close(self) -> None:
        for job in self._jobs:
            job.close()


class _Opening:
    """A layer that a thread opens, which may take until it is fetched."""

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
        except BaseException as error:  # raised by `reader`, whatever it is
            self._error = error

    def reader(self) -> VerifiedReader:
        """The open layer, for the caller to close. Raises what opening does."""
        self._thread.join()
        reader, self._reader = self._reader, None
        if reader is None:
            assert self._error is not None
            raise self._error
        return reader

    def close(self) -> None:
        """Close a layer that was not asked for. Idempotent."""
        self._thread.join(_STOP_S)
        if self._reader is not None:
            self._reader.close()


class BufferedLayers:
    """Layers that can be read more than once, fetched when they are first asked for.

    A context manager. `ahead` further layers are fetched meanwhile, in the order of the list. What
    is on this machine (`LayerFetcher.in_place`) is read in place, and verified each time; everything
    else is kept in temporary files.
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
        """`work()`, which reads layers while they come: what is wrong with one is found out at its end.

        Where another place may still give what one gave wrong, once more with layers that are
        given when all is right.
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
        """Layer number `index`, uncompressed, from its beginning. It is verified when it was read to its end."""
        algorithm = self._layers[index][1].algorithm
        if not self._source.in_place:
            with LayerStream(self._spool(index).reader().read, limits, algorithm) as stream:
                yield stream
            return
        with self._open(index) as reader, LayerStream(reader.read, limits, algorithm) as stream:
            yield stream

    @contextmanager
    def again(self, index: int, limits: Limits) -> Iterator[LayerStream]:
        """Layer number `index`, which was verified, once more; it need not be read to its end.

        What is read in place may have changed since: the block ends by DataLoss then, and what was
        made of the bytes is wrong.
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
                    _verify_rest(reader)  # other bytes than before are the better reason
                    raise
                stream.finish()
            _verify_rest(reader)

    def check(self, index: int, stream: LayerStream) -> None:
        """Raise DigestMismatch unless the stream, which was read to its end, is that layer."""
        expected, actual = self._layers[index][1], stream.digest()
        if actual != expected:
            raise DigestMismatch(f"the uncompressed layer is {actual}, expected {expected}").with_facts(
                object_id=str(self._layers[index][0].digest)
            )

    def _coming(self, index: int) -> range:
        return range(index, min(index + 1 + self._ahead, len(self._layers)))

    def _spool(self, index: int) -> Spool:
        for number in self._coming(index):
            if number not in self._spools:
                self._start(number)
        return self._spools[index]

    def _start(self, index: int) -> None:
        spool = self._spools[index] = Spool(whole=self._whole)
        worker = start_thread(self._source.bring, self._layers[index][0], spool, name="dist-fetch")
        if worker is None:
            self._source.bring(self._layers[index][0], spool)
        else:
            self._workers.append(worker)

    def _open(self, index: int) -> VerifiedReader:
        for number in self._coming(index):
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
    """Read to the end, which raises DataLoss unless all bytes of the layer were right."""
    buffer = bytearray(INPUT)
    while reader.readinto(buffer):
        pass
