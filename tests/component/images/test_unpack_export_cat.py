"""Random images: `unpack`, `export` into GNU tar, and `cat` agree on every name, attribute and byte."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import tars
from support.content import write_layout
from support.layers import Heard, image_of, opened
from support.model import Model, Refused
from support.model import Step as ModelStep
from support.trees import Node, differences, snapshot

from dist_tool.errors import DistError, InvalidArgument, InvalidContent, NotFound, UnsafePath
from dist_tool.images.cat import cat
from dist_tool.images.export import export
from dist_tool.images.unpack import UnpackOptions, unpack
from dist_tool.run import Run

pytestmark = pytest.mark.skipif(shutil.which("tar") is None, reason="needs tar")

_ROOT = os.geteuid() == 0
_LINKS = 40
_LONG = b"n" * 120
NAMES = st.sampled_from([b"a", b"b", b"c", b"d-", b"caf\xe9", _LONG])
COMMON = st.sampled_from([b"a", b"b", b"c"])
PATHS = st.lists(COMMON, min_size=1, max_size=3).map(b"/".join) | st.lists(NAMES, min_size=1, max_size=4).map(b"/".join)
WILD = st.lists(st.sampled_from([b"a", b"b", b"c", b"..", b".", b""]), min_size=1, max_size=4).map(b"/".join)
KINDS = ("file", "file", "directory", "directory", "symlink", "link", "link", "whiteout", "opaque", "fifo", "sparse")


class Step(NamedTuple):
    """An entry of a layer; `target` is that of a link.

    A number instead of a path or target stands for one of the names that the image has so far.
    """

    kind: str
    path: bytes | int
    target: bytes | int = b""
    mode: int = 0o644
    owner: int = 0
    xattr: bytes = b""


class Layer(NamedTuple):
    """`plain`: as a layer that was written from a directory, each name once and after its parent."""

    plain: bool
    steps: list[Step]


class Image(NamedTuple):
    """`sane`: entries that must not be applied are left out."""

    sane: bool
    layers: list[Layer]

    def resolved(self) -> list[list[Step]]:
        """The steps of each layer, all of them with a path and target."""
        done: list[list[Step]] = []
        for layer in self.layers:
            done.append([])
            kinds: dict[bytes, str] = {}
            for step in layer.steps:
                chosen = self._chosen(step, done)
                for each in plainly(chosen, kinds) if layer.plain else [chosen]:
                    done[-1].append(each)
                    if self.sane and modelled(done) is None:
                        done[-1].pop()
                    else:
                        kinds[each.path] = each.kind if each.kind in _MADE else kinds.get(each.path, "")  # type: ignore[index]
        return done

    def _chosen(self, step: Step, done: list[list[Step]]) -> Step:
        if step.kind == "whiteout" and isinstance(step.path, bytes):
            step = step._replace(path=b"/".join(part for part in step.path.split(b"/") if part.strip(b".")) or b"a")
        if isinstance(step.path, bytes) and isinstance(step.target, bytes):
            return step
        names = known(modelled(done) or Model())
        path, target = (
            value if isinstance(value, bytes) else names[value % len(names)] for value in (step.path, step.target)
        )
        return step._replace(path=path, target=target)


_MADE = {"file", "directory", "symlink", "link", "fifo", "sparse", "device"}
_INDEX = st.integers(0, 50)
STEPS = st.builds(
    Step,
    st.sampled_from([*KINDS, "device"] if _ROOT else KINDS),
    PATHS | PATHS | _INDEX | WILD,
    PATHS | _INDEX | _INDEX | WILD.filter(bool),
    st.sampled_from([0o644, 0o755, 0o700, 0o4711, 0o1777]),
    st.sampled_from([0, 0, 7, 3_000_000]),
    st.sampled_from([b"", b"", b"one", b"two\0\xff"]),
)
LAYERS = st.lists(st.builds(Layer, st.booleans(), st.lists(STEPS, min_size=2, max_size=15)), min_size=1, max_size=4)
IMAGES = st.builds(Image, st.sampled_from([True, True, True, False]), LAYERS)


def modelled(layers: list[list[Step]]) -> Model | None:
    """What the layers amount to; None when they must not be applied."""
    model = Model()
    try:
        for layer in layers:
            model.apply(
                [
                    ModelStep(
                        {"sparse": "file", "device": "fifo"}.get(step.kind, step.kind),
                        os.fsdecode(step.path),  # type: ignore[arg-type]
                        os.fsdecode(step.target),  # type: ignore[arg-type]
                    )
                    for step in layer
                ]
            )
    except Refused:
        return None
    return model


def known(model: Model) -> list[bytes]:
    """Names to replace, remove and link to, also through symlinked directories; never none."""
    shape = model.shape()
    leaves = [path for path, value in shape.items() if value[0] != "directory"]
    through = [f"{link}/{leaf.rpartition('/')[2]}" for link in leaves if shape[link][0] == "symlink" for leaf in leaves]
    # Leaves twice, so that they are chosen more often.
    return [os.fsencode(path) for path in (*leaves, *leaves, *shape, *through[:10])] or [b"a"]


def plainly(step: Step, kinds: dict[bytes, str]) -> list[Step]:
    """The step after the directories above it that its layer lacks; none when a plain layer cannot have it."""
    assert isinstance(step.path, bytes)
    parts = [part for part in step.path.split(b"/") if part not in (b"", b".", b"..")]
    path, parents = b"/".join(parts), [b"/".join(parts[:length]) for length in range(1, len(parts))]
    if step.kind == "opaque":
        parents.append(path)
    if not path or (step.kind in _MADE and kinds.get(path)):
        return []
    if any(kinds.get(name, "directory") != "directory" for name in parents):
        return []
    missing = [Step("directory", name, mode=0o755) for name in parents if name not in kinds]
    return [*missing, step._replace(path=path)]


def written(layer: list[Step], number: int) -> bytes:
    """The layer as a tar; contents and times differ from entry to entry."""
    return tars.tar(*(entry(step, number * 1000 + index) for index, step in enumerate(layer)))


def entry(step: Step, number: int) -> bytes:
    path = step.path
    assert isinstance(path, bytes)
    assert isinstance(step.target, bytes)
    fields: dict[str, Any] = {"mode": step.mode, "uid": step.owner, "gid": step.owner, "mtime": 1_000_000 + number}
    xattrs = {"xattrs": {"user.x": step.xattr}} if step.xattr else {}
    if step.kind == "file":
        return tars.file(path, b"content %d" % number, **xattrs, **fields)
    if step.kind == "directory":
        return tars.directory(path, **xattrs, **fields)
    if step.kind == "symlink":
        return tars.symlink(path, step.target, mtime=fields["mtime"])
    if step.kind == "link":
        return tars.hard_link(path, step.target)
    if step.kind == "fifo":
        return longer(path) + tars.fifo(path, **fields)
    if step.kind == "device":
        return longer(path) + tars.char_device(path, 1, 3 + number % 5, **fields)
    if step.kind == "sparse":
        return sparse(path, b"hole %d" % number, fields)
    parent, slash, name = path.rpartition(b"/")
    return tars.file(parent + slash + b".wh." + name if step.kind == "whiteout" else path + b"/.wh..wh..opq")


def longer(path: bytes) -> bytes:
    return tars.long_name(path) if len(path) > 100 else b""


def sparse(path: bytes, data: bytes, fields: dict[str, Any]) -> bytes:
    """GNU tar's format 1.0: a hole, the data, and a hole."""
    records = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "3000", "GNU.sparse.name": path}
    stored = tars.padded(b"1\n512\n%d\n" % len(data))
    return tars.pax(records) + tars.header("s", size=512 + len(data), **fields) + stored + tars.padded(data)


# What is compared


def result(function: Callable[[], Any]) -> DistError | None:
    try:
        function()
    except DistError as error:
        return error
    return None


def extract(data: bytes, target: Path) -> dict[str, Node]:
    """The tree that GNU tar makes of an export, without options that concern order."""
    target.mkdir(mode=0o755)
    argv = ["tar", "-xp", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-C", str(target)]
    subprocess.run(argv, input=data, check=True, stderr=subprocess.PIPE)
    return snapshot(target)


def timeless(data: bytes) -> set[str]:
    """The directories whose times no layer gives."""
    with tarfile.open(fileobj=io.BytesIO(data), errors="surrogateescape", encoding="utf-8") as archive:
        members = {member.name: member for member in archive}
    found = {name for name, member in members.items() if member.isdir() and member.mtime == 0}
    return found if "." in members else {*found, "."}


def without_times(tree: dict[str, Node], names: set[str]) -> dict[str, Node]:
    return {name: node._replace(mtime=0) if name in names else node for name, node in tree.items()}


def meant(root: Path, path: bytes) -> bytes | type[DistError]:
    """The content of a file in an unpacked tree, symlinks followed inside, or the error for it."""
    top, pending, real, links = os.fsencode(root), path.split(b"/")[::-1], [], 0
    while pending:
        name = pending.pop()
        if name in (b"", b"."):
            continue
        if name == b"..":
            del real[-1:]
            continue
        here = os.path.join(top, *real, name)
        if not os.path.lexists(here):
            return NotFound
        mode = os.lstat(here).st_mode
        if stat.S_ISLNK(mode):
            links += 1
            if links > _LINKS:
                return UnsafePath
            target = os.readlink(here)
            real = [] if target.startswith(b"/") else real
            pending += target.split(b"/")[::-1]
        elif stat.S_ISDIR(mode) or not any(pending):
            real.append(name)
        else:
            return NotFound
    here = os.path.join(top, *real)
    if not stat.S_ISREG(os.lstat(here).st_mode):
        return InvalidArgument
    with open(here, "rb") as file:
        return file.read()


def questions(layers: list[list[Step]], tree: dict[str, Node]) -> list[bytes]:
    """Every name of the tree, every one that an entry or a link has, and some through symlinks."""
    steps = [step for layer in layers for step in layer]
    names = {os.fsencode(name) for name in tree} | {step.path for step in steps} | {step.target for step in steps}
    links = [os.fsencode(name) for name, node in tree.items() if node.kind == "symlink"]
    return sorted(names | {link + b"/" + name for link in links for name in (b"a", b"b")})  # type: ignore[arg-type]


def answer(layout: Path, path: bytes) -> bytes | type[DistError]:
    out = bytearray()
    with opened(layout, in_place=True) as (image, source):
        try:
            cat(image, source, [path], out.extend)
        except DistError as error:
            assert not out
            return type(error)
    return bytes(out)


def compare(wanted: Image, most: int) -> None:
    """Run the three commands; `most` paths are asked of `cat`."""
    layers = wanted.resolved()
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        image = image_of(*(written(layer, number) for number, layer in enumerate(layers)))
        layout = write_layout(here / "layout", {"image": image})
        target, out = here / "unpacked", bytearray()
        with opened(layout, in_place=True) as (image_, source):
            refused = result(lambda: unpack(image_, source, str(target), UnpackOptions(ahead=0), Run(Heard())))
            unexported = result(lambda: export(image_, source, out.extend))
        assert (refused is None) == (unexported is None), (refused, unexported)
        if refused is not None:
            assert isinstance(refused, InvalidContent)
            assert isinstance(unexported, InvalidContent)
            assert not out
            return
        unpacked, implied = snapshot(target), timeless(bytes(out))
        extracted = extract(bytes(out), here / "extracted")
        found = differences(without_times(unpacked, implied), without_times(extracted, implied))
        assert found == [], found
        paths = questions(layers, unpacked)
        for path in paths[:: max(1, len(paths) // most)]:
            assert answer(layout, path) == meant(target, path), path


_REPLACED = [
    Layer(True, [Step("file", b"a/b")]),
    Layer(True, [Step("link", b"c", b"a/b"), Step("file", b"a/b")]),
]


_WHITED_OUT = [
    Layer(False, [Step("directory", b"a"), Step("directory", b"a/b"), Step("file", b"a/c")]),
    Layer(False, [Step("file", b"a/b/c"), Step("whiteout", b"a")]),
]


_CREATED_PARENT = [
    Layer(False, [Step("directory", b"a")]),
    Layer(False, [Step("file", b"a/b/c"), Step("whiteout", b"a")]),
]


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(image=IMAGES)
@example(Image(False, _REPLACED))
@example(Image(False, _WHITED_OUT))
@example(Image(False, _CREATED_PARENT))
def test_unpack_export_and_cat_agree(image: Image) -> None:
    compare(image, 10)


@pytest.mark.torture
@settings(max_examples=2_000, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(image=IMAGES)
def test_unpack_export_and_cat_agree_in_many_images(image: Image) -> None:
    compare(image, 1000)
