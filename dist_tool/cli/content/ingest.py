"""`dist content ingest`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import click

from dist_tool.cli._options import show_notice
from dist_tool.cli.content._store import labels_of, media_type_of, new_store_options

if TYPE_CHECKING:
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.oci.digest import Digest
    from dist_tool.store.disk import DiskStore
    from dist_tool.store.writer import DiskWriter


_PIPE = 1 << 20
_EMPTY = "check the command before the pipe; for an empty blob add --expected-size 0"


class _IngestRequest(NamedTuple):
    """Parsed arguments of one ingest."""

    ref: str
    digest: Digest | None
    size: int | None
    reads: bool
    commits: bool
    appends: bool
    named: bool


@click.command("ingest", epilog="Example: curl -sL $URL | dist content ingest --expected-digest sha256:6e3c…")
@click.argument("ref", required=False)
@click.option("--expected-digest", metavar="DIGEST", help="Reject any other content.")
@click.option("--expected-size", type=click.IntRange(min=0), metavar="BYTES", help="Reject any other size.")
@click.option("--append", is_flag=True, help="Append to the write REF, and do not commit.")
@click.option("--commit", "commit", is_flag=True, help="Commit; without --append, standard input is not read.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label the blob. May be repeated.")
@click.option("--name", metavar="NAME", help="Give the blob this name in index.json.")
@click.option("--media-type", metavar="TYPE", help="The type to record with --name. Default: guessed from the content.")
@new_store_options
def command(
    store: DiskStore,
    ref: str | None,
    expected_digest: str | None,
    expected_size: int | None,
    append: bool,
    commit: bool,
    labels: tuple[str, ...],
    name: str | None,
    media_type: str | None,
) -> None:
    """Add standard input to the store as a blob, and print its digest.

    REF is the key of the write while it is in flight; it may be omitted with --expected-digest.
    If the expected content exists already, standard input is not read. An interrupted write stays:
    continue it with --append, finish it with --commit, remove it with `dist content abort`.
    """
    from dist_tool.cli._output import print_line
    from dist_tool.errors import DistError, InvalidArgument
    from dist_tool.oci.digest import Digest
    from dist_tool.store.ingest import ref_for

    digest = Digest.parse(expected_digest) if expected_digest is not None else None
    if ref is None and digest is None:
        raise InvalidArgument("REF is missing", hint="give one, or --expected-digest")
    parsed_labels = labels_of(labels)
    recorded_type = media_type_of(media_type)
    request = _IngestRequest(
        ref if ref is not None else ref_for(digest) if digest else "",
        digest,
        expected_size,
        reads=append or not commit,
        commits=commit or not append,
        appends=append or commit,
        named=name is not None,
    )
    try:
        _check_record(store, parsed_labels, name)
        found = _ingest(store, request)
        if found is None:
            return
        if parsed_labels:
            store.label(found, parsed_labels)
        if name is not None:
            _name(store, name, found, recorded_type)
    except DistError as error:
        raise error.with_facts(object_id=request.ref) from error.cause
    print_line(str(found))


def _check_record(store: DiskStore, labels: dict[str, str], name: str | None) -> None:
    """Check that labels and the name can be recorded, before the blob is added."""
    if labels:
        store.check_labels(labels)
    if name is not None:
        store.index.check(name)


def _ingest(store: DiskStore, request: _IngestRequest) -> Digest | None:
    """The digest of the committed blob, None if the request does not commit."""
    from dist_tool.errors import AlreadyExists, SizeMismatch
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.oci.digest import Digest

    desc = Descriptor(request.digest, request.size) if request.digest else None
    if desc is not None:
        _distrust_damaged(store, desc.digest)
    if not request.reads and (desc is None or store.size(desc.digest) is None):
        store.status(request.ref)  # raises NotFound instead of committing an empty blob
    try:
        with _writer(store, request, desc) as writer:
            if not request.appends:
                writer.truncate()
            if request.size is not None or not request.appends:
                writer.expect(request.size or 0)
            if request.reads:
                _read(writer)
            if not request.commits:
                return None
            if request.named and not writer.offset and desc is None and request.size is None:
                raise SizeMismatch("standard input is empty; the name was not recorded", hint=_EMPTY)
            return writer.commit(desc or _sized(writer, request.size)).digest
    except AlreadyExists as found:
        return Digest.parse(found.object_id)


def _distrust_damaged(store: DiskStore, digest: Digest) -> None:
    """Distrust the expected blob if it is damaged, so that it is replaced instead of reported as existing."""
    from dist_tool.run import Notice
    from dist_tool.store.verify import is_sound

    if store.size(digest) is not None and not is_sound(store, digest):
        show_notice(Notice("warning", f"the stored {digest} is damaged; replacing it"))
        store.distrust(digest)


def _writer(store: DiskStore, request: _IngestRequest, desc: Descriptor | None) -> DiskWriter:
    """Open the writer. With an expected digest and no --append, wait for another writer; else raise Locked."""
    from dist_tool.run import Run
    from dist_tool.store.waiting import wait_for_writer

    if desc is None or request.appends:
        return store.writer(request.ref, desc)
    return wait_for_writer(store, request.ref, desc, Run(show_notice))


def _sized(writer: DiskWriter, size: int | None) -> Descriptor | None:
    """The descriptor of the written bytes with the expected size, 0 included; None without one."""
    from dist_tool.oci.descriptor import Descriptor

    return None if size is None else Descriptor(writer.digest(), size)


def _read(writer: DiskWriter) -> None:
    import fcntl
    import io
    from contextlib import suppress

    from dist_tool.cli._output import input_failures

    with suppress(AttributeError, OSError):  # pipes on Linux only: a larger buffer means fewer context switches
        fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, _PIPE)
    with input_failures(), io.FileIO(0, closefd=False) as source:
        writer.fill(source, direct=True)


def _name(store: DiskStore, name: str, digest: Digest, media_type: str) -> None:
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.store.sniff import sniff

    store.tag(name, Descriptor(digest, None, media_type or sniff(store, digest)))
