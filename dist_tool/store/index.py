"""`index.json`: which names there are and what they mean (image-spec image-layout.md).

What other tools wrote there is kept as it is: entries are changed as JSON, not rebuilt from
what this program knows of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from dist_tool.errors import BadManifest, InvalidArgument, InvalidContent, NotFound
from dist_tool.oci.descriptor import Descriptor
from dist_tool.oci.layout import REF_NAME, for_platform, index_document, name_of, name_of_raw, raw_entries
from dist_tool.oci.manifest import parse_json
from dist_tool.store import files

_WHEN_FULL = "free some space first: `dist content rm DIGEST` and `dist content gc` need none"
_LIMIT = 64 << 20  # bytes: the user's own file, so only sanity bounds it
_LONGEST_NAME = 4096


class Index:
    """The file, read when asked. `put`, `drop` and `create` want the store's lock to be held."""

    def __init__(self, path: str) -> None:
        self.path = path

    def entries(self) -> list[Descriptor]:
        """Every entry, in the file's order; none where there is no file.

        Raises BadManifest, and LocalFailure where it cannot be read.
        """
        return [Descriptor.from_json(entry) for entry in raw_entries(self._load())]

    def names(self) -> Iterator[str]:
        """Every reference name, once, in the file's order."""
        return iter(dict.fromkeys(name for entry in self.entries() if (name := name_of(entry))))

    def find(self, ref_name: str, platform: str = "") -> Descriptor:
        """What a name means, for one platform if it has several entries.

        Raises NotFound; InvalidContent if it means two things and no platform tells which.
        """
        return find_entry(self.entries(), ref_name, platform)

    def check(self, ref_name: str) -> None:
        """See that a name can be recorded, before its blob is added. Raises as `put` would."""
        check_name(ref_name)
        raw_entries(self._load())

    def put(self, ref_name: str, desc: Descriptor, size: int) -> None:
        """Make a name mean `desc`, whose blob has `size` bytes, in place of all it meant (F16)."""
        check_name(ref_name)
        value = self._load()
        entry = named_entry(ref_name, desc, size).to_json()
        value["manifests"] = [*_without(raw_entries(value), ref_name), entry]
        self._save(value)

    def drop(self, ref_name: str) -> None:
        """Forget a name; one that is not there is fine."""
        value = self._load()
        value["manifests"] = _without(raw_entries(value), ref_name)
        self._save(value)

    def create(self) -> None:
        """Write an index without entries."""
        self._save(index_document())

    def _load(self) -> dict[str, Any]:
        with files.failing(f"cannot read {self.path}"):
            text = files.read_small(self.path, _LIMIT)
        value = index_document() if text is None else parse_json(text, limit=_LIMIT)
        if not isinstance(value, dict):
            raise BadManifest("index.json is not a JSON object")
        return value

    def _save(self, value: dict[str, Any]) -> None:
        try:
            text = json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # another tool's entry holds half of a surrogate pair: escaped, it can stay
            text = json.dumps(value).encode()
        with files.failing("cannot update index.json", when_full=_WHEN_FULL):
            files.write_small(self.path, text, durable=True)


def find_entry(entries: Iterable[Descriptor], ref_name: str, platform: str = "") -> Descriptor:
    """The entry of a name, for one platform if it has several. Raises as `Index.find`."""
    found = [entry for entry in entries if entry.annotations.get(REF_NAME) == ref_name]
    if not found:
        raise NotFound(f"{ref_name!r} is not in the store")
    if platform:
        return for_platform(found, platform)
    if len({entry.digest for entry in found}) > 1:
        listed = ", ".join(f"{entry.digest} ({entry.platform or 'no platform'})" for entry in found[:20])
        raise InvalidContent(
            f"{ref_name!r} has {len(found)} entries in index.json", hint=f"name one by digest: {listed}"
        )
    return found[0]


def named_entry(ref_name: str, desc: Descriptor, size: int) -> Descriptor:
    """The entry that makes a name mean `desc`, whose blob has `size` bytes."""
    annotations = {**desc.annotations, REF_NAME: ref_name}
    return Descriptor(desc.digest, size, desc.media_type, annotations, desc.platform, desc.artifact_type, desc.urls)


def check_name(ref_name: str) -> None:
    """Raise InvalidArgument unless it is 1 to 4096 printable characters."""
    if not 0 < len(ref_name) <= _LONGEST_NAME or not ref_name.isprintable():
        raise InvalidArgument(f"{ref_name[:80]!r} cannot be a reference name")


def _without(manifests: list[Any], ref_name: str) -> list[Any]:
    return [entry for entry in manifests if name_of_raw(entry) != ref_name]
