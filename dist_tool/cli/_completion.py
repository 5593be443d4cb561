"""What the shell is to complete words with that are of the file system. Commands and options it learns from click."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


def files(_ctx: Any, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Any file: the shell does it as it does elsewhere."""
    return _item(incomplete, "file")


def directories(_ctx: Any, _param: Any, incomplete: str) -> list[CompletionItem]:
    """Any directory."""
    return _item(incomplete, "dir")


def places(_ctx: Any, _param: Any, incomplete: str) -> list[CompletionItem]:
    """A file, in what begins as a path; nobody can be asked for the names of registries here."""
    from dist_tool.spec.reference import is_path

    return _item(incomplete, "file") if is_path(incomplete) else []


def _item(incomplete: str, kind: str) -> list[CompletionItem]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type=kind)]
