"""Bundles, compared with those of umoci."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from support.content import write_layout
from support.layers import image_of, needs_root, opened
from support.processes import require_program, run_program
from support.tars import directory, file, tar
from support.trees import differences, snapshot

from dist_tool.images.unpack import UnpackOptions, unpack
from dist_tool.layers.options import ApplyOptions, IdRange


@needs_root
@pytest.mark.parametrize("user", ["", "1000", "1000:1000", "web", "web:1000", "33", "33:www", "7:8"])
def test_bundle_has_the_user_and_the_maps_that_umoci_writes(tmp_path: Path, user: str) -> None:
    require_program("umoci")
    passwd = b"root:x:0:0::/:/bin/sh\n1000:x:0:0::/:\nweb:x:33:44::/:/bin/sh\n"
    group = b"root:x:0:\n1000:x:0:\nwww:x:44:\nlog:x:55:web,other\n"
    layer = tar(directory("./"), directory("etc"), file("etc/passwd", passwd), file("etc/group", group))
    layout = write_layout(tmp_path / "layout", {"image": image_of(layer, config={"User": user})})
    maps = ["--uid-map", "0:100000:65536", "--gid-map", "0:200000:1000", "--gid-map", "1000:300000:9"]
    run_program("umoci", "unpack", *maps, "--image", f"{layout}:image", str(tmp_path / "umoci"))
    ids = (IdRange(0, 200_000, 1000), IdRange(1000, 300_000, 9))
    options = ApplyOptions(uid_map=(IdRange(0, 100_000, 65_536),), gid_map=ids)
    with opened(layout) as (image, source):
        unpack(image, source, str(tmp_path / "dist"), UnpackOptions(sync=False, bundle=True, apply=options))
    ours, theirs = (json.loads((tmp_path / name / "config.json").read_text()) for name in ("dist", "umoci"))
    assert ours["process"]["user"] == theirs["process"]["user"]
    for key in ("uidMappings", "gidMappings"):
        assert ours["linux"][key] == theirs["linux"][key]
    kinds = {space["type"] for space in theirs["linux"]["namespaces"]}
    assert {space["type"] for space in ours["linux"]["namespaces"]} - {"cgroup"} == kinds
    assert differences(snapshot(tmp_path / "dist" / "rootfs"), snapshot(tmp_path / "umoci" / "rootfs")) == []
    info = (tmp_path / "dist").stat()
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (0, 200_000, 0o710)
