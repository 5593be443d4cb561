"""`index.json`: reference names and their descriptors (image-spec image-layout.md).

Entries of other tools are preserved: the file is edited as JSON, not rebuilt from parsed
descriptors, so that unknown fields stay.
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

_WHEN_FULL = "free some space first: `dist content rm DIGEST` and `dist content gc` work on a full disk"
_LIMIT = 64 << 20  # bytes; generous, because the file is the user's own
_LONGEST_NAME = 4096


class Index:
    """The file, read at each call. `put`, `drop` and `create` require the store's lock, exclusive."""

    def __init__(self, path: str) -> None:
        self.path = path

    def entries(self) -> list[Descriptor]:
        """Every entry, in the order of the file; empty if there is no file.

        Raises BadManifest for invalid content, LocalFailure if the file cannot be read.
        """
        return [Descriptor.from_json(entry) for entry in raw_entries(self._load())]

    def names(self) -> Iterator[str]:
        """Every distinct reference name, in the order of the file."""
        return iter(dict.fromkeys(name for entry in self.entries() if (name := name_of(entry))))

    def find(self, ref_name: str, platform: str = "") -> Descriptor:
        """The entry of a name, that of `platform` if it has several.

        Raises NotFound; InvalidContent if it has several digests and `platform` is empty.
        """
        return find_entry(self.entries(), ref_name, platform)

    def check(self, ref_name: str) -> None:
        """Check that a name can be recorded, before its blob is added. Raises as `put`."""
        check_name(ref_name)
        raw_entries(self._load())

    def put(self, ref_name: str, desc: Descriptor, size: int) -> None:
        """Point a name to `desc`, whose blob has `size` bytes, replacing all its entries (behaviours F16).

        Raises InvalidArgument for the name, BadManifest and LocalFailure for the file.
        """
        check_name(ref_name)
        value = self._load()
        entry = named_entry(ref_name, desc, size).to_json()
        value["manifests"] = [*_without(raw_entries(value), ref_name), entry]
        self._save(value)

    def drop(self, ref_name: str) -> None:
        """Remove all entries of a name, if any."""
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
        except UnicodeEncodeError:  # an entry of another tool holds a lone surrogate: preserve it as an escape
            text = json.dumps(value).encode()
        with files.failing("cannot update index.json", when_full=_WHEN_FULL):
            files.write_small(self.path, text, durable=True)


def find_entry(entries: Iterable[Descriptor], ref_name: str, platform: str = "") -> Descriptor:
    """The entry of a name, that of `platform` if it has several. Raises as `Index.find`."""
    found = [entry for entry in entries if entry.annotations.get(REF_NAME) == ref_name]
    if not found:
        raise NotFound(f"{ref_name!r} is not in the store")
    if platform:
        return for_platform(found, platform)
    if len({entry.digest for entry in found}) > 1:
        listed = ", ".join(f"{entry.digest} ({entry.platform or 'no platform'})" for entry in found[:20])
        raise InvalidContent(
            f"{ref_name!r} has {len(found)} entries in index.json", hint=f"give one of these digests instead: {listed}"
        )
    return found[0]


def named_entry(ref_name: str, desc: Descriptor, size: int) -> Descriptor:
    """The index entry for `ref_name` and `desc`, whose blob has `size` bytes."""
    annotations = {**desc.annotations, REF_NAME: ref_name}
    return Descriptor(desc.digest, size, desc.media_type, annotations, desc.platform, desc.artifact_type, desc.urls)


def check_name(ref_name: str) -> None:
    """Raise InvalidArgument unless it is 1 to 4096 printable characters."""
    if not 0 < len(ref_name) <= _LONGEST_NAME or not ref_name.isprintable():
        hint = f"expected 1 to {_LONGEST_NAME} printable characters"
        raise InvalidArgument(f"{ref_name[:80]!r} is not a valid reference name", hint=hint)


def _without(manifests: list[Any], ref_name: str) -> list[Any]:
    return [entry for entry in manifests if name_of_raw(entry) != ref_name]
