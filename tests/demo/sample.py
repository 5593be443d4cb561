"""Write the demo's sample image: a layout named like the image of the README, made from a seed."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.content import image, random_bytes, write_layout


def main(directory: str) -> None:
    layers = [{f"layer-{n}": random_bytes(f"demo/{n}", 300_000)} for n in range(10)]
    sample = image("demo", layers=layers, docker=True)
    write_layout(Path(directory), {"docker.io/library/redis:latest": sample})


if __name__ == "__main__":
    main(sys.argv[1])
