"""Random layers: what is applied equals a naive model, and nothing outside changes."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from support import tars
from support.layers import apply
from support.model import Model, Refused, Step
from support.steps import LAYERS, observed, written
from support.trees import snapshot

from dist_tool.errors import InvalidContent
from dist_tool.layers.options import ApplyOptions


def _opened(step: Step) -> Step:
    return step._replace(mode=step.mode | 0o700) if step.kind == "directory" else step


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(layers=LAYERS, use_openat2=st.booleans(), room=st.sampled_from((0, 4 << 20)))
@example(layers=[[Step("symlink", "a", ".."), Step("file", "a/b", "one")]], use_openat2=True, room=0)
@example(
    layers=[
        [Step("directory", "a"), Step("symlink", "b", "a")],
        [Step("file", "b/c", "one"), Step("whiteout", "b"), Step("file", "b/c", "two"), Step("opaque", "a")],
    ],
    use_openat2=False,
    room=0,
)
def test_applied_layers_equal_the_model(layers: list[list[Step]], use_openat2: bool, room: int) -> None:
    """Whether what is remembered of names fits in memory, or not (`room`)."""
    if os.geteuid() != 0:  # what the test could not look into, it could not compare
        layers = [[_opened(step) for step in layer] for layer in layers]
    model = Model()
    with tempfile.TemporaryDirectory() as directory, pytest.MonkeyPatch.context() as patch:
        patch.setattr("dist_tool.rootfs.spill._MEMORY", room)
        here = Path(directory)
        root = here / "root"
        (here / "canary").write_text("as it was")
        before = snapshot(here, without="root")
        for layer in layers:
            stream = tars.tar(*map(written, layer))
            try:
                model.apply(layer)
            except Refused:
                try:
                    apply(root, stream, options=ApplyOptions(use_openat2=use_openat2))
                except InvalidContent:
                    break
                raise AssertionError("applied what the model refuses") from None
            apply(root, stream, options=ApplyOptions(use_openat2=use_openat2))
            assert observed(root) == model.shape()
        after = snapshot(here, without="root")
        assert {path: node for path, node in after.items() if path != "."} == {
            path: node for path, node in before.items() if path != "."
        }
        assert set(after) == {".", "canary"}
