"""Limits on the size of modules and functions. Larger ones are split by noun."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[2] / "dist_tool"
MODULE_LINES = 400
FUNCTION_LINES = 50


@cache
def _modules() -> dict[Path, ast.Module]:
    files = sorted(path for path in PACKAGE.rglob("*.py") if "_pb" not in path.parts)
    return {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}


def test_modules_are_short() -> None:
    lengths = {str(path.relative_to(PACKAGE)): len(path.read_text().splitlines()) for path in _modules()}
    assert lengths
    assert {name: length for name, length in lengths.items() if length > MODULE_LINES} == {}


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.name}: {node.end_lineno - node.lineno + 1} lines"
        for path, tree in _modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and node.end_lineno is not None
        and node.end_lineno - node.lineno >= FUNCTION_LINES
    ]
    assert long == []


def test_every_package_says_what_it_is_for() -> None:
    """A module's first line is what a reader finds it by."""
    silent = [str(path.relative_to(PACKAGE)) for path, tree in _modules().items() if not ast.get_docstring(tree)]
    assert silent == []
