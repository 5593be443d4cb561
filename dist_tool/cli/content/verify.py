"""`dist content verify`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from dist_tool.cli.content._store import expand_stdin, print_json, store_options

if TYPE_CHECKING:
    from dist_tool.errors import DistError
    from dist_tool.store.disk import DiskStore
    from dist_tool.store.verify import Verdict


@click.command("verify", epilog="Example: dist content verify | dist content rm -")
@click.argument("objects", nargs=-1, metavar="[DIGEST|NAME]...")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line, for undamaged blobs too.")
@store_options
def command(store: DiskStore, objects: tuple[str, ...], as_json: bool) -> int:
    """Hash all blobs, or the given ones, again, and print the digest of each that is damaged.

    Exits with 5 if there is one. `-` reads digests from standard input.
    """
    from dist_tool.cli._errors import Failures
    from dist_tool.cli._output import print_line

    failures = Failures()
    for verdict in _verdicts(store, objects, failures):
        if as_json:
            print_json({**verdict._asdict(), "digest": str(verdict.digest)})
        if verdict.state != "ok":
            failures.note(_as_error(verdict).with_facts(object_id=str(verdict.digest)))
        if verdict.state == "corrupt" and not as_json:
            print_line(str(verdict.digest))
    return failures.exit_code()


def _verdicts(store: DiskStore, objects: tuple[str, ...], failures: Any) -> Iterator[Verdict]:
    from dist_tool.store.verify import verify, verify_all

    if not objects:
        yield from verify_all(store)
    for object_id in expand_stdin(objects):
        with failures.noted(object_id):
            yield from verify(store, [store.find(object_id).digest])


def _as_error(verdict: Verdict) -> DistError:
    from dist_tool.errors import DigestMismatch, LocalFailure, Unsupported

    if verdict.state == "corrupt":
        return DigestMismatch(verdict.detail, hint="remove the blob with `dist content rm`, and fetch it again")
    return (Unsupported if verdict.state == "unsupported" else LocalFailure)(verdict.detail)
