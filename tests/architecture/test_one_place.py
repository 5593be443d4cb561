"""Facts that have one place in the code: elsewhere they are imported."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "dist_tool"
# The constant, and the module that defines it.
CONSTANTS = {
    "docker.io": "names/hub.py",
    "index.docker.io": "names/hub.py",
    "registry-1.docker.io": "names/hub.py",
    "https://index.docker.io/v1/": "names/hub.py",
    "library/": "names/hub.py",
    "org.opencontainers.image.ref.name": "oci/layout.py",
    "io.containerd.image.name": "oci/layout.py",
    "imageLayoutVersion": "oci/layout.py",
}


@cache
def constants() -> dict[str, frozenset[str]]:
    """The string constants of each module."""
    return {
        str(path.relative_to(PACKAGE)): frozenset(
            node.value
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        )
        for path in sorted(PACKAGE.rglob("*.py"))
    }


@pytest.mark.parametrize("constant", CONSTANTS)
def test_constant_is_in_one_module(constant: str) -> None:
    found = [module for module, texts in constants().items() if constant in texts]
    assert found == [CONSTANTS[constant]]
