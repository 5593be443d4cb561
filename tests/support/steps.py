"""Random layers for hypothesis, in the model's terms and as tars."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import strategies as st

from support import tars
from support.model import Step
from support.trees import shape, snapshot

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.builds("/".join, st.lists(NAMES, min_size=1, max_size=3))
WILD = st.builds("/".join, st.lists(st.sampled_from(["a", "b", "c", "..", ".", ""]), min_size=1, max_size=4))
MODES = st.sampled_from([0o644, 0o600, 0o755, 0o4711])
CONTENT = st.sampled_from(["", "one", "two"])
STEPS = st.one_of(
    st.builds(Step, st.just("file"), PATHS, CONTENT, MODES),
    st.builds(Step, st.just("file"), WILD, CONTENT, MODES),
    st.builds(Step, st.just("directory"), PATHS, st.just(""), st.sampled_from([0o755, 0o700, 0o1777])),
    st.builds(Step, st.just("symlink"), PATHS, WILD.filter(bool)),
    st.builds(Step, st.just("link"), PATHS, PATHS),
    st.builds(Step, st.just("fifo"), PATHS, st.just(""), MODES),
    st.builds(Step, st.just("whiteout"), PATHS),
    st.builds(Step, st.just("opaque"), PATHS),
)
LAYERS = st.lists(st.lists(STEPS, max_size=10), min_size=1, max_size=3)


def written(step: Step) -> bytes:
    """The step as a tar entry."""
    if step.kind == "file":
        return tars.file(step.path, step.value.encode(), mode=step.mode)
    if step.kind == "directory":
        return tars.directory(step.path, mode=step.mode)
    if step.kind == "symlink":
        return tars.symlink(step.path, step.value)
    if step.kind == "link":
        return tars.hard_link(step.path, step.value)
    if step.kind == "fifo":
        return tars.fifo(step.path, mode=step.mode)
    return tars.whiteout(step.path) if step.kind == "whiteout" else tars.opaque(step.path)


def observed(root: Path) -> dict[str, Any]:
    """The tree on disk in the model's terms."""
    contents = shape(root)
    out = {}
    for path, node in snapshot(root).items():
        if path != ".":
            value = contents[path]
            content = value.decode() if isinstance(value, bytes) else node.content if node.kind == "symlink" else ""
            out[path] = (node.kind, node.mode, content, node.links)
    return out
