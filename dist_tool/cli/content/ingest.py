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
_EMPTY = "see why the command before the pipe wrote nothing; for an empty blob add --expected-size 0"


class _IngestRequest(NamedTuple):
    """What is to become of the ingest."""

    ref: str
    digest: Digest | None
    size: int | None
    reads: bool
    commits: bool
    appends: bool
    named: bool


@click.command("ingest", epilog="Example: curl -sL $URL | dist content ingest --expected-digest sha256:6e3c…")
@click.argument("ref", required=False)
@click.option("--expected-digest", metavar="DIGEST", help="Refuse any other content.")
@click.option("--expected-size", type=click.IntRange(min=0), metavar="BYTES", help="Refuse any other size.")
@click.option("--append", is_flag=True, help="Add to what is there under REF, and do not commit yet.")
@click.option("--commit", "commit", is_flag=True, help="Commit; alone, without reading standard input.")
@click.option("--label", "labels", multiple=True, metavar="KEY=VALUE", help="Label the blob. May be repeated.")
@click.option("--name", metavar="NAME", help="Give the blob this name in index.json.")
@click.option("--media-type", metavar="TYPE", help="The type to record with --name. Default: what the bytes suggest.")
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
    """Add what standard input gives to the store, and print its digest.

    REF is the key of the write while it is in flight; it may be left out where the digest is
    given. Content that is there already is not read again. A write that was interrupted stays:
    continue it with --append, end it with --commit, drop it with `dist content abort`.
    """
    from dist_tool.cli._output import print_line
    from dist_tool.errors import DistError, InvalidArgument
    from dist_tool.oci.digest import Digest
    from dist_tool.store.ingest import ref_for

    digest = Digest.parse(expected_digest) if expected_digest is not None else None
    if ref is None and digest is None:
        raise InvalidArgument("no REF is given", hint="give one, or --expected-digest")
    parsed_labels = labels_of(labels)
    recorded_type = media_type_of(media_type)
    wanted = _IngestRequest(
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
        found = _ingest(store, wanted)
        if found is None:
            return
        if parsed_labels:
            store.label(found, parsed_labels)
        if name is not None:
            _name(store, name, found, recorded_type)
    except DistError as error:
        raise error.with_facts(object_id=wanted.ref) from error.cause
    print_line(str(found))


def _check_record(store: DiskStore, labels: dict[str, str], name: str | None) -> None:
    """Find what cannot be recorded before the blob is there."""
    if labels:
        store.check_labels(labels)
    if name is not None:
        store.index.check(name)


def _ingest(store: DiskStore, wanted: _IngestRequest) -> Digest | None:
    """The digest once it is in the store, None where nothing was to be committed yet."""
    from dist_tool.errors import AlreadyExists, SizeMismatch
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.oci.digest import Digest

    desc = Descriptor(wanted.digest, wanted.size) if wanted.digest else None
    if desc is not None:
        _distrust_damaged(store, desc.digest)
    if not wanted.reads and (desc is None or store.size(desc.digest) is None):
        store.status(wanted.ref)  # NotFound: an empty blob is not what was meant
    try:
        with _writer(store, wanted, desc) as writer:
            if not wanted.appends:
                writer.truncate()
            if wanted.size is not None or not wanted.appends:
                writer.expect(wanted.size or 0)
            if wanted.reads:
                _read(writer)
            if not wanted.commits:
                return None
            if wanted.named and not writer.offset and desc is None and wanted.size is None:
                raise SizeMismatch("nothing was written, so nothing is named", hint=_EMPTY)
            return writer.commit(desc or _sized(writer, wanted.size)).digest
    except AlreadyExists as found:
        return Digest.parse(found.object_id)


def _distrust_damaged(store: DiskStore, digest: Digest) -> None:
    """Have a damaged blob replaced instead of taken for the content that is expected."""
    from dist_tool.run import Notice
    from dist_tool.store.verify import is_sound

    if store.size(digest) is not None and not is_sound(store, digest):
        show_notice(Notice("warning", f"the stored {digest} is damaged; replacing it"))
        store.distrust(digest)


def _writer(store: DiskStore, wanted: _IngestRequest, desc: Descriptor | None) -> DiskWriter:
    """Whoever wants known content waits for another who writes it; other refs are busy then."""
    from dist_tool.run import Run
    from dist_tool.store.waiting import wait_for_writer

    if desc is None or wanted.appends:
        return store.writer(wanted.ref, desc)
    return wait_for_writer(store, wanted.ref, desc, Run(show_notice))


def _sized(writer: DiskWriter, size: int | None) -> Descriptor | None:
    """What was written, if it has to have a size: 0 is one as well."""
    from dist_tool.oci.descriptor import Descriptor

    return None if size is None else Descriptor(writer.digest(), size)


def _read(writer: DiskWriter) -> None:
    import fcntl
    import io
    from contextlib import suppress

    from dist_tool.cli._output import input_failures

    with suppress(AttributeError, OSError):  # Linux, and a pipe: fewer turns between the two processes
        fcntl.fcntl(0, fcntl.F_SETPIPE_SZ, _PIPE)
    with input_failures(), io.FileIO(0, closefd=False) as source:
        writer.fill(source, direct=True)


def _name(store: DiskStore, name: str, digest: Digest, media_type: str) -> None:
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.store.sniff import sniff

    store.tag(name, Descriptor(digest, None, media_type or sniff(store, digest)))
