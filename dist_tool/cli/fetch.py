"""`dist fetch`."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from dist_tool.cli._completion import REFERENCE
from dist_tool.cli._delivery import Delivery, delivery_options
from dist_tool.cli._options import Common, common_options, naming
from dist_tool.cli._progress import progress_option

if TYPE_CHECKING:
    from dist_tool.names.hints import Hints
    from dist_tool.transfer.repository import Repository


@click.command(
    "fetch",
    epilog="Example: dist fetch docker.io/library/redis sha256:a027… | jq -r '.layers[].digest' "
    "| xargs -n1 -P10 dist fetch docker.io/library/redis > /dev/null",
)
@click.argument("locator", type=REFERENCE)
@click.argument("object_id", metavar="OBJECT", required=False)
@click.argument("hint_words", metavar="[HINT]...", nargs=-1)
@delivery_options
@click.option("--store/--no-store", default=None, help="Store objects in the local store, and reuse stored ones.")
@click.option("--max-size", metavar="SIZE", help="Refuse larger objects (8MiB, 2GB, 1048576).")
@click.option("--lenient", is_flag=True, default=None, help="Only warn about a wrong Docker-Content-Digest header.")
@progress_option
@common_options
def command(
    locator: str,
    object_id: str | None,
    hint_words: tuple[str, ...],
    store: bool | None,
    max_size: str | None,
    lenient: bool | None,
    progress: str,
    delivery: Delivery,
    common: Common,
) -> int:
    """Write one object of a remote, or many, to standard output.

    LOCATOR is a repository: a name (docker.io/library/redis), a directory or archive (./layout,
    ./redis.tar) or KIND::REST.
    OBJECT is a tag or a digest. HINT is TYPE:CONTENT advice: size:N, mediatype:TYPE,
    type:manifest|index|config|layer|blob.

    An object of up to 4 MiB is verified before its first byte is written; the end of a larger
    object is withheld until the whole is verified. With --stdin, --store or --verify=before no
    unverified byte is written. Check the exit code: the output is complete and correct only
    if it is 0.
    """
    from dist_tool.names.hints import parse_hints

    hints = parse_hints(hint_words)
    delivery = delivery.check(object_id, hint_words)
    settings, run = common.begin(max_size=max_size, lenient=lenient, store=store)
    parsed = settings.locator(locator)
    with naming(locator, parsed, object_id or ""), common.session(settings, run, progress) as session:
        repository = session.repository(parsed)
        if delivery.many:
            from dist_tool.cli._many import fetch_lines

            return fetch_lines(repository, delivery)
        _fetch_one(repository, object_id or "", hints, delivery)
        return 0


def _fetch_one(repository: Repository, object_id: str, hints: Hints, delivery: Delivery) -> None:
    from dist_tool.run import Notice

    with ExitStack() as stack:
        sink = delivery.open(stack)
        if delivery.verify == "before" and not repository.stored:
            from dist_tool.cli._many import spooled

            verified = spooled(repository, object_id, hints)
            with verified.content:
                verified.content.copy_to(sink)
            desc = verified.desc
        else:
            desc = repository.fetch_to(object_id, sink, hints)
    name = "" if object_id == str(desc.digest) else f"{object_id} is "
    text = f"{name}{desc.digest}, {desc.size} bytes, {desc.media_type}"
    repository.options.run.report(Notice("debug", text))
