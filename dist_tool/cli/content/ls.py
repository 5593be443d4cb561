"""`dist content ls`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from dist_tool.cli.content._store import expand_stdin, names_of, print_json, print_table, show_age, store_options
from dist_tool.errors import InvalidArgument

if TYPE_CHECKING:
    from dist_tool.api import Info
    from dist_tool.oci.digest import Digest
    from dist_tool.store.disk import DiskStore

_KINDS = ("manifest", "index", "config", "layer", "other")


@click.command("ls", epilog="Example: dist content ls -q --type layer --larger 100MiB | dist content path -")
@click.argument("objects", nargs=-1, metavar="[DIGEST|NAME]...")
@click.option("-q", "--quiet", is_flag=True, help="Digests only, one per line.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object per line.")
@click.option("--type", "types", multiple=True, metavar="TYPE", help="Of this type, such as application/* or `layer`.")
@click.option("--larger", metavar="SIZE", help="Larger than this (1048576, 8MiB).")
@click.option("--smaller", metavar="SIZE", help="Smaller than this.")
@click.option("--older", metavar="DURATION", help="Not used for longer than this (90s, 5m, 36h).")
@click.option("--newer", metavar="DURATION", help="Used within this time.")
@click.option("--label", "labels", multiple=True, metavar="KEY[=VALUE]", help="With this label. May be repeated.")
@click.option("--named/--unnamed", default=None, help="With, or without, a name in index.json.")
@store_options
def command(
    store: DiskStore, objects: tuple[str, ...], quiet: bool, as_json: bool, types: tuple[str, ...], **rest: Any
) -> int:
    """List all blobs, or the given ones. `-` reads them from standard input.

    A blob must meet all conditions; of several types it must have one.
    """
    from dist_tool.cli._errors import Failures

    _check_types(types)
    failures = Failures()
    named = names_of(store)
    chosen = _Conditions.parse(**rest).chosen(_infos(store, objects, failures), named)
    media_types = _types(store, chosen, all_of_store=not objects) if types or not quiet else {}
    if types:
        chosen = [info for info in chosen if _matches(media_types[info.digest], types)]
    _print(chosen, media_types, named, quiet=quiet, as_json=as_json)
    return failures.exit_code()


def _infos(store: DiskStore, objects: tuple[str, ...], failures: Any) -> Iterable[Info]:
    if not objects:
        return sorted(store.walk(), key=lambda info: info.digest)
    found = []
    for object_id in expand_stdin(objects):
        with failures.noted(object_id):
            found.append(store.info(store.find(object_id).digest))
    return found


@dataclass(frozen=True, slots=True)
class _Conditions:
    larger: int | None
    smaller: int | None
    older_s: float | None
    newer_s: float | None
    labels: tuple[tuple[str, str | None], ...]
    named: bool | None

    @classmethod
    def parse(cls, labels: tuple[str, ...], named: bool | None, **texts: str | None) -> _Conditions:
        """Parse the options. Raises InvalidArgument for an invalid size or duration."""
        if not any(texts.values()):
            numbers: dict[str, Any] = dict.fromkeys(("larger", "smaller", "older", "newer"))
        else:
            from dist_tool.cli._options import value_of
            from dist_tool.config import parse_age, parse_bytes

            numbers = {name: value_of(f"--{name}", parse_bytes, texts[name]) for name in ("larger", "smaller")}
            numbers |= {name: value_of(f"--{name}", parse_age, texts[name]) for name in ("older", "newer")}
        pairs = tuple((key, value if found else None) for key, found, value in (text.partition("=") for text in labels))
        return cls(numbers["larger"], numbers["smaller"], numbers["older"], numbers["newer"], pairs, named)

    def chosen(self, infos: Iterable[Info], named: dict[Digest, list[str]]) -> list[Info]:
        from time import time

        now = time()
        return [info for info in infos if self._accepts(info, now - info.updated_at, info.digest in named)]

    def _accepts(self, info: Info, age: float, has_name: bool) -> bool:
        return (
            (self.larger is None or info.size > self.larger)
            and (self.smaller is None or info.size < self.smaller)
            and (self.older_s is None or age > self.older_s)
            and (self.newer_s is None or age < self.newer_s)
            and (self.named is None or has_name == self.named)
            and all(key in info.labels and value in (None, info.labels[key]) for key, value in self.labels)
        )


def _types(store: DiskStore, infos: list[Info], *, all_of_store: bool) -> dict[Digest, str]:
    """The media types of the listed blobs. That of a layer is in its manifest, which the conditions may exclude."""
    from dist_tool.store.sniff import media_types

    digests = [info.digest for info in infos]
    inspected = dict.fromkeys([*digests, *store.digests()]) if all_of_store else digests
    return media_types(store, inspected, store.run)


def _check_types(types: tuple[str, ...]) -> None:
    """Raise InvalidArgument for a value that cannot match any media type, instead of listing nothing."""
    for value in types:
        if value not in _KINDS and not set("/*?[") & set(value):
            hint = f"expected {', '.join(_KINDS)}, or a media type such as application/*"
            raise InvalidArgument(f"--type: {value!r} is not a media type", hint=hint)


def _matches(media_type: str, types: tuple[str, ...]) -> bool:
    from fnmatch import fnmatchcase

    from dist_tool.oci.mediatypes import kind

    return any(value == kind(media_type) or fnmatchcase(media_type, value) for value in types)


def _print(
    infos: list[Info], media_types: dict[Digest, str], named: dict[Digest, list[str]], *, quiet: bool, as_json: bool
) -> None:
    from time import time

    from dist_tool.cli._output import print_line

    if as_json:
        for info in infos:
            print_json({**_record(info), "type": media_types.get(info.digest, ""), "names": named.get(info.digest, [])})
    elif quiet:
        for info in infos:
            print_line(str(info.digest))
    else:
        now = time()
        rows = [
            [
                str(info.digest),
                str(info.size),
                show_age(now - info.updated_at),
                media_types[info.digest],
                ",".join(named.get(info.digest, [])) or "-",
                ",".join(f"{key}={value}" for key, value in sorted(info.labels.items())) or "-",
            ]
            for info in infos
        ]
        print_table([["DIGEST", "SIZE", "USED", "TYPE", "NAMES", "LABELS"], *rows], right=frozenset({1, 2}))


def _record(info: Info) -> dict[str, Any]:
    return {
        "digest": str(info.digest),
        "size": info.size,
        "created": info.created_at,
        "used": info.updated_at,
        "labels": dict(info.labels),
    }
