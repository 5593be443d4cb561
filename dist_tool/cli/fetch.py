"""`dist fetch`."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING

import click

from dist_tool.cli._options import Common, common_options, fetch_options
from dist_tool.errors import DistError, InvalidArgument, LocalFailure

if TYPE_CHECKING:
    from dist_tool.api import Remote
    from dist_tool.spec.descriptor import Descriptor
    from dist_tool.spec.reference import Hints
    from dist_tool.stream import Sink
    from dist_tool.transfer.fetch import Options


@click.command(
    "fetch",
    epilog="Example: dist fetch docker.io/library/redis sha256:a027… | jq -r '.layers[].digest' "
    "| xargs -n1 -P10 dist fetch docker.io/library/redis > /dev/null",
)
@click.argument("locator")
@click.argument("object_id", metavar="OBJECT")
@click.argument("words", metavar="[HINT]...", nargs=-1)
@click.option(
    "-o", "--output", metavar="FILE", help="Write to FILE, which appears only when verified; - is standard output."
)
@click.option(
    "--verify",
    type=click.Choice(["stream", "before"]),
    default="stream",
    help="before: keep a temporary copy and write nothing until the whole is verified. Default: stream.",
)
@click.option("--max-size", metavar="SIZE", help="Refuse an object larger than this (8MiB, 2GB, 1048576).")
@click.option(
    "--lenient", is_flag=True, default=None, help="Warn of a wrong Docker-Content-Digest header instead of failing."
)
@common_options
def command(
    locator: str,
    object_id: str,
    words: tuple[str, ...],
    output: str | None,
    verify: str,
    max_size: str | None,
    lenient: bool | None,
    common: Common,
) -> None:
    """Write one object of a remote to standard output.

    LOCATOR is where: a name (docker.io/library/redis), a directory (./layout) or KIND::REST.
    OBJECT is a tag or a digest. HINT is TYPE:CONTENT advice: size:N, mediatype:TYPE,
    type:manifest|index|config|layer|blob.

    An object of up to 4 MiB is verified before its first byte; of a larger one the end is
    withheld until the whole is verified. The exit code is the verdict.
    """
    from dist_tool.spec.reference import parse_hints, parse_locator
    from dist_tool.transfer.fetch import open_remote

    parsed, hints = parse_locator(locator), parse_hints(words)
    settings = common.settings(max_size=max_size, lenient=lenient)
    try:
        with open_remote(parsed, settings, common.report) as remote:
            options = fetch_options(settings, parsed, common)
            desc = _deliver(remote, object_id, hints, options, output, before=verify == "before")
    except DistError as error:
        error.with_facts(locator=locator, object_id=object_id)
        raise
    from dist_tool.api import Notice

    common.report(Notice("debug", f"{locator} {object_id}: {desc.digest}, {desc.size} bytes, {desc.media_type}"))


def _deliver(
    remote: Remote, object_id: str, hints: Hints, options: Options, output: str | None, *, before: bool
) -> Descriptor:
    from dist_tool.cli._output import file_sink, stdout_sink
    from dist_tool.transfer.fetch import fetch_to

    if output == "":
        raise InvalidArgument("--output: the name is empty")
    if output is not None and output != "-":
        with file_sink(output) as sink:
            return fetch_to(remote, object_id, sink, hints, options)
    sink = stdout_sink(force=output == "-")
    if not before:
        return fetch_to(remote, object_id, sink, hints, options)
    return _spooled(remote, object_id, hints, options, sink)


def _spooled(remote: Remote, object_id: str, hints: Hints, options: Options, sink: Sink) -> Descriptor:
    from tempfile import TemporaryFile

    from dist_tool.stream import CHUNK
    from dist_tool.transfer.fetch import fetch_to

    with TemporaryFile() as spool:
        desc = fetch_to(remote, object_id, lambda data: _keep(spool, data), hints, options)
        spool.seek(0)
        while data := spool.read(CHUNK):
            sink(memoryview(data))
    return desc


def _keep(spool: IO[bytes], data: memoryview) -> None:
    try:
        spool.write(data)
    except OSError as error:
        raise LocalFailure(f"temporary file: {error.strerror}") from error
