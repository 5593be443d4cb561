"""The bytes of an image's layers, fetched ahead of whoever reads them, every blob verified."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from threading import Condition, Event, Lock, Semaphore, Thread

from dist_tool.api import Remote
from dist_tool.errors import DigestMismatch, LocalFailure
from dist_tool.layers.compression import Read
from dist_tool.layers.limits import Limits
from dist_tool.layers.pipeline import LayerStream
from dist_tool.spec.descriptor import Descriptor
from dist_tool.spec.digest import Digest
from dist_tool.spec.reference import Locator
from dist_tool.stream import CHUNK, VerifiedReader
from dist_tool.transfer.fetch import Options, open_descriptor
from dist_tool.transfer.watch import watching

_STOP_S = 2.0  # a worker that waits for a silent source is left behind (it is a daemon)
AHEAD = 4  # layers fetched at the same time
_LOCAL = frozenset({"path", "layout", "archive", "store"})

OpenLayer = Callable[[Descriptor], VerifiedReader]


def is_local(locator: Locator) -> bool:
    """True for places that are as near as a temporary file would be."""
    return locator.kind in _LOCAL


def layer_opener(remote: Remote, options: Options) -> OpenLayer:
    """How layers of a remote are opened: the end of what it gives is the verdict."""

    def open_layer(desc: Descriptor) -> VerifiedReader:
        opened = open_descriptor(remote, replace(desc, data=None, annotations={}), options=options)
        return VerifiedReader(watching(opened.source, str(desc.digest), options.progress), opened.verifier)

    return open_layer


class Spool:
    """A blob that one thread writes to a temporary file while another reads it.

    What the writer raises comes out of `read`, after the bytes that were there before it.
    """

    def __init__(self, directory: str | None = None) -> None:
        self._file = tempfile.TemporaryFile(dir=directory, buffering=0)  # noqa: SIM115  `close` closes it
        self._changed = Condition()
        self._written = 0
        self._error: BaseException | None = None
        self._ended = False
        self._position = 0

    def fill(self, reader: VerifiedReader) -> None:
        """Copy the whole of `reader`. Never raises: `read` does."""
        try:
            while data := reader.read(CHUNK):
                self._append(data)
        except BaseException as error:
            self.fail(error)
        else:
            with self._changed:
                self._ended = True
                self._changed.notify()

    def _append(self, data: bytes) -> None:
        # Under the lock: a descriptor that `close` gave back may be another file's by now.
        with self._changed:
            if self._file.closed:
                raise LocalFailure("the temporary file is closed: nobody reads it any more")
            try:
                os.pwrite(self._file.fileno(), data, self._written)
            except OSError as error:
                raise LocalFailure(f"temporary file: {error.strerror}") from error
            self._written += len(data)
            self._changed.notify()

    def fail(self, error: BaseException) -> None:
        """Let `read` raise."""
        with self._changed:
            self._error = error
            self._changed.notify()

    def read(self, size: int) -> bytes:
        """Up to `size` bytes as soon as there are some; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._ended or self._error or self._written > self._position)
            available = self._written - self._position
            if not available and self._error is not None:
                raise self._error
            data = os.pread(self._file.fileno(), min(size, available), self._position)
        self._position += len(data)
        return data

    def rewind(self) -> None:
        """Read from the beginning again."""
        self._position = 0

    def close(self) -> None:
        """Let go of the file. Idempotent."""
        with self._changed:
            self._file.close()


@contextmanager
def fetched_ahead(
    layers: Sequence[Descriptor], open_layer: OpenLayer, *, directory: str | None = None, ahead: int = AHEAD
) -> Iterator[Iterator[Read]]:
    """A `Read` for each layer in order, while up to `ahead` of them are being fetched.

    They go to temporary files in `directory`; where it is None `open_layer` itself has brought
    a layer near when it returns. With `ahead` 0 each layer is opened when its turn comes.
    Reading raises what fetching does, and DataLoss at the end of a wrong blob.
    """
    if not ahead:
        yield _straight(layers, open_layer)
        return
    fetching = _Fetching(layers, (open_layer, directory), min(ahead, max(1, len(layers))))
    try:
        yield fetching.reads()
    finally:
        fetching.stop()


def _straight(layers: Sequence[Descriptor], open_layer: OpenLayer) -> Iterator[Read]:
    for layer in layers:
        with open_layer(layer) as reader:
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

    def __init__(self, layers: Sequence[Descriptor], source: tuple[OpenLayer, str | None], ahead: int) -> None:
        self._open_layer, self._directory = source
        self._jobs = [_Job(layer) for layer in layers]
        self._todo = iter(self._jobs)
        self._next = Lock()
        self._window = Semaphore(2 * ahead)
        self._stopped = False
        self._workers = [Thread(target=self._run, name="dist-fetch", daemon=True) for _ in range(ahead)]
        for worker in self._workers:
            worker.start()

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
                job.source = self._open_layer(job.layer)
                job.started.set()
                return
            spool = job.source = Spool(self._directory)
            job.started.set()
            with self._open_layer(job.layer) as reader:
                spool.fill(reader)
        except BaseException as error:  # it is raised where the layer is read
            job.error = error
            if isinstance(job.source, Spool):
                job.source.fail(error)
            job.started.set()

    def reads(self) -> Iterator[Read]:
        """The layers' readers, in order; each temporary file goes when the next is asked for."""
        for job in self._jobs:
            job.started.wait()
            if job.source is None:
                assert job.error is not None
                raise job.error
            yield job.source.read
            job.close()
            self._window.release()

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


class KeptLayers:
    """Layers as verified temporary files, fetched when they are first asked for and read again at will.

    A context manager. `ahead` further layers are fetched meanwhile, in the order of the list.
    """

    def __init__(self, layers: Sequence[tuple[Descriptor, Digest]], open_layer: OpenLayer, ahead: int = 0) -> None:
        self._layers = layers
        self._open_layer = open_layer
        self._ahead = ahead
        self._spools: dict[int, Spool] = {}
        self._workers: list[Thread] = []

    def __len__(self) -> int:
        return len(self._layers)

    def stream(self, index: int, limits: Limits) -> LayerStream:
        """Layer number `index`, uncompressed, from its beginning; the caller closes it."""
        for number in range(index, min(index + 1 + self._ahead, len(self._layers))):
            self._start(number)
        spool = self._spools[index]
        spool.rewind()
        return LayerStream(spool.read, limits, self._layers[index][1].algorithm)

    def check(self, index: int, stream: LayerStream) -> None:
        """Raise DigestMismatch unless the stream, which was read to its end, is that layer."""
        expected, actual = self._layers[index][1], stream.digest()
        if actual != expected:
            raise DigestMismatch(f"the uncompressed layer is {actual}, expected {expected}").with_facts(
                object_id=str(self._layers[index][0].digest)
            )

    def _start(self, index: int) -> None:
        if index in self._spools:
            return
        spool = self._spools[index] = Spool()

        def run() -> None:
            try:
                with self._open_layer(self._layers[index][0]) as reader:
                    spool.fill(reader)
            except BaseException as error:  # it is raised where the layer is read
                spool.fail(error)

        worker = Thread(target=run, name="dist-fetch", daemon=True)
        self._workers.append(worker)
        worker.start()

    def __enter__(self) -> KeptLayers:
        return self

    def __exit__(self, *exc: object) -> None:
        for spool in self._spools.values():
            spool.close()
        for worker in self._workers:
            worker.join(_STOP_S)
