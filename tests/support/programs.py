"""Remote helpers of the tests' own: a sound one with every power, and whatever a test writes."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Serves a directory: blobs as ALGORITHM/ENCODED below `blobs/`, names as files at the top.
SHELF = """
import os, sys
root = sys.argv[1]
out = sys.stdout.buffer

def say(text):
    out.write(text.encode() + b"\\n")
    out.flush()

def send(path, offset):
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError:
        return say("error notfound no such file")
    say(f"ok {min(offset, len(data))} {len(data)}")
    for start in range(offset, len(data), 65536):
        piece = data[start : start + 65536]
        say(f"data {len(piece)}")
        out.write(piece)
    say("end")

for line in sys.stdin:
    word, *rest = line.rstrip("\\n").split(" ")
    if word == "hello":
        say("ok 1 name")
    elif word == "open":
        send(os.path.join(root, "blobs", *rest[0].split(":")), int(rest[1]))
    elif word == "name" and ".." not in rest[1] and not rest[1].startswith("/"):
        send(os.path.join(root, rest[1]), int(rest[0]))
    else:
        say("error invalid what?")
"""


def install(directory: Path, kind: str, source: str, *, interpreter: str = f"{sys.executable} -SE") -> dict[str, str]:
    """Put `dist-remote-KIND` into a directory; returns an environment whose PATH begins with that."""
    directory.mkdir(parents=True, exist_ok=True)
    program = directory / f"dist-remote-{kind}"
    program.write_text(f"#!{interpreter}\n{source}")
    program.chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}
