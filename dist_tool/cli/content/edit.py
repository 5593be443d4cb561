"""`dist content edit`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from dist_tool.cli.content._store import store_options

if TYPE_CHECKING:
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.store.disk import DiskStore

_LIMIT = 64 << 20


@click.command("edit", epilog="Example: EDITOR=\"jq '.annotations.a=1'\" dist content edit NAME  # see docs/content.md")
@click.argument("object_id", metavar="DIGEST|NAME")
@click.option(
    "--validate/--no-validate",
    default=True,
    help="Reject a result that is no longer valid JSON, or a valid manifest or index.",
)
@click.option("--name", metavar="NAME", help="Give the result this name in index.json.")
@store_options
def command(store: DiskStore, object_id: str, validate: bool, name: str | None) -> None:
    """Edit a copy of a blob with $VISUAL or $EDITOR, add the result, and print its digest.

    The original blob and the given name are not changed. If the result is rejected, it stays in a
    temporary file whose path is in the error message.
    """
    from dist_tool.cli._output import print_line
    from dist_tool.errors import DistError

    try:
        if name is not None:
            store.index.check(name)
        desc = store.find(object_id)
        before = store.read(desc, _LIMIT)
        media_type = _type_of(store, desc)
        result = _add(store, _edited(before, media_type, validate=validate), media_type)
        if name is not None:
            store.tag(name, result)
    except DistError as error:
        raise error.with_facts(object_id=object_id) from error.cause
    print_line(str(result.digest))


def _type_of(store: DiskStore, desc: Descriptor) -> str:
    from dist_tool.store.sniff import media_types

    return media_types(store, [desc.digest], store.run)[desc.digest]


def _edited(before: bytes, media_type: str, *, validate: bool) -> bytes:
    """The content after editing. Raises InvalidContent with the path of the file, which is then not removed."""
    import tempfile

    from dist_tool.errors import DistError

    suffix = ".json" if before[:1] == b"{" else ".txt"
    descriptor, path = tempfile.mkstemp(prefix="dist-edit-", suffix=suffix)
    with open(descriptor, "wb") as file:
        file.write(before)
    keep_file = False
    try:
        _run_editor(path)
        after = _content(path)
        if validate:
            _check(before, after, media_type)
    except DistError as error:
        keep_file = _content(path) != before
        if not keep_file:
            raise
        raise error.with_(hint=f"your text is saved in {path}") from error.cause
    finally:
        if not keep_file:
            os.unlink(path)
    return after


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _run_editor(path: str) -> None:
    """Run the editor in a shell, as git does: the variable may contain arguments. Its standard output is our stderr."""
    import subprocess

    from dist_tool.errors import LocalFailure

    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    code = subprocess.run(["/bin/sh", "-c", f'{editor} "$@"', "editor", path], stdout=2, check=False).returncode
    if code:
        raise LocalFailure(f"the editor {editor!r} exited with status {code}")


def _check(before: bytes, after: bytes, media_type: str) -> None:
    from dist_tool.oci.manifest import parse_json, parse_manifest
    from dist_tool.oci.mediatypes import is_manifest_like

    if is_manifest_like(media_type):
        parse_manifest(after, media_type)
    elif before.lstrip()[:1] in (b"{", b"["):
        parse_json(after, limit=_LIMIT)


def _add(store: DiskStore, content: bytes, media_type: str) -> Descriptor:
    from dataclasses import replace

    from dist_tool.errors import AlreadyExists
    from dist_tool.oci.descriptor import Descriptor
    from dist_tool.oci.digest import Digest
    from dist_tool.store.ingest import ref_for

    desc = Descriptor(Digest.of(content), len(content), media_type)
    try:
        with store.writer(ref_for(desc.digest), desc) as writer:
            writer.truncate()
            writer.write(content)
            desc = replace(writer.commit(), media_type=media_type)
    except AlreadyExists:
        pass
    return desc
