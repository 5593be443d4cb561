"""Random layers again: the tree that export makes of them is the tree that apply makes."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from support import tars
from support.content import write_layout
from support.layers import apply, image_of, opened
from support.model import Model, Refused, Step
from support.steps import LAYERS, observed, written

from dist_tool.errors import InvalidContent
from dist_tool.images.cat import cat
from dist_tool.images.export import export


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(layers=LAYERS)
def test_exported_layers_equal_the_model_and_cat_finds_their_files(layers: list[list[Step]]) -> None:
    model, refused = Model(), False
    try:
        for layer in layers:
            model.apply(layer)
    except Refused:
        refused = True
    with tempfile.TemporaryDirectory() as directory:
        here = Path(directory)
        layout = write_layout(
            here / "layout", {"image": image_of(*(tars.tar(*map(written, layer)) for layer in layers))}
        )
        out = io.BytesIO()
        with opened(layout) as (image, source):
            try:
                export(image, source, lambda data: out.write(data))
            except InvalidContent:
                assert refused
                return
            assert not refused
            apply(here / "root", out.getvalue())
            assert observed(here / "root") == model.shape()
            for path, (kind, _, value, _) in model.shape().items():
                if kind == "file":
                    found = io.BytesIO()
                    cat(image, source, [path.encode()], lambda data, found=found: found.write(data))
                    assert found.getvalue() == value.encode()
