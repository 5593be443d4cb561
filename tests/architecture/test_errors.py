"""Errors are immutable: code that adds to an error raises a copy (see `DistError`)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from dist_tool.errors import Facts

ROOT = Path(__file__).resolve().parents[2]
# The other facts have names that attributes of other classes have as well.
FACTS = Facts.__optional_keys__ - {"status", "host", "locator", "object_id"}


def assignments(tree: ast.AST) -> Iterator[ast.Attribute]:
    """Every attribute of a plain name that is assigned, augmented or deleted, in tuples as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and not isinstance(node.ctx, ast.Load):
            yield node


def changed_errors(tree: ast.AST) -> Iterator[str]:
    """Assignments to attributes of a caught error, and to the facts of an error in any variable but `self`."""
    for handler in ast.walk(tree):
        if isinstance(handler, ast.ExceptHandler) and handler.name and not is_of_click(handler):
            for found in assignments(handler):
                if found.value.id == handler.name:  # type: ignore[attr-defined]
                    yield f"{found.lineno}: {ast.unparse(found)}"
    for found in assignments(tree):
        if found.attr in FACTS and found.value.id != "self":  # type: ignore[attr-defined]
            yield f"{found.lineno}: {ast.unparse(found)}"


def is_of_click(handler: ast.ExceptHandler) -> bool:
    """click's usage errors are mutable, and get their context assigned."""
    return handler.type is not None and ast.unparse(handler.type).startswith("click.")


def test_no_code_assigns_to_attributes_of_a_caught_error() -> None:
    wrong = [
        f"{path.relative_to(ROOT)}:{text}"
        for path in sorted((ROOT / "dist_tool").rglob("*.py"))
        for text in changed_errors(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert not wrong


def test_the_rule_finds_assignments() -> None:
    handler = "try: f()\nexcept E as e:\n    e.x, b = 1, 2\n    e.x += 1\n    del e.x\n    print(e.x)\n"
    tree = ast.parse(f"{handler}failure.hint = 'text'\n")
    assert sorted(changed_errors(tree)) == [
        "3: e.x",
        "4: e.x",
        "5: e.x",
        "7: failure.hint",
    ]
