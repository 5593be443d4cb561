"""Unpacking through a mirror: layers applied while they arrive, and only when they are complete."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from bench.measure import Command, compare
from bench.places import registry_over
from bench.unpack import system_layers
from support.layers import image_of

# What `dist unpack` does, with the choice that the command does not offer.
UNPACK = """
import sys
from dist_tool.images.unpack import UnpackOptions
from dist_tool.session import Session
from dist_tool.settings import Endpoint, Route, Settings

host, target, whole = sys.argv[1:]
mirror, own = (Endpoint(location=host, plain_http=True, flat=True) for _ in range(2))
settings = Settings(routes=(Route("registry.example", (mirror, own)),))
with Session(settings) as session:
    session.unpack("registry.example/app:latest", target, UnpackOptions(whole=whole == "whole", sync=False))
"""


def bench(directory: Path) -> None:
    """Measure both ways, for several layers and for one."""
    layers = system_layers(directory)
    script = directory / "unpack.py"
    script.write_text(UNPACK, encoding="utf-8")
    target = directory / "target"

    def clear() -> None:
        shutil.rmtree(target, ignore_errors=True)
        os.sync()

    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    for name, chosen in ((f"{len(layers)} layers", layers), ("one layer", [max(layers, key=len)])):
        with registry_over(directory / name.replace(" ", "-"), image_of(*chosen)) as place:
            argv = [sys.executable, str(script), place, str(target)]
            commands = [Command(f"applied {way}", [*argv, word], env, clear) for way, word in WAYS]
            compare(f"unpacking {name} ({sum(map(len, chosen)) >> 20} MiB) through a mirror", commands)


WAYS = (("when complete", "whole"), ("while they arrive", "stream"))
