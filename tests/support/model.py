"""What applying layers means, in memory and as simply as can be: the measure for the real thing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

LINKS = 40


class Refused(Exception):
    """The layer must not be applied."""


class Step(NamedTuple):
    """An entry of a layer. `kind`: file directory symlink link fifo whiteout opaque; `value`: content or target."""

    kind: str
    path: str
    value: str = ""
    mode: int = 0o644


@dataclass(eq=False)
class Leaf:
    """A file, symlink or fifo; several names may share one."""

    kind: str
    value: str
    mode: int


@dataclass(eq=False)
class Folder:
    """A directory. `own` holds the names that the layer at hand put here, or put something below."""

    parent: Folder | None = None
    name: str = ""
    mode: int = 0o755
    children: dict[str, Folder | Leaf] = field(default_factory=dict)
    own: set[str] = field(default_factory=set)

    def mark(self, name: str) -> None:
        self.own.add(name)
        if self.parent is not None:
            self.parent.mark(self.name)

    def is_below(self, other: Folder) -> bool:
        return self is other or (self.parent is not None and self.parent.is_below(other))


class Model:
    """A root file system."""

    def __init__(self) -> None:
        self.root = Folder()

    def apply(self, layer: list[Step]) -> None:
        self._forget(self.root)
        for step in layer:
            self._step(step)

    def _forget(self, folder: Folder) -> None:
        folder.own.clear()
        for child in folder.children.values():
            if isinstance(child, Folder):
                self._forget(child)

    def _step(self, step: Step) -> None:
        parts = _cleaned(step.path)
        if step.kind in ("whiteout", "opaque"):
            self._whiteout(step, parts)
        elif not parts:
            if step.kind != "directory":
                raise Refused
            self.root.mode = step.mode
        else:
            folder = self._folder(parts[:-1], create=True)
            assert folder is not None
            self._place(folder, parts[-1], step)

    def _place(self, folder: Folder, name: str, step: Step) -> None:
        old = folder.children.get(name)
        folder.mark(name)
        if step.kind == "directory":
            if not isinstance(old, Folder):
                folder.children[name] = old = Folder(folder, name)
            old.mode = step.mode
        elif step.kind == "link":
            where, target = self._target(step.value)
            if target is old:
                return
            # The name linked to may lie in what is replaced, and then is not there any more.
            if isinstance(old, Folder) and where.is_below(old):
                raise Refused
            folder.children[name] = target
        else:
            folder.children[name] = Leaf(step.kind, step.value, step.mode)

    def _target(self, path: str) -> tuple[Folder, Leaf]:
        parts = _cleaned(path)
        folder = self._folder(parts[:-1], create=False)
        found = folder.children.get(parts[-1]) if folder is not None and parts else None
        if folder is None or not isinstance(found, Leaf):
            raise Refused
        return folder, found

    def _whiteout(self, step: Step, parts: list[str]) -> None:
        if step.kind == "whiteout":
            folder = self._folder(parts[:-1], create=False)
            if folder is not None and parts[-1] in folder.children:
                self._hide(folder, parts[-1])
        else:
            folder = self._folder(parts, create=False)
            for name in list(folder.children) if folder is not None else []:
                assert folder is not None
                self._hide(folder, name)

    def _hide(self, folder: Folder, name: str) -> None:
        child = folder.children[name]
        if name not in folder.own:
            del folder.children[name]
        elif isinstance(child, Folder):
            for below in list(child.children):
                self._hide(child, below)

    def _folder(self, parts: list[str], *, create: bool) -> Folder | None:
        pending, here, links = parts[::-1], self.root, 0
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            if name == "..":
                here = here.parent or here
                continue
            child = here.children.get(name)
            if child is None:
                if not create:
                    return None
                here.mark(name)
                here.children[name] = child = Folder(here, name)
            if isinstance(child, Folder):
                here = child
            elif child.kind == "symlink":
                links += 1
                if links > LINKS:
                    raise Refused
                if child.value.startswith("/"):
                    here = self.root
                pending += child.value.split("/")[::-1]
            elif create:
                raise Refused
            else:
                return None
        return here

    def shape(self) -> dict[str, Any]:
        """Path to (kind, mode, content, names of the same file), as `observed` has it."""
        leaves: dict[int, list[str]] = {}
        out: dict[str, Any] = {}

        def walk(folder: Folder, prefix: str) -> None:
            for name, child in folder.children.items():
                path = prefix + name
                if isinstance(child, Folder):
                    out[path] = ("directory", child.mode, "", ())
                    walk(child, path + "/")
                else:
                    leaves.setdefault(id(child), []).append(path)
                    out[path] = child

        walk(self.root, "")
        for path, child in out.items():
            if isinstance(child, Leaf):
                same = tuple(sorted(leaves[id(child)]))
                mode = 0o777 if child.kind == "symlink" else child.mode
                value = "" if child.kind == "fifo" else child.value
                out[path] = (child.kind, mode, value, same if len(same) > 1 else ())
        return out


def _cleaned(path: str) -> list[str]:
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts
