"""An image of a whole system: unpacking it, beside umoci, and gzip and tar over its layers."""

from __future__ import annotations

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

from bench.measure import Command, compare
from support import tars
from support.content import write_layout
from support.layers import image_of


def bench(directory: Path) -> None:
    """Measure `dist unpack` and `dist export`."""
    layers = system_layers(directory)
    image = image_of(*layers)
    layout = write_layout(directory / "layout", {"image": image})
    for number, layer in enumerate(layers):
        with gzip.open(directory / f"{number}.tar.gz", "wb") as file:
            file.write(layer)
    target = directory / "target"

    def clear() -> None:
        shutil.rmtree(target, ignore_errors=True)
        os.sync()

    def clear_and_make() -> None:
        clear()
        target.mkdir()

    dist = [sys.executable, "-m", "dist_tool"]
    env = {"PYTHONPATH": str(Path(__file__).parents[2])}
    commands = [Command("dist unpack", [*dist, "unpack", f"{layout}:image", str(target)], env, clear)]
    if shutil.which("umoci"):
        argv = ["umoci", "raw", "unpack", "--image", f"{layout}:image", str(target)]
        commands.append(Command("umoci raw unpack", [*argv, *([] if os.geteuid() == 0 else ["--rootless"])], {}, clear))
    pipes = " && ".join(
        f"gzip -dc {directory}/{number}.tar.gz | tar -C {target} --numeric-owner -p -x" for number in range(len(layers))
    )
    commands.append(Command("gzip -dc LAYER | tar -x", pipes, {}, clear_and_make))
    entries = sum(layer.count(b"ustar") for layer in layers)
    size = sum(map(len, layers)) >> 20
    compare(f"unpacking {len(layers)} layers, about {entries} entries, {size} MiB", commands)
    compare("exporting the same", [Command("dist export", f"{' '.join(dist)} export {layout}:image > /dev/null", env)])


def system_layers(directory: Path) -> list[bytes]:
    """A Debian system in two layers where debootstrap can make one, else a part of this one; and changes to it."""
    root, parts = directory / "rootfs", ("./usr/share", ".")
    if not (os.geteuid() == 0 and shutil.which("debootstrap") and _bootstrapped(root)):
        root, parts = Path("/usr/share"), ("./doc", "./zoneinfo")
    common = ["tar", "-C", str(root), "--numeric-owner", "--format=gnu", "--ignore-failed-read", "-cf", "-"]
    layers = [
        subprocess.run([*common, "--exclude=./usr/share/*", parts[1]], check=True, stdout=subprocess.PIPE).stdout,
        subprocess.run([*common, parts[0]], check=True, stdout=subprocess.PIPE).stdout,
    ]
    changes = tars.tar(tars.directory("./"), tars.directory("etc"), tars.file("etc/made", b"x"), tars.whiteout("opt"))
    return [*layers, changes]


def _bootstrapped(root: Path) -> bool:
    argv = ["debootstrap", "--variant=minbase", "bookworm", str(root)]
    return subprocess.run(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode == 0
