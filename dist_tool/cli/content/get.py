"""`dist content get`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import FILE
from dist_tool.cli.content._store import store_options

if TYPE_CHECKING:
    from dist_tool.store.blobs import OpenBlob
    from dist_tool.store.disk import DiskStore
    from dist_tool.stream.pump import Sink


@click.command("get", epilog="Example: dist content get docker.io/library/redis:latest | jq .")
@click.argument("object_id", metavar="DIGEST|NAME")
@click.option("--offset", default=0, type=click.IntRange(min=0), metavar="BYTES", help="Start at this offset.")
@click.option("--size", type=click.IntRange(min=0), metavar="BYTES", help="Write at most this many bytes.")
@click.option("-o", "--output", type=FILE, help="Replace FILE atomically; - is standard output, even a terminal.")
@store_options
def command(store: DiskStore, object_id: str, offset: int, size: int | None, output: str | None) -> None:
    """Write a blob, or a part of it, to standard output. The whole blob is verified either way.

    A part is written only after the whole blob has been hashed; a whole blob as by `dist fetch`.
    """
    from dist_tool.cli._output import file_sink, stdout_sink
    from dist_tool.errors import DistError

    try:
        if output is None or output == "-":
            _copy(store, object_id, (offset, size), stdout_sink(force=output is not None))
        else:
            with file_sink(output) as sink:
                _copy(store, object_id, (offset, size), sink)
    except DistError as error:
        raise error.with_facts(object_id=object_id) from error.cause


def _copy(store: DiskStore, object_id: str, part: tuple[int, int | None], sink: Sink) -> None:
    from dist_tool.stream.pump import pump
    from dist_tool.stream.verify import Verifier

    desc = store.find(object_id)
    verifier = Verifier(desc.digest, desc.size, source="the store")
    with store.open(desc) as blob:
        if part == (0, None):
            pump(blob, verifier, sink)
        else:
            pump(blob, verifier, _discard)
            _copy_part(blob, part, sink)


def _discard(data: memoryview) -> None:
    """Sink that discards the data."""


def _copy_part(blob: OpenBlob, part: tuple[int, int | None], sink: Sink) -> None:
    import os

    from dist_tool.store.files import failing
    from dist_tool.stream.body import CHUNK

    offset, size = part
    left = blob.total or 0 if size is None else size
    buffer = memoryview(bytearray(CHUNK))
    while left > 0:
        with failing("cannot read from the store"):
            got = os.preadv(blob.fileno(), [buffer[: min(left, CHUNK)]], offset)
        if not got:
            return
        sink(buffer[:got])
        offset, left = offset + got, left - got
